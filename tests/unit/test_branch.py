"""What reused evaluations lacked, and how the next ones make up for it."""

from __future__ import annotations

import math

import pytest
import torch
from sencache.caching import tuned
from sencache.caching.branch import Branch
from sencache.caching.forecast import FORECASTS, ServedStep
from sencache.caching.policy import Handling
from sencache.tests.toy_plans import planned_run, table_of
from sencache.tests.toy_runs import begin, points_at
from torch import Tensor

CPU = torch.device("cpu")
LINE = FORECASTS["linear"]
STEPS = 24
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
POINTS = points_at(SIGMAS, [1000 * sigma for sigma in SIGMAS])


def parabola(time: float) -> Tensor:
    return torch.tensor([[time**2, -2 * time**2]])


def handled(corrects: bool = True, apart: float = 0.0) -> Handling:
    return Handling(corrects=corrects, apart=apart)


def stored(branch: Branch, time: float, corrects: bool = True) -> None:
    branch.store(LINE, parabola(time), time, handled(corrects))


def served(branch: Branch, time: float, weight: float = 0.5, weight_ahead: float = 1.0) -> float:
    return float(branch.serve(LINE, ServedStep(time, weight, 1.0), CPU, weight_ahead)[0, 0])


def after_a_line() -> Branch:
    """Serve 1.5 at time 1.5 where the parabola is 2.25; then compute at time 2."""
    branch = Branch()
    stored(branch, 0.0)
    stored(branch, 1.0)
    assert served(branch, 1.5) == 1.5
    stored(branch, 2.0)
    return branch


def test_the_next_reused_evaluations_correct_the_residual_in_equal_parts():
    branch = after_a_line()
    assert branch.residual is not None
    assert branch.residual.tolist() == [[0.375, -0.75]]  # 0.75 times the weight 0.5
    assert served(branch, 2.5) == pytest.approx(5.5 + 0.375)  # the line, and residual / weight ahead
    assert served(branch, 3.0) == pytest.approx(7.0 + 0.375)
    stored(branch, 3.5, corrects=False)
    assert branch.residual is None  # both weights together were what was ahead: all is corrected


@pytest.mark.parametrize("apart", [0.0, 3e-8, 5e-5])
def test_outputs_at_nearly_one_time_count_as_one(apart):
    """Ancestral samplers reach one sigma by two ways; the line through the two would go anywhere."""
    branch = Branch()
    stored(branch, 0.5)
    stored(branch, 1.0)
    branch.store(LINE, parabola(1.0) + 0.1, 1.0 + apart, handled(corrects=False))
    assert branch.times == [0.5, 1.0 + apart]
    assert served(branch, 2.0) == pytest.approx(1.1 + 0.85 * 2.0, rel=1e-3)


def test_outputs_closer_than_half_a_planned_step_count_as_one():
    """Some samplers evaluate shortly before the next step, and then at it."""
    branch = Branch()
    for time in (0.0, 0.47, 0.5, 0.97, 1.0):
        branch.store(LINE, parabola(time), time, handled(corrects=False, apart=0.25))
    assert branch.times == [0.5, 1.0]


def test_what_was_not_served_as_planned_stays_in_the_residual():
    branch = after_a_line()
    served(branch, 2.5, weight=0.25)
    stored(branch, 3.0, corrects=False)
    assert branch.residual is not None
    assert branch.residual[0].tolist() == pytest.approx([0.375 * 0.75, -0.75 * 0.75])


def test_there_is_no_residual_where_nothing_is_corrected_or_nothing_was_served():
    branch = Branch()
    for time in (0.0, 1.0):
        stored(branch, time)
    served(branch, 1.5)
    stored(branch, 2.0, corrects=False)
    assert branch.residual is None and branch.tensors == 2
    stored(branch, 3.0)
    assert branch.residual is None


def test_without_reuse_ahead_the_residual_waits():
    branch = Branch()
    stored(branch, 0.0)
    stored(branch, 1.0)
    served(branch, 1.5)
    stored(branch, 2.0)
    stored(branch, 3.0)
    assert branch.tensors == 3
    assert served(branch, 3.5, weight_ahead=0.5) == pytest.approx(11.5 + 0.375 / 0.5)


def test_a_second_output_at_one_time_leaves_no_residual():
    branch = Branch()
    stored(branch, 1.0)
    served(branch, 1.0)
    stored(branch, 1.0)
    assert branch.residual is None and branch.times == [1.0]


def bend(sigma: float) -> Tensor:
    return parabola(1 - sigma)


def sampled(corrects: bool, monkeypatch: pytest.MonkeyPatch, speed_up: float) -> tuple[Tensor, int]:
    """Sample a network whose output is a parabola; return the latent and the planned evaluations."""
    monkeypatch.setattr(tuned, "MOSTLY_NOISE", 0.0 if corrects else math.inf)
    run = planned_run(table_of(bend, SIGMAS), points=POINTS, speed_up=speed_up)
    x = torch.zeros(1, 2)
    for sigma, weight in zip(SIGMAS, POINTS.weights, strict=True):
        if begin(run, x, sigma).reuse:
            output = run.serve("cond", CPU)
        else:
            output = bend(sigma)
            run.store("cond", output)
        x = x - weight * output
    return x, run.policy.planned


@pytest.mark.parametrize("speed_up", [2.0, 4.0])
def test_a_sampler_that_evaluates_twice_a_step_is_served_lines_between_steps(speed_up):
    run = planned_run(table_of(bend, SIGMAS), points=POINTS, speed_up=speed_up)
    off = []
    for sigma in SIGMAS:
        for at, noise in ((sigma, 0.0), (sigma - 0.97 / STEPS, 0.02)):  # the second all but at the next step
            output = bend(at) + noise
            if begin(run, torch.zeros(1, 2), at).reuse:
                off.append(float((run.serve("cond", CPU) - output).abs().max()))
            else:
                run.store("cond", output)
    assert len(off) > 8 and max(off) < 0.4  # a line through the two of one step would be off by 1 and more


def test_correcting_brings_a_run_much_nearer_to_the_uncached_one(monkeypatch):
    exact = -sum(weight * bend(sigma) for sigma, weight in zip(SIGMAS, POINTS.weights, strict=True))
    plain, nfe = sampled(False, monkeypatch, speed_up=3.0)
    corrected, same_nfe = sampled(True, monkeypatch, speed_up=3.0)
    assert nfe == same_nfe == STEPS / 3
    assert (corrected - exact).abs().max() < (plain - exact).abs().max() / 3
