"""Which plan settings get: as many evaluations as wished for, within epsilon, and where it falls back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sencache.caching import tuned
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import HOLD_DENOISED
from sencache.caching.planner import Planner, evaluations_for
from sencache.caching.planning.search import computed_by
from sencache.caching.simulate import simulate
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_plans import POINTS, SIGMAS, STEPS, curve, follow, planned_run, policy, table_of
from sencache.tests.toy_runs import EVERYWHERE, LinearNetwork, euler, points_at


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9, 12, 29, 58, 99])
def test_a_wish_computes_exactly_what_it_leaves_whatever_the_quotient_rounds_to(steps):
    sigmas = [1 - step / steps for step in range(steps)]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas])
    table = table_of(sigmas=[1.0, 0.75, 0.5, 0.25, 0.0])
    for wish in (1.0, 1.1, 1.5, 2.0, 3.0, 4.5, 8.0, *(steps / count for count in range(1, steps + 1))):
        allowed = next((n for n in range(steps, 0, -1) if n * wish <= steps * (1 + 1e-12)), 0)
        count = min(steps, max(2, allowed))
        assert evaluations_for(wish, steps) == count
    for wish in (1.1, 1.5, 2.0, 3.0, max(1.1, steps / max(1, steps // 2))):
        made = policy(table, points=points, speed_up=wish, max_reuse=60)
        count = max(evaluations_for(wish, steps), math.ceil(steps / 32))
        assert made.planned == count == simulate(made, table, points).nfe


def test_epsilon_bounds_the_predicted_error_with_as_few_evaluations_as_any_plan_within_it(monkeypatch):
    counts = []
    for epsilon in np.geomspace(1e-4, 2, 40):
        for gain in (1.0, 7.3):
            points = replace(POINTS, error_gain=gain)
            made = policy(table_of(), points=points, epsilon=float(epsilon))
            assert made.predicted_error <= epsilon
            planner = Planner(SenCacheConfig(), EVERYWHERE, table_of(), points)
            fewer = [planner.of_count(count) for count in range(2, made.planned)]
            assert all(points.amplified(plan.predicted) > epsilon for plan in fewer)
            counts.append(made.planned)
    assert min(counts) == 2 and max(counts) == STEPS


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_no_epsilon_leaves_fewer_than_two_evaluations(steps):
    """With one, nothing tells where the run goes; a run of one step has but one."""
    sigmas = [1 - step / steps for step in range(steps)]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas])
    assert policy(table_of(), points=points, epsilon=1e6).planned == min(2, steps)


def test_a_speed_up_of_one_plans_nothing_and_stores_nothing():
    made = policy(table_of(), speed_up=1.0)
    assert made.planned is None and not made.stores
    assert simulate(made, table_of(), POINTS).nfe == STEPS


def noisy(amount: float, steps: int = STEPS) -> np.ndarray:
    """Misses that grow with the noise added since the last computed step, as a random walk does."""
    later, earlier = np.meshgrid(np.arange(steps), np.arange(steps), indexing="ij")
    return amount * np.sqrt(np.maximum(0, later - earlier))


def test_where_noise_is_added_denoised_latents_are_held_and_what_it_makes_is_predicted():
    points = replace(POINTS, noise_misses=noisy(0.3))
    plain = Planner(SenCacheConfig(forecast="hold"), EVERYWHERE, table_of(), POINTS).of_count(STEPS // 2)
    found = Planner(SenCacheConfig(), EVERYWHERE, table_of(), points).of_count(STEPS // 2)
    assert found.forecast is HOLD_DENOISED and found.count == plain.count
    computed = computed_by(found, STEPS)
    own = found.windows.total(plain.windows.errors, computed)  # what holding alone leaves of these windows
    effect, expected = points.effect, own**2
    for k, following in zip(computed, [*computed[1:], STEPS], strict=True):
        reused = np.arange(k + 1, following)
        expected += float((effect[reused] * points.noise_misses[reused, k]).sum()) ** 2
    assert found.predicted == pytest.approx(math.sqrt(expected))


def test_the_more_noise_is_added_the_more_epsilon_computes():
    counts = [
        policy(table_of(), points=replace(POINTS, noise_misses=noisy(amount)), epsilon=0.2).planned
        for amount in (0.0, 0.2, 1.0, 5.0)
    ]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_early_errors_count_more(monkeypatch):
    monkeypatch.setattr(tuned, "EARLY_AMPLIFICATION", 7.0)
    amplified = POINTS.importance / np.asarray(POINTS.weights)
    assert amplified[0] == pytest.approx(8.0) and amplified[-1] == pytest.approx(1 + 7 / STEPS)
    assert (np.diff(amplified) < 0).all()


def test_where_a_line_would_err_too_far_the_output_is_held(monkeypatch):
    near = policy(table_of(), speed_up=1.5)
    assert near.config.forecast == "linear" and near.predicted_error <= tuned.UNRELIABLE
    lasting = Planner(SenCacheConfig(), EVERYWHERE, table_of(), POINTS).of_count(near.planned).lasting
    monkeypatch.setattr(tuned, "UNRELIABLE", lasting * 0.99)
    far = planned_run(table_of(), speed_up=1.5)
    assert far.policy.config.forecast == "hold" and far.policy.forecast is HOLD_DENOISED
    assert far.policy.planned == near.planned
    served = follow(far)
    computed = [sigma for sigma in SIGMAS if sigma not in served]
    for sigma, output in served.items():
        assert torch.equal(output, curve(min(one for one in computed if one > sigma)))
    assert policy(table_of(), speed_up=1.5, forecast="hold").config.forecast == "hold"


@pytest.mark.parametrize("network", [LinearNetwork(0.5, -0.002), LinearNetwork(-3.0, -0.002)], ids=str)
@pytest.mark.parametrize("speed_up", [1.5, 3.0])
def test_a_held_run_is_one_of_the_computed_steps_alone(network, speed_up):
    run = planned_run(table_of(), speed_up=speed_up, forecast="hold")
    start = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    reused = euler(replace(network), start, [*SIGMAS, 0.0], run)
    computed = [one.sigma for one in run.finish() if not one.decision.reuse]
    assert len(computed) == run.policy.planned < STEPS
    assert torch.allclose(reused, euler(replace(network), start, [*computed, 0.0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_holding_keeps_the_count_that_was_asked_for(n, monkeypatch):
    half = Zones(start_sigma=1.0, end_sigma=0.5, strict_sigma=math.inf)
    for zones in (EVERYWHERE, half):
        counts = []
        for unreliable in (9.0, 0.0):
            monkeypatch.setattr(tuned, "UNRELIABLE", unreliable)
            planner = Planner(SenCacheConfig(max_reuse=n), zones, table_of(), POINTS)
            plans = [planner.of_count(count) for count in range(1, STEPS + 1)]
            counts.append([plan.count for plan in plans])
            assert counts[-1] == [len(computed_by(plan, STEPS)) for plan in plans]
        assert counts[0] == counts[1]


def test_a_table_without_modes_can_not_be_planned_with():
    table = table_of()
    without = SensitivityTable(table.timestep, table.sigma, table.rows)
    with pytest.raises(ValueError, match="without output modes"):
        Planner(SenCacheConfig(), EVERYWHERE, without, POINTS)


def between(sigmas: list[float]) -> tuple[tuple[float, float], ...]:
    """Where a sampler evaluates that goes half a step ahead, too: sigmas and model times."""
    halves = [(sigma + end) / 2 for sigma, end in zip(sigmas, [*sigmas[1:], 0.0], strict=True)]
    return tuple((at, 1000 * at) for pair in zip(sigmas, halves, strict=True) for at in pair)


@pytest.mark.parametrize("wish", [1.01, 1.2, 1.5, 2.0, 3.0, 4.5, 9.0])
def test_a_wish_counts_evaluations_where_there_are_several_a_step(wish):
    points = replace(POINTS, evaluations=between(SIGMAS))
    table = table_of(sigmas=[*SIGMAS, 0.0])
    made = policy(table, points=points, speed_up=wish)
    decisions = simulate(made, table, points).decisions
    assert len(decisions) == 2 * STEPS
    assert made.planned == sum(not one.reuse for one in decisions) <= max(2, 2 * STEPS / wish)
    costs = []
    for count in range(1, STEPS + 1):
        wished = policy(table, speed_up=STEPS / count)  # all of them at a speed-up of 1
        costs.append(sum(not one.reuse for one in simulate(wished, table, points).decisions))
    assert costs == sorted(costs) and costs[-1] == 2 * STEPS
    assert made.planned == max(cost for cost in costs if cost <= max(2, 2 * STEPS / wish))


def test_the_largest_that_fits_is_found_and_the_smallest_where_none_does():
    planner = Planner(SenCacheConfig(), EVERYWHERE, table_of(), POINTS)
    for limit in range(1, STEPS + 1):
        assert planner.largest(lambda plan, limit=limit: plan.count <= limit).count == limit
    assert planner.largest(lambda plan: False).count == 1
