"""What a person should know of a run's plan before, and after, it is followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..calibration.table import SensitivityTable
from .notes import Note, Value
from .planner import FEWEST, evaluations_for
from .planning.points import RunPoints
from .policy import Policy

if TYPE_CHECKING:
    from .config import SenCacheConfig


def remarks(
    config: SenCacheConfig, policy: Policy, table: SensitivityTable, points: RunPoints, measures: bool = False
) -> tuple[Note, ...]:
    """Return what is special about the policy that settings got for a run; one that `measures` mends gaps."""
    if not policy.stores:
        return (Note("not_planned"),) if config.reuses else ()
    if policy.config.rule != config.rule:
        return (Note("unplanned"),)
    return () if policy.planned is None else tuple(_of_plan(config, policy.planned, table, points, measures))


def unmeasured(table: SensitivityTable, points: RunPoints) -> int:
    """Return how many of a run's steps a table has not measured."""
    return 0 if table.modes is None else int((~table.modes.covers(points.timesteps)).sum())


def _of_plan(
    config: SenCacheConfig, planned: int, table: SensitivityTable, points: RunPoints, measures: bool
) -> Iterator[Note]:
    if not table.guided and points.cfg != 1.0:
        yield Note("unguided", {"cfg": f"{points.cfg:g}"})
    count = unmeasured(table, points)
    if count:
        yield Note("measuring_rest" if measures else "unmeasured", {"count": count})
    if points.noise_moves is not None:
        yield Note("adds_noise")
    total = len(points.arrivals)
    if config.speed_up > 0 and total / planned < config.speed_up * (1 - 1e-9):
        least = planned == evaluations_for(config.speed_up, total) == min(FEWEST, total)
        values: dict[str, Value] = {"wished": f"{config.speed_up:g}", "count": planned, "total": total}
        yield Note("wish_raised" if least else "wish_limited", values)
