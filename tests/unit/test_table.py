"""The sensitivity table: what it answers, what it keeps, and what it looks like on disk."""

from __future__ import annotations

import dataclasses
import math
import os

import pytest
import torch
from sencache.calibration.table import SensitivityTable, TableError, from_bytes, load, merge, save, to_bytes
from sencache.tests.toy_tables import build, parts


def test_a_saved_table_comes_back_with_the_same_values_and_the_same_bytes(tmp_path):
    tensors = parts() | {"alignment": torch.tensor([[1.0, -0.5, 0.0], [0.5, 0.5, -1.0]])}
    metadata = {"fingerprint": "wan-a", "model": "Tiny Wan ✓", "empty": ""}
    path = tmp_path / "new" / "wan.safetensors"
    save(build(tensors, metadata), path)
    loaded = load(path)
    assert torch.equal(loaded.timestep, tensors["timestep"]) and torch.equal(loaded.sigma, tensors["sigma"])
    assert loaded.rows.keys() == tensors.keys() - {"timestep", "sigma"}
    assert all(torch.equal(row, tensors[name]) for name, row in loaded.rows.items())
    assert loaded.metadata == metadata
    assert to_bytes(loaded) == path.read_bytes()


def test_tables_are_equal_by_contents_and_not_by_the_order_they_were_given_in():
    tensors, metadata = parts(), {"a": "1", "b": "2"}
    backwards = build(dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert build(tensors, metadata) == backwards
    assert to_bytes(build(tensors, metadata)) == to_bytes(backwards)
    assert build(tensors, metadata) != build(tensors, {"a": "1", "b": "3"})
    assert build(tensors) != build(tensors | {"sigma": torch.tensor([1.0, 0.5, 0.25])})


def test_between_two_knots_the_means_are_interpolated_in_model_time():
    table = build(parts() | {"alignment": torch.tensor([[1.0, 0.5, 0.0], [0.5, 0.5, 0.5]])})
    middle, lower = table.at(750.0), table.at(200.0)
    assert (middle.latent_sensitivity, middle.time_sensitivity, middle.alignment) == (2.5, 0.375, 0.625)
    assert (lower.latent_sensitivity, lower.time_sensitivity, lower.alignment) == (4.5, 1.25, 0.3125)


@pytest.mark.parametrize(
    ("timestep", "latent", "time"),
    [(1000.0, 2.0, 0.25), (500.0, 3.0, 0.5), (100.0, 5.0, 1.5)]
    + [(1001.0, 2.0, 0.25), (math.inf, 2.0, 0.25), (0.0, 5.0, 1.5), (-math.inf, 5.0, 1.5)],
)
def test_on_a_knot_and_outside_the_knots_the_nearest_knot_answers(timestep, latent, time):
    answer = build(parts()).at(timestep)
    assert (answer.latent_sensitivity, answer.time_sensitivity) == (latent, time)


def test_a_single_knot_answers_everywhere():
    table = build({name: tensor[..., :1] for name, tensor in parts().items()})
    assert [table.at(t).latent_sensitivity for t in (2000.0, 1000.0, 0.0)] == [2.0, 2.0, 2.0]


def test_a_timestep_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="not a number"):
        build(parts()).at(math.nan)


def test_what_was_not_measured_is_said_to_be_unknown():
    answer = build(parts()).at(500.0)
    assert (answer.alignment, answer.output_rms, answer.latent_drift) == (1.0, None, None)
    assert build(parts()).mean("output_rms") is None
    assert build(parts()).mean("latent_sensitivity") == [2.0, 3.0, 5.0]


def test_merging_puts_the_samples_one_after_the_other():
    more = parts() | {"latent_sensitivity": torch.tensor([[8.0, 9.0, 11.0]])}
    more["time_sensitivity"] = torch.tensor([[1.0, 2.0, 3.0]])
    merged = merge(build(parts()), build(more, {"fingerprint": "wan-a", "note": "second"}))
    assert merged.num_samples == 3
    assert merged.rows["latent_sensitivity"].tolist() == [[1.0, 2.0, 4.0], [3.0, 4.0, 6.0], [8.0, 9.0, 11.0]]
    assert merged.at(1000.0).latent_sensitivity == 4.0
    assert merged.metadata == {"fingerprint": "wan-a"}


@pytest.mark.parametrize(
    ("changes", "metadata", "reason"),
    [
        ({}, {"fingerprint": "wan-b"}, "two models can't be merged: 'wan-a' and 'wan-b'"),
        ({}, {}, "two models can't be merged: 'wan-a' and 'unknown'"),
        ({"timestep": torch.tensor([1000.0, 501.0, 100.0])}, None, "different timesteps"),
        ({"sigma": torch.tensor([1.0, 0.75, 0.125])}, None, "different timesteps"),
        ({"output_rms": torch.ones(2, 3)}, None, "different quantities"),
    ],
)
def test_tables_that_do_not_belong_together_are_not_merged(changes, metadata, reason):
    with pytest.raises(TableError, match=reason):
        merge(build(parts()), build(parts() | changes, metadata))


def test_merging_stops_at_the_most_samples_that_a_table_may_have():
    many = {name: t.repeat(300, 1) if t.ndim == 2 else t for name, t in parts().items()}
    with pytest.raises(TableError, match="1200 samples; 1 to 1000"):
        merge(build(many), build(many))


def test_changing_what_a_table_was_made_from_does_not_change_the_table():
    tensors, metadata = parts(), {"fingerprint": "wan-a"}
    rows = {name: tensors[name] for name in ("latent_sensitivity", "time_sensitivity")}
    table = SensitivityTable(tensors["timestep"], tensors["sigma"], rows, metadata)
    before = to_bytes(table)
    for tensor in tensors.values():
        tensor.zero_()
    rows.clear()
    metadata["fingerprint"] = "wan-b"
    table.mean("latent_sensitivity").clear()
    assert to_bytes(table) == before == to_bytes(build(parts()))
    assert table.at(750.0).latent_sensitivity == 2.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.sigma = tensors["sigma"]


def test_eight_samples_on_fifty_knots_take_less_than_64_kb():
    knots = torch.linspace(1000.0, 1.0, 50)
    names = ("latent_sensitivity", "time_sensitivity", "alignment", "output_rms", "latent_drift")
    tensors = {"timestep": knots, "sigma": knots / 1000} | {name: torch.rand(8, 50) for name in names}
    metadata = {f"key{index}": "a longer value than most " * 4 for index in range(15)}
    assert len(to_bytes(build(tensors, metadata))) < 64_000


def test_a_table_at_every_limit_can_be_loaded_again():
    metadata = {f"{index:064}": "m" * 4096 for index in range(64)}
    wide = {"timestep": torch.arange(1000.0, 0.0, -1.0), "sigma": torch.ones(1000)}
    wide |= {name: torch.full((1, 1000), 1e6) for name in ("latent_sensitivity", "time_sensitivity")}
    tall = {name: t[..., :1] if t.ndim == 1 else torch.ones(1000, 1) for name, t in parts().items()}
    for tensors in (wide, tall):
        table = build(tensors, metadata)
        assert from_bytes(to_bytes(table)) == table


def test_a_table_too_large_to_be_loaded_again_is_not_saved_over_the_old_one(tmp_path):
    path = tmp_path / "wan.safetensors"
    save(build(parts()), path)
    tensors = {"timestep": torch.arange(1000.0, 0.0, -1.0), "sigma": torch.ones(1000)}
    tensors |= {name: torch.ones(200, 1000) for name in ("latent_sensitivity", "time_sensitivity")}
    with pytest.raises(TableError, match=r"'wan.safetensors' can't be saved: it is larger than the 1 MiB"):
        save(build(tensors), path)
    assert load(path) == build(parts())
    assert os.listdir(tmp_path) == ["wan.safetensors"]
