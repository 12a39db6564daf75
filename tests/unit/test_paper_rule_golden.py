"""Every decision on recorded trajectories against those reckoned independently from the paper's rule."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.policy import Decision, Reason
from sencache.caching.rules import policy_for
from sencache.caching.run import SamplingRun
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import NOWHERE

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "paper_rule.json").read_text())
BECAUSE = {
    Reason.FIRST: "first",
    Reason.OVER_LIMIT: "over budget",
    Reason.MAX_REUSE: "n reached",
    Reason.WITHIN_LIMIT: "within budget",
}


def table_of(case: dict) -> SensitivityTable:
    knots = {name: torch.tensor(values) for name, values in case["table"].items()}
    timestep = knots.pop("timestep")
    return SensitivityTable(timestep, timestep / 1000, {name: row[None] for name, row in knots.items()})


def run_of(case: dict) -> SamplingRun:
    config = SenCacheConfig(
        rule="paper",
        forecast="hold",
        epsilon=case["epsilon"],
        strict_epsilon=case["strict_epsilon"],
        max_reuse=case["n"],
    )
    strict = case["strict_steps"]
    first_main = torch.tensor(case["steps"][strict]["sigma"]).item() if strict else math.inf
    return SamplingRun(policy_for(config, Zones(math.inf, -1.0, first_main), table_of(case), NOWHERE))


def replayed(case: dict) -> list[Decision]:
    """Run the recorded latents, whatever was decided about them, through the pack."""
    run = run_of(case)
    made = []
    for step in case["steps"]:
        x = torch.tensor(step["latent"]).reshape(1, 1, 1, 2, -1)
        made.append(run.begin(x, torch.tensor([step["sigma"]]), torch.tensor([step["timestep"]])))
    return made


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_decision_is_the_papers(case):
    made = replayed(case)
    assert [(one.action.value, BECAUSE[one.reason]) for one in made] == [
        (one["action"], one["because"]) for one in case["decisions"]
    ]
    assert [one.score for one in made[1:]] == pytest.approx(
        [one["score"] for one in case["decisions"][1:]], rel=2e-5
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_table_row_is_the_one_recorded(case):
    table = table_of(case)
    for step in case["steps"]:
        row = table.at(step["timestep"])
        assert [row.latent_sensitivity, row.time_sensitivity] == pytest.approx(step["row"], rel=2e-5)


def test_the_recorded_cases_hold_every_reason_a_strict_start_and_lookups_between_knots():
    assert {one["because"] for case in CASES for one in case["decisions"]} == set(BECAUSE.values())
    steps = [(len(case["steps"]), case["strict_steps"]) for case in CASES]
    assert {(20, 4), (50, 10), (20, 0)} <= set(steps)
    assert {1, 3, 10} <= {case["n"] for case in CASES}
    between = [
        step
        for case in CASES
        for step in case["steps"]
        if case["table"]["timestep"][-1] < step["timestep"] < case["table"]["timestep"][0]
        and step["timestep"] not in case["table"]["timestep"]
    ]
    assert len(between) > 100


def test_the_recorded_file_is_what_its_script_writes_and_the_script_does_not_know_the_pack():
    script = GOLDEN / "make_paper_rule.py"
    nodes = list(ast.walk(ast.parse(script.read_text())))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert modules == {"__future__", "json", "math", "pathlib", "random"}
    spec = importlib.util.spec_from_file_location("make_paper_rule", script)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert json.loads(maker.text()) == CASES
