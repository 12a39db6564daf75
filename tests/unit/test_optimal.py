"""The plans of least predicted error: against every plan there is, and followed by real runs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.follower import PlanFollower
from sencache.caching.optimal import PRICES, at_even_distances, solve
from sencache.caching.plan import effective, follower, simulate
from sencache.caching.points import RunPoints, step_weights
from sencache.caching.policy import Reason
from sencache.caching.run import SamplingRun
from sencache.calibration.modes import from_outputs
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import EVERYWHERE, LinearNetwork, begin, euler, points_at

STEPS = 9
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
TIMES = [1000 * sigma for sigma in SIGMAS]


def curve(sigma: float) -> torch.Tensor:
    """An output that bends more and more."""
    return torch.tensor([[math.sin(3 * sigma), math.cos(5 * sigma**2), sigma**3, 1.0]])


def bent_table(**rows: float) -> SensitivityTable:
    values = {"latent_sensitivity": 1.0, "time_sensitivity": 0.0, **rows}
    modes = from_outputs(TIMES, [[curve(sigma)] for sigma in SIGMAS])
    flat = {name: torch.full((1, 2), value) for name, value in values.items()}
    return SensitivityTable(torch.tensor([1000.0, 0.0]), torch.tensor([1.0, 0.0]), flat, {}, modes)


OUTPUTS = [curve(sigma)[0].double().numpy() / 2 for sigma in SIGMAS]  # four elements: rms is length / 2


def damped_line(before: int | None, last: int, step: int, points: RunPoints) -> np.ndarray:
    """What is served at a step: as much of the line through two outputs as fits the curve best."""
    if before is None:
        return OUTPUTS[last]
    reach = points.progress[step] - points.progress[last]
    rise = (OUTPUTS[last] - OUTPUTS[before]) * reach / (points.progress[last] - points.progress[before])
    best = float((OUTPUTS[step] - OUTPUTS[last]) @ rise / (rise @ rise))
    return OUTPUTS[last] + min(max(best, 0.0), 1.2) * rise


def error_of(computed: tuple[int, ...], points: RunPoints, extend: bool) -> float:
    """The squared error of a plan, straight from the definition."""
    total = 0.0
    ends = [*computed[1:], STEPS]
    for index, (last, end) in enumerate(zip(computed, ends, strict=True)):
        before = computed[index - 1] if extend and index > 0 else None
        nodes = [last, end] if before is None else [before, last, end]
        served, missed = np.zeros(4), np.zeros(4)
        for step in range(last + 1, end):
            share = points.weights[step] * (1 + 3 * (1 - points.progress[step]))
            served += share * (OUTPUTS[step] - damped_line(before, last, step, points))
            if end < STEPS:
                times = [points.progress[node] for node in nodes]
                curved = np.polyfit(times, [OUTPUTS[node] for node in nodes], len(nodes) - 1)
                missed += share * (OUTPUTS[step] - np.polyval(curved, points.progress[step]))
        if extend and end < STEPS:
            total += float(missed @ missed) + 0.2**2 * float(served @ served)
        else:
            total += float(served @ served)
    return total


@pytest.mark.parametrize("extend", [True, False])
@pytest.mark.parametrize("max_reuse", [2, 20])
def test_no_other_plan_with_as_many_evaluations_errs_less(extend, max_reuse):
    points = points_at(SIGMAS, TIMES)
    columns = bent_table().modes.guided(TIMES, 1.0).numpy()
    plans = solve(columns, points, max_reuse, extend, lambda sigma: True)
    seen = set()
    for price in range(len(PRICES)):
        computed = tuple(plans.computed(price))
        assert len(computed) == plans.evaluations[price, 0, 0]
        predicted = plans.errors[price, 0, 0]
        assert predicted == pytest.approx(error_of(computed, points, extend), rel=1e-3, abs=1e-9)
        if computed in seen:
            continue
        seen.add(computed)
        for rest in itertools.combinations(range(1, STEPS), len(computed) - 1):
            other = (0, *rest)
            windows = [b - a - 1 for a, b in zip(other, [*other[1:], STEPS], strict=True)]
            if max(windows) <= max_reuse:
                assert predicted <= error_of(other, points, extend) * (1 + 1e-3) + 1e-9
    assert len(seen) >= 4
    assert {len(computed) for computed in seen} >= {STEPS, min(len(one) for one in seen)}


def test_a_higher_price_never_computes_more():
    columns = bent_table().modes.guided(TIMES, 1.0).numpy()
    plans = solve(columns, points_at(SIGMAS, TIMES), 20, True, lambda sigma: True)
    counts = plans.evaluations[:, 0, 0].tolist()
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


@pytest.mark.parametrize("speed_up", [1.0, 1.5, 2.0, 3.0, 4.5])
def test_a_wished_speed_up_is_reached_with_the_least_error(speed_up):
    config = SenCacheConfig(speed_up=speed_up)
    plan = simulate(config, EVERYWHERE, bent_table(), points_at(SIGMAS, TIMES))
    assert plan.speed_up >= speed_up
    assert plan.nfe >= STEPS / speed_up - 2.5  # the hull of best plans leaves out some counts


def test_epsilon_bounds_the_predicted_error_and_more_of_it_computes_less():
    plans = [
        simulate(SenCacheConfig(epsilon=epsilon), EVERYWHERE, bent_table(), points_at(SIGMAS, TIMES))
        for epsilon in (0.001, 0.003, 0.01, 0.03)
    ]
    for plan, epsilon in zip(plans, (0.001, 0.003, 0.01, 0.03), strict=True):
        assert plan.predicted_error <= epsilon
    counts = [plan.nfe for plan in plans]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"max_reuse": 0}, {"epsilon": 0.0, "speed_up": 3.0}])
def test_with_reuse_off_nothing_is_planned_to_be_reused(off):
    plan = simulate(SenCacheConfig(**off), EVERYWHERE, bent_table(), points_at(SIGMAS, TIMES))
    assert plan.nfe == STEPS


def test_nothing_outside_the_range_is_reused():
    zones = Zones(start_sigma=0.8, end_sigma=0.3, strict_sigma=math.inf)
    config = SenCacheConfig(speed_up=9.0)
    plan = simulate(config, zones, bent_table(), points_at(SIGMAS, TIMES))
    for sigma, decision in zip(SIGMAS, plan.decisions, strict=True):
        assert not decision.reuse or 0.3 < sigma <= 0.8
    assert plan.nfe < STEPS


def follow(table: SensitivityTable, zones: Zones = EVERYWHERE, **settings) -> SamplingRun:
    config = SenCacheConfig(**settings)
    points = points_at(SIGMAS, TIMES)
    follow_ = follower(config, zones, table, points)
    return SamplingRun(config, table, zones, lambda: 0.0, lambda sigma: 1 - sigma, follow_)


@pytest.mark.parametrize("speed_up", [1.5, 3.0])
def test_a_run_computes_what_was_foreseen_and_serves_the_line(speed_up):
    table = bent_table()
    run = follow(table, speed_up=speed_up)
    plan = simulate(run.config, EVERYWHERE, table, points_at(SIGMAS, TIMES))
    for sigma in SIGMAS:
        if begin(run, torch.zeros(1, 4), sigma).reuse:
            assert run.serve("cond", torch.device("cpu")).shape == (1, 4)
        else:
            run.store("cond", curve(sigma))
    real = [one.decision for one in run.finish()]
    assert [one.reuse for one in real] == [one.reuse for one in plan.decisions]
    assert run.follow.planned == plan.nfe
    assert {one.reason for one in real} == {Reason.FIRST, Reason.PLANNED, Reason.WITHIN_LIMIT}


def test_second_evaluations_of_a_step_and_looks_ahead_are_computed_where_the_plan_computes():
    points = points_at(SIGMAS, TIMES)
    plans = solve(bent_table().modes.guided(TIMES, 1.0).numpy(), points, 20, True, lambda sigma: True)
    everything = PlanFollower(plans, points, 0)
    everything.computed(SIGMAS[0])
    assert not everything.reuses(SIGMAS[0]) and not everything.reuses((SIGMAS[0] + SIGMAS[1]) / 2)
    assert not everything.reuses(SIGMAS[1])
    fast = PlanFollower(plans, points, len(PRICES) - 1)
    assert not fast.reuses(SIGMAS[0])  # nothing computed yet
    fast.computed(SIGMAS[0])
    assert fast.reuses(SIGMAS[1]) and fast.reuses((SIGMAS[0] + SIGMAS[1]) / 2)
    fast.computed(SIGMAS[4])
    assert not fast.reuses(SIGMAS[2])  # the sampler went back
    fast.forget()
    assert not fast.reuses(SIGMAS[5]) and fast.error(SIGMAS[5]) is None


def test_a_latent_that_moves_far_more_than_in_calibration_is_computed():
    calm = follow(bent_table(latent_drift=0.001), epsilon=0.05, speed_up=4.0)
    begin(calm, torch.zeros(1, 4), SIGMAS[0])
    assert begin(calm, torch.full((1, 4), 0.1), SIGMAS[1]).reuse
    noisy = follow(bent_table(latent_drift=0.001), epsilon=0.05, speed_up=4.0)
    begin(noisy, torch.zeros(1, 4), SIGMAS[0])
    decision = begin(noisy, torch.full((1, 4), 9.0), SIGMAS[1])
    assert decision.reason is Reason.OVER_LIMIT and decision.score > decision.budget
    batch = follow(bent_table(latent_drift=0.001), epsilon=0.05, speed_up=4.0)
    begin(batch, torch.zeros(99, 4), SIGMAS[0])
    moved = torch.zeros(99, 4)
    moved[7] = 9.0
    assert begin(batch, moved, SIGMAS[1]) == decision  # one sample is as much as all of them
    for good in (0.0, 0.1):
        broken = follow(bent_table(latent_drift=0.001), epsilon=0.05, speed_up=4.0)
        begin(broken, torch.zeros(2, 4), SIGMAS[0])
        assert not begin(broken, torch.tensor([[good] * 4, [math.nan] * 4]), SIGMAS[1]).reuse


def test_a_changed_shape_starts_the_plan_anew():
    run = follow(bent_table(), speed_up=4.0)
    begin(run, torch.zeros(1, 4), SIGMAS[0])
    assert begin(run, torch.zeros(1, 4), SIGMAS[1]).reuse
    assert begin(run, torch.zeros(1, 6), SIGMAS[2]).reason is Reason.NEW_SHAPE
    assert begin(run, torch.zeros(1, 6), SIGMAS[3]).reuse


def test_without_modes_or_where_progress_does_not_rise_the_joint_rule_works():
    with_modes, without = bent_table(), bent_table()
    object.__setattr__(without, "modes", None)
    config, progress = SenCacheConfig(), points_at(SIGMAS, TIMES).progress
    assert effective(config, with_modes, progress) is config
    assert effective(config, without, progress).rule == "joint"
    assert effective(config, with_modes, [0.0, 0.5, 0.3]).rule == "joint"  # sigma goes up
    assert effective(config, with_modes, [0.0, 0.0, 0.3]).rule == "joint"  # sigmas above all that is known
    assert effective(SenCacheConfig(rule="paper"), without, progress).rule == "paper"
    with pytest.raises(ValueError, match="without output modes"):
        follower(config, EVERYWHERE, without, points_at(SIGMAS, TIMES))


@pytest.mark.parametrize("steps", [58, *range(1, 100, 7)])
def test_as_many_evaluations_as_the_plan_has_are_held_whatever_the_quotient_rounds_to(steps):
    sigmas = [1 - step / steps for step in range(steps)]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas])
    columns = bent_table().modes.guided(points.timesteps, 1.0).numpy()
    plans = solve(columns, points, 99, True, lambda sigma: True)
    for count in range(1, steps + 1):
        assert plans.within_evaluations(steps / (steps / count)) == plans.within_evaluations(count)


def test_a_run_that_plans_needs_a_plan():
    with pytest.raises(ValueError, match="needs a plan to follow"):
        SamplingRun(SenCacheConfig(), bent_table(), EVERYWHERE)
    SamplingRun(SenCacheConfig(epsilon=0.0), bent_table(), EVERYWHERE)


@pytest.mark.parametrize("kind", ["flow", "variance preserving"])
def test_step_weights_are_what_one_real_step_does_with_an_error(kind):
    """An error of 1 in the output at one step, by the sampler's own formula, in unit-variance latents."""
    angles = np.linspace(1.5, 0.1, 8)
    flow = np.linspace(0.95, 0.1, 8)
    sigma = flow if kind == "flow" else np.tan(angles)
    signal = 1 - flow if kind == "flow" else np.ones(8)
    gain = sigma if kind == "flow" else sigma / np.hypot(1, sigma)
    weights = step_weights(signal, sigma, -gain[:-1])
    if kind == "flow":
        expected = -np.diff(flow) / np.hypot(1 - flow[1:], flow[1:])
    else:
        expected = np.sin(angles[:-1] - angles[1:])
    assert weights == pytest.approx(expected, rel=1e-9)


def test_early_errors_count_more():
    points = points_at(SIGMAS, TIMES)
    amplified = points.importance / np.asarray(points.weights)
    assert amplified[0] == pytest.approx(4.0) and amplified[-1] == pytest.approx(1 + 3 / STEPS)
    assert (np.diff(amplified) < 0).all()


def test_where_a_line_would_err_too_far_the_output_is_held(monkeypatch):
    from sencache.caching import plan

    near = follow(bent_table(), speed_up=2.0)
    assert near.config.forecast == "linear" and near.follow.tolerance <= plan.UNRELIABLE
    monkeypatch.setattr(plan, "UNRELIABLE", near.follow.tolerance * 0.99)
    far = follow(bent_table(), speed_up=2.0)
    assert far.config.forecast == "hold"
    stored = torch.empty(0)
    for sigma in SIGMAS[:5]:
        if begin(far, torch.zeros(1, 4), sigma).reuse:
            served = far.serve("cond", torch.device("cpu"))
            assert torch.equal(served, stored)
        else:
            stored = curve(sigma)
            far.store("cond", stored)
    assert far.stored_tensors <= 2
    assert far.follow.planned <= near.follow.planned
    assert follow(bent_table(), speed_up=2.0, forecast="hold").config.forecast == "hold"


def even_plan(count: int, max_reuse: int = 20, allowed=lambda sigma: True) -> list[int]:
    columns = bent_table().modes.guided(TIMES, 1.0).numpy()
    plans = solve(columns, points_at(SIGMAS, TIMES), max_reuse, False, allowed)
    even = at_even_distances(plans, count)
    computed = even.computed(0)
    assert even.evaluations[0, 0, 0] == len(computed)
    assert even.errors[0, 0, 0] == pytest.approx(error_of(tuple(computed), points_at(SIGMAS, TIMES), False))
    return computed


def test_even_distances_keep_the_range_and_n():
    assert even_plan(3) == [0, 3, 6]
    assert even_plan(4) == [0, 2, 4, 6]
    assert even_plan(9) == list(range(9))
    assert even_plan(2, max_reuse=2) == [0, 3, 4, 7]
    assert even_plan(3, allowed=lambda sigma: sigma > 0.5) == [0, 3, 5, 6, 7, 8]


def test_beyond_what_a_table_can_foresee_a_run_is_one_of_fewer_steps(monkeypatch):
    from sencache.caching import plan

    monkeypatch.setattr(plan, "UNRELIABLE", 0.0)
    foreseen = simulate(SenCacheConfig(speed_up=3.0), EVERYWHERE, bent_table(), points_at(SIGMAS, TIMES))
    monkeypatch.setattr(plan, "UNFORESEEABLE", foreseen.predicted_error * 0.99)
    run = follow(bent_table(), speed_up=3.0)
    network = LinearNetwork(gain=-3.0, slope=-0.002)
    start = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    reused = euler(network, start, [*SIGMAS, 0.0], run)
    assert network.evaluations == 3 == run.follow.planned
    fewer = euler(LinearNetwork(gain=-3.0, slope=-0.002), start, [*SIGMAS[::3], 0.0])
    assert torch.allclose(reused, fewer, rtol=1e-5)
