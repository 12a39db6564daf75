"""What reused evaluations lacked, and how the next ones make up for it."""

from __future__ import annotations

import math

import pytest
import torch
from sencache.caching import follower as follower_module
from sencache.caching.branch import Branch
from sencache.caching.config import SenCacheConfig
from sencache.caching.follower import PlanFollower
from sencache.caching.forecast import ServedStep
from sencache.caching.plan import follower
from sencache.caching.run import SamplingRun
from sencache.calibration.modes import from_outputs
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import EVERYWHERE, begin, points_at
from torch import Tensor

CPU = torch.device("cpu")
STEPS = 24
SIGMAS = [1 - step / STEPS for step in range(STEPS)]


def parabola(time: float) -> Tensor:
    return torch.tensor([[time**2, -2 * time**2]])


def stored(branch: Branch, time: float, coming: float = 1.0, corrects: bool = True) -> None:
    branch.store("linear", parabola(time), time, coming, corrects)


def served(branch: Branch, time: float, weight: float = 0.5) -> float:
    return float(branch.serve("linear", ServedStep(time, weight, 1.0), CPU)[0, 0])


def after_a_line() -> Branch:
    """Serve 1.5 at time 1.5 where the parabola is 2.25; then compute at time 2."""
    branch = Branch()
    stored(branch, 0.0)
    stored(branch, 1.0)
    assert served(branch, 1.5) == 1.5
    stored(branch, 2.0)
    return branch


def test_what_was_lacked_is_made_up_for_by_the_next_reused_evaluations_in_equal_parts():
    branch = after_a_line()
    assert branch.owed is not None and branch.owed.tolist() == [[0.375, -0.75]]  # 0.75 times the weight 0.5
    assert served(branch, 2.5) == pytest.approx(5.5 + 0.375)  # the line, and owed / coming
    assert served(branch, 3.0) == pytest.approx(7.0 + 0.375)
    stored(branch, 3.5, corrects=False)
    assert branch.owed is None  # both weights together were what was coming: all is paid


@pytest.mark.parametrize("apart", [0.0, 3e-8, 5e-5])
def test_outputs_at_nearly_one_time_count_as_one(apart):
    """Ancestral samplers reach one sigma by two ways; the line through the two would go anywhere."""
    branch = Branch()
    stored(branch, 0.5)
    stored(branch, 1.0)
    branch.store("linear", parabola(1.0) + 0.1, 1.0 + apart, 1.0, False)
    assert branch.times == [0.5, 1.0 + apart]
    assert served(branch, 2.0) == pytest.approx(1.1 + 0.85 * 2.0, rel=1e-3)


def test_outputs_closer_than_half_a_planned_step_count_as_one():
    """Some samplers evaluate shortly before the next step, and then at it."""
    branch = Branch()
    for time in (0.0, 0.47, 0.5, 0.97, 1.0):
        branch.store("linear", parabola(time), time, 1.0, False, apart=0.25)
    assert branch.times == [0.5, 1.0]


def test_what_was_not_served_as_planned_stays_owed():
    branch = after_a_line()
    served(branch, 2.5, weight=0.25)
    stored(branch, 3.0, corrects=False)
    assert branch.owed is not None
    assert branch.owed[0].tolist() == pytest.approx([0.375 * 0.75, -0.75 * 0.75])


def test_nothing_is_owed_where_nothing_is_corrected_or_nothing_was_served():
    branch = Branch()
    for time in (0.0, 1.0):
        stored(branch, time)
    served(branch, 1.5)
    stored(branch, 2.0, corrects=False)
    assert branch.owed is None and branch.tensors == 2
    stored(branch, 3.0)
    assert branch.owed is None


def test_without_reuse_to_come_the_debt_waits():
    branch = Branch()
    stored(branch, 0.0)
    stored(branch, 1.0)
    served(branch, 1.5)
    stored(branch, 2.0, coming=0.0)
    stored(branch, 3.0, coming=0.5)
    assert branch.tensors == 3
    assert served(branch, 3.5) == pytest.approx(11.5 + 0.375 / 0.5)


def test_a_second_output_at_one_time_owes_nothing():
    branch = Branch()
    stored(branch, 1.0)
    served(branch, 1.0)
    stored(branch, 1.0)
    assert branch.owed is None and branch.times == [1.0]


def table_of_a_parabola() -> SensitivityTable:
    times = [1000 * sigma for sigma in SIGMAS]
    modes = from_outputs(times, [[parabola(1 - sigma)] for sigma in SIGMAS])
    rows = {name: torch.ones(1, 2) for name in ("latent_sensitivity", "time_sensitivity")}
    return SensitivityTable(torch.tensor([1000.0, 0.0]), torch.tensor([1.0, 0.0]), rows, {}, modes)


def sampled(corrects: bool, monkeypatch: pytest.MonkeyPatch, speed_up: float) -> tuple[Tensor, int, bool]:
    """Sample a network whose output is a parabola; return the latent, the NFE and whether it ended owing."""
    monkeypatch.setattr(follower_module, "MOSTLY_NOISE", 0.0 if corrects else math.inf)
    points = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])
    config = SenCacheConfig(speed_up=speed_up)
    follow = follower(config, EVERYWHERE, table_of_a_parabola(), points)
    run = SamplingRun(config, table_of_a_parabola(), EVERYWHERE, lambda: 0.0, lambda s: 1 - s, follow)
    x, owes = torch.zeros(1, 2), False
    for sigma, weight in zip(SIGMAS, points.weights, strict=True):
        if begin(run, x, sigma).reuse:
            output = run.serve("cond", CPU)
        else:
            output = parabola(1 - sigma)
            run.store("cond", output)
            owes = run.stored_tensors > 3
        x = x - weight * output
    return x, run.follow.planned, owes


@pytest.mark.parametrize("speed_up", [2.0, 4.0])
def test_a_sampler_that_evaluates_twice_a_step_is_served_lines_between_steps(speed_up):
    points = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])
    config = SenCacheConfig(speed_up=speed_up)
    follow = follower(config, EVERYWHERE, table_of_a_parabola(), points)
    run = SamplingRun(config, table_of_a_parabola(), EVERYWHERE, lambda: 0.0, lambda s: 1 - s, follow)
    off = []
    for sigma in SIGMAS:
        for at, noise in ((sigma, 0.0), (sigma - 0.97 / STEPS, 0.02)):  # the second all but at the next step
            output = parabola(1 - at) + noise
            if begin(run, torch.zeros(1, 2), at).reuse:
                off.append(float((run.serve("cond", CPU) - output).abs().max()))
            else:
                run.store("cond", output)
    assert len(off) > 8 and max(off) < 0.4  # a line through the two of one step would be off by 1 and more


def test_correcting_brings_a_run_much_nearer_to_the_uncached_one(monkeypatch):
    weights = points_at(SIGMAS, SIGMAS).weights
    exact = -sum(weight * parabola(1 - sigma) for sigma, weight in zip(SIGMAS, weights, strict=True))
    plain, nfe, _ = sampled(False, monkeypatch, speed_up=3.0)
    corrected, same_nfe, _ = sampled(True, monkeypatch, speed_up=3.0)
    assert nfe == same_nfe <= STEPS / 3
    assert (corrected - exact).abs().max() < (plain - exact).abs().max() / 3


def test_a_sampler_that_evaluates_twice_a_step_is_not_corrected():
    points = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])
    follow = follower(SenCacheConfig(speed_up=3.0), EVERYWHERE, table_of_a_parabola(), points)

    def answers(follow: PlanFollower) -> tuple[bool, bool]:
        return follow.corrects(SIGMAS[1]), follow.coming_weight() > 0

    for sigma in SIGMAS[:1]:
        follow.arrive(sigma)
        follow.computed(sigma)
    assert answers(follow) == (True, True)
    follow.arrive(SIGMAS[1])
    follow.arrive(SIGMAS[1])
    assert answers(follow) == (False, False)


def test_late_errors_are_left_to_the_network():
    points = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])
    follow = follower(SenCacheConfig(speed_up=3.0), EVERYWHERE, table_of_a_parabola(), points)
    assert [follow.corrects(sigma) for sigma in (1.0, 0.7, 0.6, 0.1)] == [True, True, False, False]
