"""Which evaluations of a run to compute: the plans of least predicted error, one for every price.

Errors within a window of reuses point the same way and add up (`windows.py`); those of different windows do
not, so their squares do. Dynamic programming over the last two computed evaluations finds the plan whose
squared error plus price times evaluations is least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .points import Array, RunPoints
from .windows import window_errors

MAX_WINDOW = 32
PRICES = np.geomspace(1e-12, 1e2, 96)


@dataclass(frozen=True, slots=True, eq=False)
class OptimalPlans:
    """The best plans of one run, by the price of an evaluation in squared error.

    A state is the last computed evaluation `k` and its distance `gap` from the computed one before, 0 where
    there is none. `window_errors [K, gap, d]` is the squared error of the reuses between evaluations k and
    k + d, and `damping [K, gap, d]` the share of the line that is followed at evaluation k + d; `errors`,
    `evaluations` and `following` `[price, k, gap]` are the squared error and the computed evaluations from
    there on, and the distance to the next computed one.
    """

    window_errors: Array
    damping: Array
    errors: Array
    evaluations: Array
    following: Array

    @property
    def window(self) -> int:
        """The largest distance between two computed evaluations."""
        return int(self.window_errors.shape[2]) - 1

    def within_error(self, epsilon: float) -> int:
        """Return the highest price whose plan is predicted to err by at most `epsilon` (rms)."""
        return int(np.flatnonzero(self.errors[:, 0, 0] <= epsilon * epsilon).max(initial=0))

    def within_evaluations(self, count: float) -> int:
        """Return the lowest price whose plan computes at most `count` evaluations; the highest if none.

        `count` may be the quotient of a whole number and a speed-up, rounded.
        """
        reached = self.evaluations[:, 0, 0] <= count + 1e-9
        return int(reached.argmax()) if reached.any() else len(reached) - 1

    def next_computed(self, price: int, k: int, gap: int) -> int:
        """Return the evaluation to compute after `k`, the number of evaluations where none is left."""
        return k + int(self.following[price, k, gap])

    def error(self, k: int, gap: int, distance: int) -> float:
        """Return the predicted error (rms) of reusing the evaluations from k + 1 to k + distance - 1."""
        return float(np.sqrt(self.window_errors[k, gap, min(distance, self.window)]))

    def computed(self, price: int) -> list[int]:
        """Return the evaluations that the plan of a price computes."""
        found, k, gap = [], 0, 0
        while k < len(self.window_errors):
            found.append(k)
            following = self.next_computed(price, k, gap)
            k, gap = following, following - k
        return found


def solve(
    columns: Array, points: RunPoints, max_reuse: int, extend: bool, allowed: Callable[[float], bool]
) -> OptimalPlans:
    """Find the best plans for outputs whose guided mode columns are `columns [K, R]`.

    `extend` draws a line through the last two computed outputs where there are two, otherwise the last one is
    held; `allowed(sigma)` tells where reuse may happen.
    """
    window = min(max_reuse + 1, MAX_WINDOW, len(columns))
    damping, errors_of = window_errors(columns, points, window, extend)
    forbidden = np.where([allowed(sigma) for sigma in points.sigmas], 0.0, np.inf)
    for k in range(len(columns)):
        errors_of[k, :, 2:] += _reached(np.cumsum(forbidden[k + 1 : k + window]), window - 1)
    steps = len(columns)
    shape = (len(PRICES), steps + 1, window + 1)
    total, errors = np.zeros(shape), np.zeros(shape)
    evaluations, following = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    rows = np.arange(len(PRICES))[:, None]
    for k in range(steps - 1, -1, -1):
        distances = np.arange(1, min(window, steps - k) + 1)
        own = errors_of[k][:, distances]
        later = total[:, k + distances, distances] + (k + distances < steps) * PRICES[:, None]
        cost = own[None] + later[:, None]
        best = cost.argmin(axis=-1)
        chosen = distances[best]
        total[:, k] = np.take_along_axis(cost, best[..., None], axis=-1)[..., 0]
        errors[:, k] = own[np.arange(len(own)), best] + errors[rows, k + chosen, chosen]
        evaluations[:, k] = 1 + evaluations[rows, k + chosen, chosen]
        following[:, k] = chosen
    return OptimalPlans(errors_of, damping, errors, evaluations, following)


def at_even_distances(plans: OptimalPlans, count: int) -> OptimalPlans:
    """Return the one plan that computes `count` evaluations at even distances, more where reuse is forbidden.

    Held outputs between them give what a sampler of `count` steps gives. Its price is 0.
    """
    steps, window = len(plans.window_errors), plans.window
    computed = {index * steps // count for index in range(count)} | {steps}
    shape = (1, steps + 1, window + 1)
    errors, evaluations, following = np.zeros(shape), np.zeros(shape, np.int64), np.ones(shape, np.int64)
    for k in range(steps - 1, -1, -1):
        wished = min(window, min(index for index in computed if index > k) - k)
        for gap in range(window + 1):
            possible = np.flatnonzero(np.isfinite(plans.window_errors[k, gap, 1 : wished + 1]))
            distance = int(possible[-1]) + 1
            following[0, k, gap] = distance
            errors[0, k, gap] = plans.window_errors[k, gap, distance] + errors[0, k + distance, distance]
            evaluations[0, k, gap] = 1 + evaluations[0, k + distance, distance]
    return OptimalPlans(plans.window_errors, plans.damping, errors, evaluations, following)


def _reached(values: Array, length: int) -> Array:
    """Fill up to `length` with infinity: nothing lies behind the last evaluation."""
    return np.pad(values, (0, length - len(values)), constant_values=np.inf)
