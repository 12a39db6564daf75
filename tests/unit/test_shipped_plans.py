"""The bounds of plans on the tables that are shipped: whatever epsilon, steps, guidance and sampler."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sencache.caching.config import SenCacheConfig
from sencache.caching.planned import make_policy
from sencache.caching.planner import Planner, solve
from sencache.caching.planning.points import RunPoints
from sencache.calibration.table import SensitivityTable, load
from sencache.tests.toy_plans import TABLES
from sencache.tests.toy_runs import EVERYWHERE, points_at

MODELS = sorted(path.stem for path in TABLES.glob("*.safetensors"))
EPSILONS = [float(epsilon) for epsilon in np.geomspace(1e-4, 2, 80)]


def points_within(table: SensitivityTable, steps: int, cfg: float) -> RunPoints:
    """Describe Euler steps over all that a table measured."""
    first, last = table.modes.timestep[0].item(), table.modes.timestep[-1].item()
    sigmas = [1 - step / steps for step in range(steps)]
    return points_at(sigmas, [last + (first - last) * sigma for sigma in sigmas], cfg)


def test_there_are_three_of_them():
    assert MODELS == ["tiny_cogvideox", "tiny_ltxv", "tiny_wan"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [8, 20, 30, 50])
@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("forecast", ["linear", "hold"])
def test_epsilon_bounds_the_predicted_error_and_no_plan_with_fewer_evaluations_is_within_it(
    model, steps, cfg, forecast
):
    table = load(TABLES / f"{model}.safetensors")
    points = points_within(table, steps, cfg)
    solved = cache(lambda *asked: solve(SenCacheConfig(), EVERYWHERE, table, points, asked[-1]))
    counts = set()
    for gain in (1.0, 7.3):
        at = replace(points, error_gain=gain)
        config = SenCacheConfig(forecast=forecast)

        def solver(config, zones, table, points, forecast, solved=solved):
            return solved(forecast)

        planner = Planner(config, EVERYWHERE, table, at, solver)
        plans = [planner.of_count(count) for count in range(1, steps + 1)]
        errors = {plan.count: at.amplified(plan.predicted) for plan in plans}
        assert errors[steps] == 0.0 and errors.keys() >= set(range(2, steps + 1))
        for epsilon in EPSILONS:
            made = make_policy(replace(config, epsilon=epsilon), EVERYWHERE, table, at, solver)
            assert made.predicted_error == errors[made.planned] <= epsilon
            assert all(error > epsilon for count, error in errors.items() if 2 <= count < made.planned)
            counts.add(made.planned)
    assert len(counts) > steps / 3
