"""What a person should know of a run's plan before, and after, it is followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..calibration.table import SensitivityTable
from .notes import Note, Value
from .planner import FEWEST, evaluations_for
from .planning.points import RunPoints
from .policy import Policy

if TYPE_CHECKING:
    from .config import SenCacheConfig


FEW_STEPS = 12  # up to which neighbouring steps differ so much that little can be gained


def remarks(
    config: SenCacheConfig,
    policy: Policy,
    table: SensitivityTable,
    points: RunPoints,
    measures: bool | None = False,
) -> tuple[Note, ...]:
    """Return what is special about the policy that settings got for a run.

    `measures` tells whether the run measures what the table lacks; None leaves that out.
    """
    if not policy.stores:
        return (Note("not_planned"),) if config.reuses else ()
    if policy.config.rule != config.rule:
        return (Note("unplanned"),)
    return () if policy.planned is None else tuple(_of_plan(config, policy.planned, table, points, measures))


def unmeasured(table: SensitivityTable, points: RunPoints) -> int:
    """Return how many of a run's evaluations a table has not measured, as far as it is known where they lie.

    A sampler need not evaluate at every sigma of its schedule (dpm_fast), nor at any but the first
    (dpm_adaptive).
    """
    return 0 if points.adaptive else unmeasured_times(table, [timestep for _, timestep in points.arrivals])


def unmeasured_times(table: SensitivityTable, timesteps: Sequence[float]) -> int:
    """Return how many of these model times a table has not measured."""
    return 0 if table.modes is None else int((~table.modes.covers(timesteps)).sum())


def _of_plan(
    config: SenCacheConfig, planned: int, table: SensitivityTable, points: RunPoints, measures: bool | None
) -> Iterator[Note]:
    if not table.guided and points.cfg != 1.0:
        yield Note("unguided", {"cfg": f"{points.cfg:g}"})
    count = 0 if measures is None else unmeasured(table, points)
    if count:
        yield Note("measuring_rest" if measures else "unmeasured", {"count": count})
    if points.noise_moves is not None:
        yield Note("adds_noise")
    total = len(points.arrivals)
    if config.speed_up > 0 and total / planned < config.speed_up * (1 - 1e-9):
        least = planned == evaluations_for(config.speed_up, total) == min(FEWEST, total)
        values: dict[str, Value] = {"wished": f"{config.speed_up:g}", "count": planned, "total": total}
        yield Note("wish_raised" if least else "wish_limited", values)
