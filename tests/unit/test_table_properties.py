"""What holds for any bytes and for any table: bytes are refused, and tables come back as they were."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sencache.calibration.table import SensitivityTable, TableError, from_bytes, to_bytes


def with_header(text):
    return len(text).to_bytes(8, "little") + text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=600), st.booleans())
def test_arbitrary_bytes_are_refused(data, is_header):
    with pytest.raises(TableError):
        from_bytes(with_header(data) if is_header else data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
entries = st.fixed_dictionaries({"dtype": values, "shape": values, "data_offsets": values}) | values
names = st.sampled_from(["timestep", "sigma", "latent_sensitivity", "time_sensitivity"]) | st.text(max_size=9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(names, entries, max_size=5), values, st.binary(max_size=64))
def test_arbitrary_headers_are_refused(header, metadata, body):
    if isinstance(metadata, dict):
        metadata["format_version"] = "1"
    with pytest.raises(TableError):
        from_bytes(with_header(json.dumps(header | {"__metadata__": metadata}).encode()) + body)


@st.composite
def tables(draw):
    """Draw a table of 1 to 4 samples on 1 to 6 knots, with any metadata that is text."""
    def floats(low, high):
        return st.floats(low, high, width=32)

    knots = sorted(draw(st.lists(floats(-1e6, 1e6), min_size=1, max_size=6, unique=True)), reverse=True)
    samples, count = draw(st.integers(1, 4)), len(knots)

    def tensor(*shape, low=0.0):
        size = torch.Size(shape).numel()
        high = 1.0 if low else 1e6
        return torch.tensor(draw(st.lists(floats(low, high), min_size=size, max_size=size))).reshape(shape)

    rows = {name: tensor(samples, count) for name in ("latent_sensitivity", "time_sensitivity")}
    if draw(st.booleans()):
        rows["alignment"] = tensor(samples, count, low=-1.0)
    metadata = draw(st.dictionaries(st.text(max_size=64), st.text(max_size=50), max_size=5))
    return SensitivityTable(torch.tensor(knots), tensor(count), rows, metadata)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tables())
def test_every_valid_table_comes_back_the_same(table):
    data = to_bytes(table)
    loaded = from_bytes(data)
    assert torch.equal(loaded.timestep, table.timestep) and torch.equal(loaded.sigma, table.sigma)
    assert loaded.rows.keys() == table.rows.keys() and loaded.metadata == table.metadata
    assert all(torch.equal(row, table.rows[name]) for name, row in loaded.rows.items())
    assert to_bytes(loaded) == data
