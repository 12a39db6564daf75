"""The rules that there are, and the policy that a run's settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..calibration.table import SensitivityTable
from . import planned, planner, threshold
from .notes import Note
from .planning.points import RunPoints
from .policy import ComputeAll, Policy, Reason
from .sentences import NotedError

if TYPE_CHECKING:
    from .config import SenCacheConfig, Zones

Maker = Callable[["SenCacheConfig", "Zones", SensitivityTable, RunPoints], Policy]

PLAN, JOINT = "plan", "joint"
RULES: dict[str, Maker] = {
    PLAN: planned.make_policy,
    JOINT: threshold.make_policy,
    "paper": threshold.make_policy,
}


def effective(config: SenCacheConfig, table: SensitivityTable, points: RunPoints) -> SenCacheConfig:
    """Return the settings that a table and a run allow.

    Without modes, or where progress does not rise from step to step (sigma goes up, or lies above all that
    the model knows) or the latent holds no noise, nothing can be planned: the joint rule takes over, where
    sensitivities were measured.
    """
    if can_plan(table, points) or config.rule != PLAN or not table.has_sensitivities:
        return config
    return replace(config, rule=JOINT)


def can_plan(table: SensitivityTable, points: RunPoints) -> bool:
    """Tell whether a run can be planned at all."""
    return table.modes is not None and points.descends and points.counts


def policy_for(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    points: RunPoints,
    solver: planner.Solver = planner.solve,
) -> Policy:
    """Make the policy of one run; every answer before a run and every run itself asks this.

    `solver` finds the plans, for who remembers them: epsilon and speed-up change none. Raises ValueError
    where the table does not hold what the rule needs.
    """
    if not config.reuses:
        return ComputeAll(config)
    config = effective(config, table, points)
    if config.rule != PLAN and not table.has_sensitivities:
        raise NotedError(Note("no_sensitivities", {"rule": config.rule}))
    if config.rule == PLAN:
        if not can_plan(table, points):
            return ComputeAll(config, Reason.UNPLANNED)
        return planned.make_policy(config, zones, table, points, solver)
    return RULES[config.rule](config, zones, table, points)
