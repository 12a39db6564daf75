"""A table inside a workflow: the same decisions, nothing accepted that a file would not be."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import zlib
from pathlib import Path

import pytest
import torch
from sencache.calibration import packing
from sencache.calibration import table as tables
from sencache.calibration.modes import OutputModes
from sencache.calibration.rounding import rounded
from sencache.calibration.table import TableError
from sencache.nodes.tables.embedded import (
    FIRST_PREFIX,
    MAX_TEXT,
    PREFIX,
    TO_PLAIN,
    condensed,
    from_text,
    name_of,
    to_text,
)

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


@pytest.fixture(params=["tiny_wan", "tiny_ltxv", "tiny_cogvideox"])
def table(request):
    """One of the shipped tables."""
    return tables.load(SHIPPED / f"{request.param}.safetensors")


def first(data: bytes) -> str:
    """Write any bytes as an embedded text of the first version would be."""
    return FIRST_PREFIX + base64.urlsafe_b64encode(zlib.compress(data)).decode()


def encoded(data: bytes) -> str:
    """Write any bytes as an embedded text of the present version would be, with their checksum."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=packing.USUAL)
    check = hashlib.sha256(data).digest()[: packing.CHECK_BYTES]
    packed = check + squeeze.compress(data) + squeeze.flush()
    return PREFIX + base64.b85encode(packed).decode().translate(TO_PLAIN)


def headed(head: object, metadata: object = None, body: bytes = b"") -> str:
    """Write a text of a table with any head."""
    return encoded(json.dumps([head, {} if metadata is None else metadata]).encode() + b"\0" + body)


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


def test_the_text_of_a_shipped_table_is_under_4500_characters_and_plain_ascii(table):
    text = to_text(table)
    assert len(text) < 4500 < len(tables.to_bytes(table)) // 4
    assert text.isascii() and not set(text) & set("{}|/\\\"'%` \n")


def test_a_text_of_the_first_version_is_still_read(table):
    assert from_text(first(tables.to_bytes(condensed(table)))) == condensed(table)


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
    text = to_text(fewer)
    assert from_text(text) == condensed(fewer) and len(text) < 4500


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
    for bomb in (first(bytes(64 << 20)), encoded(bytes(64 << 20))):
        assert len(bomb) < MAX_TEXT
        with pytest.raises(TableError, match="larger than a table may be"):
            from_text(bomb)


def test_a_text_that_is_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(TableError, match="longer than"):
        from_text(PREFIX + "A" * MAX_TEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "not an embedded table"),
        ("sencache3:AAAA", "another version"),
        (FIRST_PREFIX, "damaged"),
        (FIRST_PREFIX + "????", "damaged"),
        (FIRST_PREFIX + "Ã¤", "damaged"),
        (first(b"") + "=", "damaged"),
        (first(b"not safetensors"), "not a safetensors file"),
        (PREFIX, "damaged"),
        (PREFIX + "{{{{{", "damaged"),
        (PREFIX + "]]]]]", "damaged"),
        (PREFIX + "Ã¤", "damaged"),
        (encoded(b""), "damaged"),
        (encoded(b"not JSON"), "damaged"),
        (headed([]), "damaged"),
        (headed({}), "damaged"),
        (headed({"other": [1, 0, 1]}, body=b"\0"), "unknown entry"),
        (headed({"timestep": [1, 0, 10**30]}, body=b"\0"), "damaged"),
        (headed({"timestep": [0, 0, 1]}, body=b"\0"), "damaged"),
        (headed({"timestep": [1, 98, 1]}, body=b"\0"), "damaged"),
        (headed({"timestep": [1, 0, -1]}, body=b"\0"), "damaged"),
        (headed({"timestep": [1, 0]}, body=b"\0"), "damaged"),
        (headed({"timestep": [1, 0, 1]}, body=b"\0"), "damaged"),
        (headed({"timestep": "no"}, body=b"\0"), "damaged"),
        (headed({"timestep": [1, 0, 1]}, body=b"\xff" * 20 + b"\0"), "damaged"),
        (headed({"timestep": [1, 0, 1], "sigma": [1, 0, 1]}, body=b"\0\0"), "no 'latent_sensitivity'"),
        (headed({"timestep": [1, 0, 1], "sigma": [1, 0, 1]}, [], body=b"\0\0"), "no 'latent_sensitivity'"),
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
