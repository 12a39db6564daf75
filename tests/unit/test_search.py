"""The plans of least predicted error: against every plan there is, for every number of evaluations."""

from __future__ import annotations

import itertools
import math
import threading
import tracemalloc
from functools import partial

import pytest
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import FORECASTS, HOLD_DENOISED, Forecast
from sencache.caching.planner import solve
from sencache.caching.planning.search import BestPlans, computed_by
from sencache.caching.rules import RULES, policy_for
from sencache.caching.simulate import simulate
from sencache.calibration.table import load
from sencache.tests.toy_plans import POINTS, SIGMAS, STEPS, TABLES, error_of, table_of
from sencache.tests.toy_runs import EVERYWHERE, points_at

CHOICES = [*FORECASTS.values(), HOLD_DENOISED]
HALF = Zones(start_sigma=1.0, end_sigma=0.5, strict_sigma=math.inf)  # evaluations 0 to 4 of 9 may be reused


def plans(forecast: Forecast, n: int = 30, zones: Zones = EVERYWHERE, points=POINTS, table=None) -> BestPlans:
    config = SenCacheConfig(max_reuse=n)
    return solve(config, zones, table_of() if table is None else table, points, forecast)


def every_plan(count: int, n: int, zones: Zones = EVERYWHERE) -> list[tuple[int, ...]]:
    """All ways to compute `count` of nine evaluations that n and the range allow."""
    forced = {step for step, sigma in enumerate(SIGMAS) if not zones.allows_reuse(sigma)}
    found = []
    for rest in itertools.combinations(range(1, STEPS), count - 1):
        computed = (0, *rest)
        windows = [b - a - 1 for a, b in zip(computed, [*rest, STEPS], strict=True)]
        if max(windows) <= n and forced <= set(computed):
            found.append(computed)
    return found


@pytest.mark.parametrize("forecast", CHOICES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 30])
@pytest.mark.parametrize("zones", [EVERYWHERE, HALF], ids=["everywhere", "half"])
def test_for_every_count_the_plan_is_the_best_of_all_there_are(forecast, n, zones):
    best = plans(forecast, n, zones)
    weigh = partial(error_of, corrects=forecast.corrects, surprises=best.surprises)
    possible = {count: every_plan(count, n, zones) for count in range(1, STEPS + 1)}
    for asked in range(1, STEPS + 1):
        plan = best.plan(asked)
        assert plan.count == next(count for count in range(asked, STEPS + 1) if possible[count])
        computed = tuple(computed_by(plan, STEPS))
        assert len(computed) == plan.count and computed in possible[plan.count]
        assert plan.lasting**2 == pytest.approx(error_of(computed, forecast.corrects), rel=1e-3, abs=1e-9)
        assert best.error(plan.count) ** 2 == pytest.approx(weigh(computed), rel=1e-3, abs=1e-9)
        least = min(weigh(one) for one in possible[plan.count])
        assert weigh(computed) == pytest.approx(least, rel=1e-3, abs=1e-9)


def test_a_count_that_no_plan_has_errs_infinitely_and_all_computed_errs_nothing():
    best = plans(HOLD_DENOISED, n=2)
    assert [math.isinf(best.error(count)) for count in (1, 2, 3, 4)] == [True, True, False, False]
    assert best.error(STEPS) == 0.0


@pytest.mark.parametrize("model", ["tiny_wan", "tiny_ltxv", "tiny_cogvideox"])
@pytest.mark.parametrize("forecast", FORECASTS.values(), ids=str)
@pytest.mark.parametrize("steps", [50, 200])
def test_every_count_is_reached_on_the_shipped_tables(model, forecast, steps):
    table = load(TABLES / f"{model}.safetensors")
    sigmas = [1 - step / steps for step in range(steps)]
    first, last = table.modes.timestep[0].item(), table.modes.timestep[-1].item()
    points = points_at(sigmas, [last + (first - last) * sigma for sigma in sigmas])
    best = plans(forecast, points=points, table=table)
    fewest = math.ceil(steps / 31)
    for count in range(2, steps + 1):
        plan = best.plan(count)
        assert plan.count == max(count, fewest) == len(computed_by(plan, steps))


def test_a_plan_stays_the_same_when_larger_counts_are_asked_for_later():
    best = plans(FORECASTS["linear"])
    early = best.plan(3)
    before = computed_by(early, STEPS)
    best.plan(STEPS)
    assert computed_by(early, STEPS) == before == computed_by(best.plan(3), STEPS)


def test_several_threads_may_ask_at_once():
    sigmas = [1 - step / 200 for step in range(200)]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas])
    alone, shared = plans(HOLD_DENOISED, points=points), plans(HOLD_DENOISED, points=points)
    threads = [threading.Thread(target=shared.error, args=(200,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    alone.error(200)
    assert shared.errors == alone.errors


def test_after_a_detour_the_best_rest_with_what_is_left_is_followed():
    best = plans(HOLD_DENOISED)
    plan = best.plan(4)
    computed = computed_by(plan, STEPS)
    detour = computed[1] + 1  # one more than planned was computed right after the second
    following, distance, found = detour, 1, []
    for left in range(2, -1, -1):
        found.append(following)
        after = plan.next_computed(following, distance, left)
        following, distance = after, after - following
    ways = [(detour, *rest) for rest in itertools.combinations(range(detour + 1, STEPS), 2)]

    def rest_of(way: tuple[int, ...]) -> float:
        return error_of((*range(detour), *way), corrects=False)

    assert following == STEPS and rest_of(tuple(found)) == pytest.approx(min(map(rest_of, ways)), rel=1e-3)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("forecast", sorted(FORECASTS))
@pytest.mark.parametrize("asked", [{"speed_up": 1.1}, {"epsilon": 1e-6}], ids=str)
def test_a_thousand_steps_are_planned_within_200_megabytes(rule, forecast, asked):
    table = load(TABLES / "tiny_wan.safetensors")
    sigmas = [1 - step / 1000 for step in range(1000)]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas], cfg=5.0)
    tracemalloc.start()
    try:
        config = SenCacheConfig(rule=rule, forecast=forecast, **asked)
        simulate(policy_for(config, EVERYWHERE, table, points), table, points)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6
