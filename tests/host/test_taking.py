"""Table files from other machines: samples of one model join, and nothing that is here is lost."""

from __future__ import annotations

import base64
import contextlib

import pytest
from comfy_host import ROOT
from sencache.calibration import table as tables

SHIPPED = ROOT / "tables"


@pytest.fixture
def take(host):
    """Take in a file as the page sends it; return the answer."""
    from sencache.nodes.panel.taking import take
    from sencache.nodes.panel.wire import TakeQuestion, read

    def run(data):
        return take(read(TakeQuestion, {"data": base64.b64encode(data).decode()}))

    return run


@pytest.fixture
def elsewhere(unknown, calibrate):
    """Another machine's calibration of the same model with another seed, as a file; nothing of it is here."""
    calibrate(seed=30)
    (path,) = unknown.parent.glob("*.safetensors")
    data = path.read_bytes()
    path.unlink()
    return path, data


def test_two_machines_samples_of_one_model_join(elsewhere, calibrate, take):
    path, data = elsewhere
    calibrate(seed=3)
    here, there = tables.load(path), tables.from_bytes(data)
    taken = take(data)
    assert (taken.name, taken.samples, taken.merged, taken.there) == (path.name, 4, True, False)
    joined = tables.load(path)
    for name in here.rows:
        assert [*here.rows[name].tolist(), *there.rows[name].tolist()] == joined.rows[name].tolist()
    assert joined.modes is not None and joined.metadata == here.metadata


def test_calibrating_again_keeps_what_has_joined_and_measures_only_what_is_missing(
    elsewhere, calibrate, take, evaluations
):
    path, data = elsewhere
    calibrate(seed=3)
    take(data)
    evaluations.branches.clear()
    calibrate(seed=3)
    assert tables.load(path).num_samples == 4 and not evaluations.branches
    calibrate(seed=3, samples=5)
    assert tables.load(path).num_samples == 5


def test_a_file_taken_twice_counts_once(elsewhere, calibrate, take):
    path, data = elsewhere
    calibrate(seed=3)
    take(data)
    before = path.read_bytes()
    taken = take(data)
    assert (taken.samples, taken.there) == (4, True) and path.read_bytes() == before


def test_the_next_run_plans_with_the_joined_table(elsewhere, calibrate, take, wan, patch, sample, records):
    path, data = elsewhere
    calibrate(seed=3)
    take(data)
    patched = patch(wan, speed_up=2.0)
    sample(patched, steps=6)
    assert records(patched)[-1].table_name == path.name and records(patched)[-1].nfe == 3


def test_where_there_is_none_the_file_is_kept_under_its_name(elsewhere, take):
    path, data = elsewhere
    taken = take(data)
    assert (taken.name, taken.merged, taken.there) == (path.name, False, False)
    assert path.read_bytes() == data
    assert take(data).there


@pytest.mark.parametrize(
    "changed", [{"cfg": 3.0}, {"steps": 4}, {"sensitivities": "some steps"}, {"scheduler": "beta"}]
)
def test_a_calibration_of_other_settings_never_replaces_the_one_that_is_here(
    elsewhere, calibrate, take, changed
):
    from sencache.nodes.refusals import NotedTableError

    path, data = elsewhere
    calibrate(seed=3, **changed)
    before = path.read_bytes()
    with pytest.raises(NotedTableError, match="already has another table named"):
        take(data)
    assert path.read_bytes() == before


def test_what_another_machines_run_has_measured_serves_here(unknown, take, wan, patch, sample, records):
    patched = patch(wan, speed_up=2.0)
    sample(patched, steps=12)
    (path,) = unknown.glob("*.safetensors")
    data = path.read_bytes()
    path.unlink()
    taken = take(data)
    assert (taken.merged, taken.there) == (False, False)
    assert take(data).there
    sample(patched, steps=12, seed=2)
    assert [record.nfe for record in records(patched)] == [12, 6]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x80\x04.", (SHIPPED / "tiny_wan.safetensors").read_bytes()[:-40]]
)
def test_what_is_no_table_is_refused_in_one_sentence(unknown, take, data):
    from sencache.nodes.refusals import NotedTableError

    with pytest.raises(NotedTableError, match=r"^This file can't be used: .*\w$"):
        take(data)
    assert not list(unknown.parent.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "told",
    [
        {"weights": None}, {"weights": "/../../a"}, {"weights": "/b"}, {"weights": "x:y"}, {"weights": "\n"},
        {"fingerprint": "../x"}, {"name": "../../evil"}, {"name": "con"}, {"file": "../../x"},
    ],  # fmt: skip
)
def test_a_strangers_words_name_no_place_outside_the_folder(unknown, take, wan, patch, sample, told):
    sample(patch(wan, speed_up=2.0), steps=12)
    (path,) = unknown.glob("*.safetensors")
    held = tables.load(path)
    path.unlink()
    meta = {**held.metadata, **{key: value for key, value in told.items() if value is not None}}
    meta = {key: value for key, value in meta.items() if told.get(key, "") is not None}
    forged = tables.to_bytes(tables.SensitivityTable(held.timestep, held.sigma, held.rows, meta, held.modes))
    everywhere = unknown.parent.parent  # the folder of all tests, ComfyUI's own models among them
    before = set(everywhere.rglob("*"))
    with contextlib.suppress(tables.TableError):
        take(forged)
    new = {one for one in set(everywhere.rglob("*")) - before if one.suffix == ".safetensors"}
    assert all(one.parent == unknown for one in new) and len(new) <= 1
