"""Which evaluations of a run to compute: the plan of least lasting error, for every number of them.

Errors within a window of reuses point the same way and add up (`windows.py`); those of different windows do
not, so their squares do (equation 5 in the README). Dynamic programming over the number of evaluations and
the last two computed ones finds the best plan for each number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from ..forecast import Forecast
from .points import Array
from .windows import Windows


def computed_by(plan: Plan, steps: int) -> list[int]:
    """Return the evaluations that a plan computes where nothing comes between."""
    found, k, distance = [], 0, 0
    while k < steps:
        found.append(k)
        following = plan.next_computed(k, distance, plan.count - len(found))
        k, distance = following, following - k
    return found


@dataclass(slots=True, eq=False)
class BestPlans:
    """The best plans of one run for every number of evaluations, found as far as they are asked for.

    They begin at evaluation `first`, and outputs are expected to be `surprises [K - first]` times further
    from their forecasts than the table says, None for as far. A state is the last computed evaluation and
    the stride to the one before. `_costs [K - first + 1, strides]` is the least lasting error, squared, of
    what follows with as many evaluations as were added last, and `_steps[c - 1] [K - first, strides]` the
    distance to the next computed one when `c` evaluations, that of the state among them, are left. Several
    threads may ask at once.
    """

    windows: Windows
    forecast: Forecast
    surprises: Array | None = None
    first: int = 0
    errors: list[float] = field(default_factory=list)
    _steps: list[Array] = field(default_factory=list)
    _costs: Array | None = None
    _lasting: Array = field(init=False, repr=False)
    _adding: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        self._lasting = self.windows.lasting[self.first :]
        if self.surprises is not None:
            self._lasting = self._lasting * np.square(self.surprises)[:, None, None]

    @property
    def most(self) -> int:
        """The number of evaluations in the run, or in what is left of it."""
        return len(self._lasting)

    def error(self, count: int) -> float:
        """Return the lasting error (rms) of the best plan of `count` evaluations, infinite for none."""
        with self._adding:
            while len(self.errors) < count:
                self._add_one()
        return self.errors[count - 1]

    def _add_one(self) -> None:
        """Find the best plans of one evaluation more."""
        own, steps = self._lasting, self.most
        strides, longest = own.shape[1], self.windows.longest
        count = len(self.errors) + 1
        # with `count` evaluations left, `k` lies in between these; elsewhere no plan fits
        low, high = max(0, steps - count * longest), steps - count + 1
        later = np.full((steps + longest + 1, strides), np.inf)
        if self._costs is None:
            later[steps] = 0.0
        else:
            later[:steps] = self._costs
        distances = np.arange(1, longest + 1)
        rows = np.arange(low, high)
        follow = later[rows[:, None] + distances, np.minimum(distances, strides - 1)]
        cost = own[low:high, :, 1:] + follow[:, None, :]
        best = cost.argmin(axis=-1)
        costs, chosen = np.full((steps, strides), np.inf), np.zeros((steps, strides), np.int8)
        costs[low:high] = np.take_along_axis(cost, best[..., None], axis=-1)[..., 0]
        chosen[low:high] = best + 1
        self._costs = costs
        self._steps.append(chosen)
        self.errors.append(math.sqrt(costs[0, 0]))

    def plan(self, count: int) -> Plan:
        """Return the best plan of `count` evaluations, or of the next number that the windows allow."""
        while math.isinf(self.error(count)) and count < self.most:
            count += 1
        plan = Plan(self.forecast, self.windows, count, self._steps)
        return plan if self.surprises is not None else replace(plan, known_lasting=self.error(count))

    def rest(self, distance: int, left: int) -> Plan | None:
        """Return the best plan with `left` evaluations after the first, None where they are too few."""
        self.error(left + 1)
        if not self._steps[left][0, self.windows.stride(distance)]:
            return None
        return Plan(self.forecast, self.windows, left + 1, self._steps, first=self.first)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The plan of least lasting error with `count` evaluations.

    `lasting` is the lasting error (rms of the finished latent) of its windows by the table, of which it is
    the least, and `predicted` the error before any correction, with Euler's method.
    """

    forecast: Forecast
    windows: Windows
    count: int
    _steps: list[Array]
    known_lasting: float | None = None
    first: int = 0

    @property
    def lasting(self) -> float:
        """What lasts of its windows in the finished latent (rms) by the table (equation 3 in the README)."""
        if self.known_lasting is not None:
            return self.known_lasting
        return self.windows.total(self.windows.lasting, computed_by(self, len(self.windows.errors)))

    @property
    def predicted(self) -> float:
        """The predicted error (rms) of the finished latent."""
        return self.windows.total(self.windows.errors, computed_by(self, len(self.windows.errors)))

    def next_computed(self, k: int, distance: int, left: int) -> int:
        """Return the best evaluation to compute after `k`, even off the plan; the number of them for none.

        `distance` is that from the computed one before k, 0 for none, and `left` how many the plan has left.
        """
        tables = self._steps[min(left, len(self._steps) - 1)]
        best = int(tables[k - self.first, self.windows.stride(distance)])
        return k + max(1, best)  # 0 where no plan has that many left

    def continued(self, k: int, distance: int, left: int, surprises: Array) -> Plan:
        """Return the best plan for what follows `k`, just computed; this one where too few are left for any.

        `surprises [K - k]` are how many times further than the table says outputs are expected to be from
        their forecasts from k on.
        """
        return BestPlans(self.windows, self.forecast, surprises, k).rest(distance, left) or self
