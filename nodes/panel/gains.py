"""What each speed would give a run: the speeds to choose from, and the scale under the slider."""

from __future__ import annotations

from dataclasses import replace

from ...caching.config import SenCacheConfig, Zones
from ...caching.forecast import FORECASTS
from ...caching.planner import FEWEST, Planner, Solver
from ...caching.planning.points import RunPoints
from ...caching.rules import PLAN, can_plan, policy_for
from ...caching.simulate import simulate
from ...caching.visibility import visibility
from ...calibration.table import SensitivityTable
from .wire import Gain, Offer

OFFERED = (1.5, 2.0, 3.0, 4.0)
MOST_STEPS_OF_CALLS = 60  # of a sampler whose plans have to be tried
MOST_STEPS = 250  # a longer run's plans take longer to find than a slider may wait

Run = tuple[SenCacheConfig, Zones, SensitivityTable, RunPoints]


def gains_of(run: Run, solver: Solver) -> list[Offer]:
    """Return what the offered speeds give, as the run would plan each."""
    config, _, table, points = run
    if not _foreseeable(config, table, points):
        return []
    return [Offer(target=one, **_tried(run, one, solver).model_dump()) for one in OFFERED]


def scale_of(run: Run, solver: Solver) -> list[Gain]:
    """Return the speeds that a run can have, the slowest first, each with the plan's predicted error."""
    config, zones, table, points = run
    steps = len(points.sigmas)
    if not _foreseeable(config, table, points) or steps > MOST_STEPS:
        return []
    if points.evaluations:
        return _scale_of_calls(run, solver) if steps <= MOST_STEPS_OF_CALLS else []
    planner = Planner(_switched_on(config), zones, table, points, solver)
    found: list[Gain] = []
    for count in range(steps, min(FEWEST, steps) - 1, -1):
        plan = planner.of_count(count)
        if not found or plan.count < found[-1].nfe:
            found.append(_gain(steps / plan.count, plan.count, points.amplified(plan.predicted)))
    return found


def _scale_of_calls(run: Run, solver: Solver) -> list[Gain]:
    """Return the scale for a sampler that calls the model several times a step: what is computed is tried."""
    steps, found = len(run[-1].sigmas), list[Gain]()
    for count in range(steps, min(FEWEST, steps) - 1, -1):
        gain = _tried(run, steps / count, solver)
        if not found or gain.nfe < found[-1].nfe:
            found.append(gain)
    return found


def _tried(run: Run, speed_up: float, solver: Solver) -> Gain:
    """Return what a run with a target speed is expected to do."""
    config, zones, table, points = run
    asked = replace(_switched_on(config), speed_up=speed_up)
    expected = simulate(policy_for(asked, zones, table, points, solver), table, points)
    return _gain(expected.speed_up, expected.nfe, expected.predicted_error)


def _foreseeable(config: SenCacheConfig, table: SensitivityTable, points: RunPoints) -> bool:
    return config.rule == PLAN and config.forecast in FORECASTS and can_plan(table, points)


def _switched_on(config: SenCacheConfig) -> SenCacheConfig:
    """Return the settings as they are where a speed is chosen: it needs an epsilon and an n."""
    usual = SenCacheConfig()
    return replace(
        config, epsilon=config.epsilon or usual.epsilon, max_reuse=config.max_reuse or usual.max_reuse
    )


def _gain(speed_up: float, nfe: int, error: float | None) -> Gain:
    word = None if error is None else visibility(error).value
    return Gain(speed_up=round(speed_up, 3), nfe=nfe, error=error, visibility=word)
