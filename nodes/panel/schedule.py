"""Places a run's evaluations as the sampler will, from what the graph and the table say of the sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...caching.planning.points import RunPoints
from ...calibration.table import SensitivityTable
from ..host.prepare import run_points
from ..host.sampler_response import named_response
from ..host.table_sampling import sampling_of
from .question import sigmas_of
from .wire import Sampling


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Where a run's evaluations will lie; `told` is False for a sampler whose ways can't be foreseen."""

    model_sampling: Any
    points: RunPoints
    steps: int
    scheduler: str
    told: bool


@dataclass(slots=True)
class ScheduleCache:
    """The schedule asked for last: a moving slider leaves it as it is."""

    _held: tuple[SensitivityTable, Sampling, Schedule] | None = None  # one value: several threads ask

    def of(self, table: SensitivityTable, sampling: Sampling) -> Schedule:
        """Return what `scheduled` returns."""
        held = self._held
        if held is None or held[0] is not table or held[1] != sampling:
            held = self._held = (table, sampling, scheduled(table, sampling))
        return held[2]


def scheduled(table: SensitivityTable, sampling: Sampling) -> Schedule:
    """Place the run's evaluations as the sampler will."""
    model_sampling = sampling_of(table, sampling.shift)
    sigmas, steps, scheduler = sigmas_of(model_sampling, sampling, table)
    response = named_response(sampling.sampler, sigmas, model_sampling)
    points = run_points(table, model_sampling, sigmas, sampling.cfg, response)
    return Schedule(model_sampling, points, steps, scheduler, response.told)
