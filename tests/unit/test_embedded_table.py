"""A table inside a workflow: the same decisions, nothing accepted that a file would not be."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest
from sencache.calibration import table as tables
from sencache.calibration.table import TableError
from sencache.nodes.embedded_table import MAX_TEXT, PREFIX, condensed, from_text, name_of, to_text

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


@pytest.fixture(params=["tiny_wan", "tiny_ltxv", "tiny_cogvideox"])
def table(request):
    """One of the shipped tables."""
    return tables.load(SHIPPED / f"{request.param}.safetensors")


def encoded(data: bytes) -> str:
    """Write any bytes as an embedded text would be."""
    return PREFIX + base64.urlsafe_b64encode(zlib.compress(data)).decode()


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


def test_the_text_is_smaller_than_the_file_and_plain_ascii(table):
    text = to_text(table)
    assert len(text) < len(tables.to_bytes(table))
    assert text.isascii() and not set(text) & set("{}|/\\\"'% \n")


def test_a_table_is_embedded_under_the_name_of_its_file(table):
    assert name_of(from_text(to_text(table, "renamed.safetensors"))) == "renamed.safetensors"


def test_a_text_that_unpacks_to_more_than_a_table_may_have_is_refused():
    bomb = encoded(bytes(64 << 20))
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
        ("sencache2:AAAA", "another version"),
        (PREFIX, "damaged"),
        (PREFIX + "????", "damaged"),
        (PREFIX + "Ã¤", "damaged"),
        (encoded(b"") + "=", "damaged"),
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
