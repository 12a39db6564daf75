"""A workflow samples again once its runs would find another table, and only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

STEPS = 6


@pytest.fixture
def lookups(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Remembered looks of this test's own, and a table folder that is empty."""
    import folder_paths
    from sencache.nodes import automatic
    from sencache.nodes.tables.lookups import Lookups

    places = ([str(tmp_path)], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sencache", places)
    own = Lookups()
    monkeypatch.setattr(automatic, "LOOKUPS", own)
    return own


@pytest.fixture
def run(wan: Any, sample: Any, lookups: Any) -> Any:
    """Sample the model as a workflow of this name."""
    from sencache.caching.config import SenCacheConfig
    from sencache.nodes.automatic import Automatic
    from sencache.nodes.host.wrappers import Patch

    def sampled(workflow: str, steps: int = STEPS, cfg: float = 5.0) -> None:
        sample(Patch(SenCacheConfig(), Automatic(SenCacheConfig(), True, workflow)).apply(wan), steps, cfg)

    return sampled


def test_it_changes_when_what_a_run_would_find_changes(lookups, run, tmp_path):
    before = lookups.state("a")
    run("a")
    measured = lookups.state("a")
    run("a")
    assert before != measured == lookups.state("a")
    (table,) = (tmp_path / "measured").glob("*.safetensors")
    os.utime(table, ns=(0, table.stat().st_mtime_ns + 1))
    replaced = lookups.state("a")
    table.unlink()
    gone = lookups.state("a")
    assert len({before, measured, replaced, gone}) == 4


def test_a_table_that_comes_between_two_samplers_of_one_workflow_counts(lookups, run):
    """The first of them has measured, and is not to stay as the host keeps it."""
    before = lookups.state("a")
    run("a")
    run("a")
    assert lookups.state("a") != before


def test_a_table_of_another_kind_changes_nothing(lookups, run):
    run("guided")
    guided, nothing = lookups.state("guided"), lookups.state("never ran")
    run("unguided", cfg=1.0)
    assert (lookups.state("guided"), lookups.state("never ran")) == (guided, nothing)
    assert guided != nothing


def test_what_was_forgotten_counts_as_changed(lookups, run, monkeypatch):
    from sencache.nodes.tables import lookups as module

    states = [lookups.state("a")]
    monkeypatch.setattr(module, "MOST_WORKFLOWS", 1)
    lookups.state("b")
    states.append(lookups.state("a"))
    monkeypatch.setattr(module, "MOST_LOOKS", 1)
    for steps in (STEPS, STEPS + 1):
        run("a", steps)
    states.append(lookups.state("a"))
    assert len(set(states)) == 3


def test_a_node_that_is_off_or_brings_its_table_never_runs_again(host):
    from sencache.nodes.model_patch import SenCacheModelPatch

    def asked(**inputs: Any) -> str:
        return SenCacheModelPatch.fingerprint_inputs(table="automatic", **inputs)

    assert asked(epsilon=0.0, n=30) == asked(epsilon=0.03, n=0) == asked(embedded_table="x") == ""
    assert asked(epsilon=0.03, n=30) != "" != asked(epsilon=None)


def test_the_workflow_is_what_leads_to_the_nodes_model(host, monkeypatch):
    from comfy_execution.utils import CurrentNodeContext
    from sencache.nodes.host import queued_graph

    def prompt(file: str, epsilon: float, seed: int) -> dict[str, Any]:
        return {
            "1": {"class_type": "UNETLoader", "inputs": {"unet_name": file}},
            "2": {"class_type": "SenCacheModelPatch", "inputs": {"model": ["1", 0], "epsilon": epsilon}},
            "3": {"class_type": "KSampler", "inputs": {"model": ["2", 0], "seed": seed}},
        }

    def workflow(*asked: Any, node: str = "2") -> str | None:
        monkeypatch.setattr(queued_graph, "running", lambda server, prompt_id: (prompt(*asked), None))
        with CurrentNodeContext("p", node, 0):
            return queued_graph.model_of_executing_node()

    assert workflow("a", 0.03, 1) == workflow("a", 0.06, 2) != workflow("b", 0.03, 1)
    assert workflow("a", 0.03, 1, node="2.0.1") is None and queued_graph.model_of_executing_node() is None


def test_a_link_to_nowhere_hides_no_change(lookups, run, tmp_path):
    (tmp_path / "nowhere.safetensors").symlink_to(tmp_path / "gone.safetensors")
    before = lookups.state("a")
    run("a")
    assert before != lookups.state("a")
