"""Chooses the plan that settings ask for: by epsilon or by a wished speed-up, and what it falls back on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..calibration.table import SensitivityTable
from . import tuned
from .forecast import FORECASTS, HOLD_DENOISED, Forecast
from .notes import Note
from .planning.outlook import Outlook
from .planning.points import RunPoints
from .planning.search import BestPlans, Plan
from .planning.windows import window_errors
from .sentences import NotedError

if TYPE_CHECKING:
    from .config import SenCacheConfig, Zones

MAX_WINDOW = 32
MOST_LEARNING = 250  # steps
FEWEST = 2  # evaluations of a plan: with one, nothing tells where the run goes

Solver = Callable[["SenCacheConfig", "Zones", SensitivityTable, RunPoints, Forecast], BestPlans]


def solve(
    config: SenCacheConfig, zones: Zones, table: SensitivityTable, points: RunPoints, forecast: Forecast
) -> BestPlans:
    """Prepare the best plans of a run for a forecast; raises ValueError for a table without modes."""
    if table.modes is None:
        raise NotedError(Note("no_modes"))
    columns = table.modes.guided(points.timesteps, points.cfg).numpy()
    longest = min(config.max_reuse + 1, MAX_WINDOW, len(columns))
    allowed = np.array([zones.allows_reuse(sigma) for sigma in points.sigmas], dtype=bool)
    reusable = allowed & table.modes.covers(points.timesteps).numpy()
    windows = window_errors(columns, points, forecast, longest, reusable)
    if not learns(forecast, points):
        return BestPlans(windows, forecast)
    return BestPlans(windows, forecast, Outlook.before_anything().at(np.asarray(points.progress)))


def learns(forecast: Forecast, points: RunPoints) -> bool:
    """Tell whether a run learns from its outputs how hard its clip is.

    Only along a line: what a held denoised latent misses no table knows. Not where the sampler evaluates
    several times a step: what is left to compute would no longer be what was wished. A very long run would
    plan longer than it gains.
    """
    several = points.adaptive or bool(points.evaluations)
    return forecast.corrects and not several and len(points.sigmas) <= MOST_LEARNING


class Planner:
    """Finds the plan that the settings ask for.

    Where the lasting error of the best plan along the settings' forecast is above `tuned.UNRELIABLE`, the
    outputs that it would extend are themselves too far off, and as many evaluations are planned for holding.
    What epsilon bounds is the error predicted for the run's sampler. Where it adds noise, denoised latents
    are held whatever was asked for: a raw output holds its step's noise, and a line extends its changes.
    """

    def __init__(
        self,
        config: SenCacheConfig,
        zones: Zones,
        table: SensitivityTable,
        points: RunPoints,
        solver: Solver = solve,
    ) -> None:
        held = config.forecast == "hold" or points.noise_misses is not None
        asked = HOLD_DENOISED if held else FORECASTS[config.forecast]
        self._steps = len(points.sigmas)
        self._run = (config, zones, table, points)
        self._solver = solver
        self._extended = solver(*self._run, asked)
        self._held = self._extended if asked is HOLD_DENOISED else None

    def of_count(self, count: int) -> Plan:
        """Return the plan of `count` evaluations, or of the next number that n and the range allow."""
        extended = self._extended.plan(count)
        if extended.lasting <= tuned.UNRELIABLE:
            return extended
        if self._held is None:
            self._held = self._solver(*self._run, HOLD_DENOISED)
        return self._held.plan(count)

    def of_error(self, epsilon: float) -> Plan:
        """Return the plan of fewest evaluations that is predicted to err by at most `epsilon` (rms)."""
        for count in range(min(FEWEST, self._steps), self._steps):
            plan = self.of_count(count)
            if self._run[-1].amplified(plan.predicted) <= epsilon:
                return plan
        return self.of_count(self._steps)

    def of_speed_up(self, speed_up: float) -> Plan:
        """Return the plan of as many evaluations as a wished speed-up leaves, at least two."""
        return self.of_count(evaluations_for(speed_up, self._steps))

    def largest(self, fits: Callable[[Plan], bool]) -> Plan:
        """Return the plan of most evaluations that fits, of fewest where none does; found by halving.

        A plan of more evaluations is taken to fit no better; where one does, one of fewer may be returned.
        """
        low, high = 1, self._steps
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(self.of_count(middle)) else (low, middle - 1)
        return self.of_count(low)


def evaluations_for(speed_up: float, steps: int) -> int:
    """Return how many evaluations a wished speed-up leaves of `steps`: the largest number that reaches it."""
    return min(steps, max(FEWEST, math.floor(steps / speed_up + 1e-9)))  # the quotient may be rounded
