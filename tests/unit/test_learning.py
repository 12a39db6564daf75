"""A run that learns from its outputs how hard its clip is, and computes more where that is worth it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sencache.caching.policy import Arrival, Reason
from sencache.caching.rules import RULES
from sencache.caching.run import SamplingRun
from sencache.tests.toy_plans import policy, table_of
from sencache.tests.toy_runs import EVERYWHERE, begin, points_at

STEPS = 40
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
POINTS = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])


def smooth(sigma: float) -> torch.Tensor:
    return torch.tensor([[math.sin(3 * sigma), math.cos(2 * sigma), sigma**2, 1.0]])


def sudden(sigma: float) -> torch.Tensor:
    """As the smooth one, but for a sudden turn at 0.75."""
    return smooth(sigma) + 0.5 * math.tanh(20 * (sigma - 0.75))


TABLE = table_of(smooth, SIGMAS)


def computed(output, points=POINTS, **settings) -> list[int]:
    """Run, and return the evaluations that were computed."""
    made = policy(TABLE, EVERYWHERE, points, **settings)
    run = SamplingRun(made, axis=lambda sigma: 1 - sigma, clock=lambda: 0.0)
    found = []
    for step, sigma in enumerate(SIGMAS):
        if begin(run, torch.zeros(1, 4), sigma).reuse:
            run.serve("cond", torch.device("cpu"))
        else:
            run.store("cond", output(sigma))
            found.append(step)
    reasons = {one.decision.reason for one in run.finish()}
    assert reasons <= {Reason.FIRST, Reason.PLANNED, Reason.WITHIN_LIMIT}
    return found


@pytest.mark.parametrize("speed_up", [1.5, 2.0, 2.5, 3.0, 4.0])
def test_a_hard_clip_is_computed_where_it_turns_and_as_often_as_an_easy_one(speed_up):
    easy, hard = (computed(output, speed_up=speed_up) for output in (smooth, sudden))
    assert len(easy) == len(hard) == math.floor(STEPS / speed_up)
    turn = range(8, 17)
    assert sum(step in turn for step in hard) >= sum(step in turn for step in easy) + (speed_up < 4)
    assert easy != hard


def test_a_clip_that_is_as_the_table_says_is_computed_as_the_panel_shows():
    from sencache.caching.simulate import simulate

    for speed_up in (1.5, 2.0, 3.0):
        made = policy(TABLE, EVERYWHERE, POINTS, speed_up=speed_up)
        shown = [step for step, one in enumerate(simulate(made, TABLE, POINTS).decisions) if not one.reuse]
        assert computed(smooth, speed_up=speed_up) == shown


@pytest.mark.parametrize(("moved", "computes"), [(0.0, 0), (1e-6, 0), (0.1, 1)])
def test_of_a_window_that_errs_by_more_than_was_planned_only_unusual_moves_count(moved, computes):
    """In a plan made anew the hard part of a run takes evaluations from the rest."""
    made = policy(table_of(smooth, SIGMAS, latent_drift=1e-9), EVERYWHERE, POINTS, speed_up=3.0)
    made._limit = 1e-5  # less than any of its windows errs by
    run = SamplingRun(made, axis=lambda sigma: 1 - sigma, clock=lambda: 0.0)
    for step, sigma in enumerate(SIGMAS):
        if begin(run, torch.full((1, 4), moved * step), sigma).reuse:
            run.serve("cond", torch.device("cpu"))
        else:
            run.store("cond", smooth(sigma))
    reasons = [one.decision.reason for one in run.finish()]
    assert bool(reasons.count(Reason.OVER_LIMIT)) == bool(computes)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"plan"}))
def test_the_other_rules_learn_nothing(rule):
    made = policy(table_of(smooth, SIGMAS, latent_drift=0.001), EVERYWHERE, POINTS, rule=rule)
    before = made.decide(Arrival(SIGMAS[3], 1000 * SIGMAS[3], (0.01,), 10.0))
    made.learn(9.0, 0.1)
    assert made.decide(Arrival(SIGMAS[3], 1000 * SIGMAS[3], (0.01,), 10.0)) == before


def test_held_outputs_tell_nothing():
    assert computed(sudden, speed_up=2.0, forecast="hold") == computed(smooth, speed_up=2.0, forecast="hold")


def test_an_adaptive_samplers_run_learns_nothing():
    adaptive = replace(POINTS, adaptive=True)
    hard, easy = (computed(output, adaptive, speed_up=2.0) for output in (sudden, smooth))
    assert hard == easy


def test_a_learning_run_reads_the_device_as_often_as_any_other(monkeypatch):
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(1) or original(tensor))
    made = policy(TABLE, EVERYWHERE, POINTS, speed_up=2.0)
    run = SamplingRun(made, axis=lambda sigma: 1 - sigma, clock=lambda: 0.0)
    for sigma in SIGMAS:
        before = len(reads)
        reused = begin(run, torch.zeros(1, 4), sigma).reuse
        assert len(reads) == before + 1
        if reused:
            run.serve("cond", torch.device("cpu"))
        else:
            run.store("cond", sudden(sigma))
