"""Every computed step shows what its forecast would have been: a run knows how well it went."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sencache.caching import tuned
from sencache.caching.record import RunRecord
from sencache.caching.report import LESS_PREDICTABLE, advice, as_dict
from sencache.caching.visibility import Visibility, visibility
from sencache.calibration.modes import from_outputs
from sencache.tests.toy_plans import SIGMAS, curve, follow, planned_run, table_of
from sencache.tests.toy_runs import begin


def record_of(output, **settings) -> RunRecord:
    run = planned_run(table_of(), **settings)
    follow(run, output)
    return RunRecord(run.policy.config, run.finish(), predicted_error=run.policy.predicted_error)


@pytest.fixture(autouse=True)
def lines_are_extended(monkeypatch):
    monkeypatch.setattr(tuned, "UNRELIABLE", 9.0)


@pytest.mark.parametrize("speed_up", [1.5, 2.0, 3.0])
def test_a_run_like_the_measured_one_is_as_predictable_as_the_table_says(speed_up):
    record = record_of(curve, speed_up=speed_up)
    checks = [one.forecast for one in record.evaluations if not one.decision.reuse][1:]
    assert all(check.missed == pytest.approx(check.expected, rel=0.02, abs=1e-4) for check in checks)
    assert record.surprise == pytest.approx(1.0, rel=0.02)


def test_what_held_denoised_latents_miss_no_table_knows():
    record = record_of(curve, speed_up=2.0, forecast="hold")
    assert record.reused and record.surprise is None
    assert all(one.forecast is None for one in record.evaluations)


def test_what_bends_three_times_as_much_is_three_times_less_predictable():
    record = record_of(lambda sigma: 3.5 * curve(sigma), speed_up=2.0)
    assert record.surprise == pytest.approx(3.5, rel=0.02) and record.surprise > LESS_PREDICTABLE
    (note,) = [note for note in advice(record) if note.code == "less_predictable"]
    assert note.values == {"times": "3.5"}
    assert not [note for note in advice(record_of(curve, speed_up=2.0)) if note.code == "less_predictable"]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_output_is_not_called_less_predictable(broken):
    record = record_of(lambda sigma: broken * curve(sigma), speed_up=2.0)
    assert record.surprise is None
    assert not [note for note in advice(record) if note.code == "less_predictable"]


def test_reused_steps_and_the_first_have_nothing_to_compare():
    record = record_of(curve, speed_up=2.0)
    assert record.evaluations[0].forecast is None
    assert all(one.forecast is None for one in record.evaluations if one.decision.reuse)
    steps = as_dict(record)["steps"]
    assert [step["missed"] is None for step in steps] == [one.forecast is None for one in record.evaluations]


def test_where_a_prompt_begins_the_other_branch_is_still_compared_with_its_own_forecast():
    """The positive branch changes all the way, the negative one hardly: only the latter can be compared."""
    outputs = [[curve(sigma), 0.01 * curve(sigma)] for sigma in SIGMAS]
    modes = from_outputs([1000 * sigma for sigma in SIGMAS], outputs)
    run = planned_run(replace(table_of(), modes=modes), epsilon=1e-12)  # the plan computes every step
    for sigma, (positive, negative) in zip(SIGMAS, outputs, strict=True):
        begin(run, torch.zeros(1, 4), sigma)
        run.store("early" if sigma > 0.5 else "late", positive)
        run.store("negative", negative)
    checks = [one.forecast for one in run.finish()]
    begun = next(index for index, sigma in enumerate(SIGMAS) if sigma <= 0.5)
    assert checks[begun].expected == pytest.approx(checks[begun].missed, rel=0.02)
    assert checks[begun].expected < 0.02 * checks[begun - 1].expected


def test_the_outputs_stay_what_they_are():
    outputs = {sigma: curve(sigma) for sigma in SIGMAS}
    copies = {sigma: one.clone() for sigma, one in outputs.items()}
    record_of(outputs.__getitem__, speed_up=2.0)
    assert all(torch.equal(outputs[sigma], copies[sigma]) for sigma in SIGMAS)


def test_the_words_follow_the_error():
    errors = (0.0, 0.02, 0.021, 0.05, 0.051, 0.12, 0.13, 5.0)
    assert [visibility(one) for one in errors] == [
        *[Visibility.INVISIBLE] * 2, *[Visibility.HARDLY_VISIBLE] * 2, *[Visibility.DETAILS_CHANGE] * 2,
        *[Visibility.ANOTHER_VIDEO] * 2,
    ]  # fmt: skip
