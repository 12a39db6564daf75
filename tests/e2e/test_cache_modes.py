"""The host's ways of keeping outputs, and tables that change between two runs or while a run waits."""

from __future__ import annotations

import re
import shutil

import pytest
from comfy_host import ROOT, find_host
from comfy_server import ComfyServer, QueueError
from workflows import artist_workflow

STEPS = 10
TABLE = "changing.safetensors"


def workflow(table=TABLE, epsilon=0.2, seed=7):
    """Return the artist's workflow without Calibrate, with a table file."""
    prompt = artist_workflow(STEPS, 4, 1, "unused", seed, epsilon=epsilon, table=table)
    del prompt["5"], prompt["6"]["inputs"]["sensitivity"]
    prompt["4"]["inputs"].update(width=64, height=64, length=5)
    return prompt


def computed(history):
    """Read the count of computed evaluations out of Cache Stats' text."""
    text = history["outputs"]["8"]["text"][0]
    return int(re.match(rf"(\d+) of {STEPS} steps computed", text).group(1))


def repeated(server, history, prompt, before):
    """Read the count of a prompt queued again; 0.8.0's history leaves out nodes that did not run."""
    if "8" in history["outputs"]:
        return computed(history)
    assert "8" not in server.executed(history, prompt)
    return before


@pytest.fixture
def table(shared_server):
    """A table file of the user's own on the shared server."""
    path = shared_server.base / "models" / "sencache" / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", path)
    yield path
    path.unlink(missing_ok=True)


MODES = (
    ["--cache-none"], ["--cache-lru", "2"], ["--cache-classic"], ["--cache-ram"], ["--cache-ram", "0.5"],
)  # fmt: skip
RUNS_AGAIN = {"--cache-none": True, "--cache-classic": False}  # the others go by memory and size


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_every_cache_mode_reports_the_run_that_was_asked_for(tmp_path, mode):
    host = find_host()
    if f'"{mode[0]}"' not in (host / "comfy" / "cli_args.py").read_text(encoding="utf-8"):
        pytest.skip(f"this host has no {mode[0]}")
    prompt = workflow("tiny_wan.safetensors")
    with ComfyServer(tmp_path / "server", *mode) as server:
        first = computed(server.run(prompt))
        history = server.run(prompt)
        ran_again = "7" in server.executed(history, prompt)
        again = repeated(server, history, prompt, first)
        finer = computed(server.run(workflow("tiny_wan.safetensors", epsilon=0.0)))
        back = repeated(server, server.run(prompt), prompt, first)
        other_seed = computed(server.run(workflow("tiny_wan.safetensors", seed=8)))
    assert 1 < first == again == back < finer == STEPS
    assert 1 < other_seed < STEPS
    assert ran_again == RUNS_AGAIN.get(mode[0], ran_again)


def test_a_replaced_table_runs_the_node_again_and_the_same_one_does_not(shared_server, table):
    from sencache.calibration.table import load, save

    prompt = workflow()
    first = shared_server.run(prompt)
    assert "6" not in shared_server.executed(shared_server.run(prompt), prompt)
    old = load(table)
    rows = {name: row * 4 if name.endswith("sensitivity") else row for name, row in old.rows.items()}
    save(type(old)(old.timestep, old.sigma, rows, old.metadata), table)
    second = shared_server.run(prompt)
    assert {"6", "7", "8"} <= shared_server.executed(second, prompt)
    assert computed(second) != computed(first)


def test_a_table_deleted_while_the_run_waits_is_named_in_one_sentence(shared_server, table):
    slow = artist_workflow(STEPS, 12, 2, "slow", seed=3)
    waiting = shared_server.submit(slow), shared_server.submit(workflow(seed=9))
    table.unlink()
    shared_server.wait(waiting[0])
    sentence = f"SenCache Model Patch: There is no sensitivity table '{TABLE}' in models/sencache; "
    with pytest.raises(QueueError) as caught:
        shared_server.wait(waiting[1])
    assert str(caught.value) == sentence + "measure one with SenCache Calibrate."
