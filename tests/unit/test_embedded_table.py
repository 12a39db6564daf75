"""A table inside a workflow: the same decisions, nothing accepted that a file would not be."""

from __future__ import annotations

import base64
import dataclasses
import lzma
from pathlib import Path

import pytest
import torch
from sencache.calibration import table as tables
from sencache.calibration.modes import OutputModes
from sencache.calibration.rounding import rounded
from sencache.calibration.table import TableError
from sencache.nodes.tables.embedded import FILTERS, MAX_TEXT, PREFIX, condensed, from_text, name_of, to_text

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


@pytest.fixture(params=["tiny_wan", "tiny_ltxv", "tiny_cogvideox"])
def table(request):
    """One of the shipped tables."""
    return tables.load(SHIPPED / f"{request.param}.safetensors")


def encoded(data: bytes, **how: object) -> str:
    """Write any bytes as an embedded text would be."""
    return PREFIX + base64.b85encode(lzma.compress(data, **(how or {"filters": FILTERS}))).decode()


def test_the_text_decides_bit_for_bit_what_the_file_decides(table):
    embedded = from_text(to_text(table))
    assert table.num_samples > embedded.num_samples == 1
    for name in table.rows:
        assert embedded.mean(name) == table.mean(name)
    assert embedded.timestep.equal(table.timestep) and embedded.sigma.equal(table.sigma)
    assert embedded.modes.values.equal(table.modes.values)
    assert embedded.at(1.5) == table.at(1.5)


def test_embedding_again_gives_the_same_text(table):
    text = to_text(table)
    assert to_text(from_text(text)) == text and from_text(text) == condensed(table)


def test_the_text_of_a_shipped_table_is_shorter_than_its_file_and_needs_no_escapes_in_json(table):
    text = to_text(table)
    assert len(text) < 7100 < len(tables.to_bytes(condensed(table))) * 0.6
    assert text.isascii() and not set(text) & set("\\\"' \n")


def test_a_table_that_was_never_rounded_is_embedded_exactly_as_well(table):
    generator = torch.Generator().manual_seed(1)
    shape = table.modes.values.shape
    noisy = table.modes.values + 1e-4 * torch.rand(shape, generator=generator)
    noisy[0, 0, 0], noisy[1, 0, 0] = -0.0, 1e-30
    other = dataclasses.replace(table, modes=OutputModes(table.modes.timestep, noisy))
    assert from_text(to_text(other)) == condensed(other)


@pytest.mark.parametrize("samples", [1, 3, 7, 8])
def test_means_of_any_number_of_samples_stay_exact(table, samples):
    rows = {name: row[:samples] for name, row in table.rows.items()}
    fewer = dataclasses.replace(table, rows=rows)
    assert from_text(to_text(fewer)) == condensed(fewer)


def test_a_table_without_modes_is_embedded(table):
    bare = dataclasses.replace(table, modes=None)
    assert from_text(to_text(bare)) == condensed(bare)


def test_rounding_again_changes_nothing_and_moves_no_value_by_more_than_its_step(table):
    assert rounded(table) == table
    fine = dataclasses.replace(table, rows={name: row * 1.0001234 for name, row in table.rows.items()
                                            if name != "alignment"})  # fmt: skip
    for name, row in rounded(fine).rows.items():
        assert ((row - fine.rows[name]).abs() <= fine.rows[name].abs() * 2.0**-9).all()


def test_a_table_is_embedded_under_the_name_of_its_file(table):
    assert name_of(from_text(to_text(table, "renamed.safetensors"))) == "renamed.safetensors"


def test_a_text_that_unpacks_to_more_than_a_table_may_have_is_refused():
    bomb = encoded(bytes(64 << 20))
    assert len(bomb) < MAX_TEXT
    with pytest.raises(TableError, match="damaged"):
        from_text(bomb)


def test_a_text_that_asks_for_much_memory_is_refused(table):
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    with pytest.raises(TableError, match="damaged"):
        from_text(encoded(tables.to_bytes(table), filters=greedy))


def test_a_text_that_is_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(TableError, match="longer than"):
        from_text(PREFIX + "A" * MAX_TEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "not an embedded table"),
        ("sencache2:AAAA", "another version"),
        (PREFIX, "damaged"),
        (PREFIX + "????", "damaged"),
        (PREFIX + "\u00e4", "damaged"),
        (PREFIX + "~~~~~", "damaged"),
        (encoded(b"", format=lzma.FORMAT_ALONE), "damaged"),
        (encoded(b""), "not a safetensors file"),
        (encoded(b"not safetensors"), "not a safetensors file"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(text, message):
    with pytest.raises(TableError, match=message):
        from_text(text)


def test_a_changed_or_shortened_text_is_refused(table):
    text = to_text(table)
    middle = len(text) // 2
    other = "A" if text[middle] != "A" else "B"
    replaced, shortened = text[:middle] + other + text[middle + 1 :], text[: middle - middle % 4 + 2]
    for changed in (replaced, shortened, text + "AAAA"):
        with pytest.raises(TableError):
            from_text(changed)
