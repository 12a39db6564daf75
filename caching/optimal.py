"""Which evaluations of a run to compute: the plans of least predicted error, one for every price.

A window of reuses after a computed evaluation leaves an error in the finished latent: the forecast's error at
each reused evaluation, known in the mean from the table's output modes, times the step that it steers. Within
a window these errors point the same way and add up; those of different windows do not, so their squares do.
Dynamic programming over the last two computed evaluations finds the plan whose squared error plus price times
evaluations is least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

MAX_WINDOW = 32
PRICES = np.geomspace(1e-12, 1e2, 96)


@dataclass(frozen=True, slots=True)
class RunPoints:
    """Where a run will evaluate.

    `sigmas [K]` and model times `timesteps [K]`, descending; `progress [K]`, the axis along which outputs are
    extended; `weights [K]`, the rms error that an output's rms error of 1 leaves in the finished latent;
    `cfg` is the guidance.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    progress: tuple[float, ...]
    weights: tuple[float, ...]
    cfg: float


def step_weights(signal: Array, noise: Array, output_gain: Array, progress: Array) -> Array:
    """Return what an error of the output at each step leaves in the finished latent, `[K]`.

    `signal [K+1]` and `noise [K+1]` are the shares of clean latent and noise in the latent at every sigma,
    `output_gain [K]` the change of the denoised latent per change of the output. A step goes a part of the
    way to the denoised latent; the error is counted in latents of unit variance, and early errors more than
    late ones, because the rest of the sampling amplifies them (measured: `tests/benchmarks/method.md`).
    """
    part = signal[1:] - signal[:-1] * noise[1:] / noise[:-1]
    unit = np.hypot(signal[1:], noise[1:])
    amplified = 1 + EARLY_AMPLIFICATION * (1 - progress)
    return np.asarray(np.abs(output_gain * part / unit) * amplified)


EARLY_AMPLIFICATION = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class OptimalPlans:
    """The best plans of one run, by the price of an evaluation in squared error.

    A state is the last computed evaluation `k` and its distance `gap` from the computed one before, 0 where
    there is none. `window_errors [K, gap, d]` is the squared error of the reuses between evaluations k and
    k + d; `errors`, `evaluations` and `following` `[price, k, gap]` are the squared error and the computed
    evaluations from there on, and the distance to the next computed one.
    """

    window_errors: Array
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
        """Return the lowest price whose plan computes at most `count` evaluations; the highest if none."""
        reached = self.evaluations[:, 0, 0] <= count
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
    window_errors = _window_errors(columns, points, window, extend, [allowed(s) for s in points.sigmas])
    steps = len(columns)
    shape = (len(PRICES), steps + 1, window + 1)
    total, errors = np.zeros(shape), np.zeros(shape)
    evaluations, following = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    rows = np.arange(len(PRICES))[:, None]
    for k in range(steps - 1, -1, -1):
        distances = np.arange(1, min(window, steps - k) + 1)
        own = window_errors[k][:, distances]
        later = total[:, k + distances, distances] + (k + distances < steps) * PRICES[:, None]
        cost = own[None] + later[:, None]
        best = cost.argmin(axis=-1)
        chosen = distances[best]
        total[:, k] = np.take_along_axis(cost, best[..., None], axis=-1)[..., 0]
        errors[:, k] = own[np.arange(len(own)), best] + errors[rows, k + chosen, chosen]
        evaluations[:, k] = 1 + evaluations[rows, k + chosen, chosen]
        following[:, k] = chosen
    return OptimalPlans(window_errors, errors, evaluations, following)


def _window_errors(
    columns: Array, points: RunPoints, window: int, extend: bool, allowed: Sequence[bool]
) -> Array:
    """Return the squared errors `[K, gap, distance]` of every window; infinite where reuse is not allowed."""
    steps = len(columns)
    progress, weights = np.asarray(points.progress), np.asarray(points.weights)
    found = np.full((steps, window + 1, window + 1), np.inf)
    found[:, :, 1] = 0.0
    forbidden = np.where(np.asarray(allowed), 0.0, np.inf)
    for k in range(steps - 1):
        reused = np.arange(k + 1, min(k + window, steps))
        change = np.broadcast_to(columns[reused] - columns[k], (window + 1, len(reused), columns.shape[1]))
        if extend and k > 0:
            before = np.maximum(k - np.arange(1, window + 1), 0)
            slope = (columns[k] - columns[before]) / (progress[k] - progress[before])[:, None]
            line = (progress[reused] - progress[k])[None, :, None] * slope[:, None]
            change = np.concatenate([change[:1], change[1:] - line])
        left = np.cumsum(weights[reused, None] * change, axis=1)
        found[k, :, 2 : len(reused) + 2] = (left**2).sum(axis=-1) + np.cumsum(forbidden[reused])
    return found


class PlanFollower:
    """Follows one plan along a run's real evaluations, whose number and sigmas are the sampler's.

    An evaluation belongs to the planned step in which its sigma lies. One in a step that the plan computes,
    or before the last computed one (some samplers go back), is computed; so is a second one in a step after
    which the plan computes again.
    """

    def __init__(
        self, plans: OptimalPlans, points: RunPoints, price: int, forecast: str = "linear"
    ) -> None:
        self.forecast = forecast
        self.tolerance = float(np.sqrt(plans.errors[price, 0, 0]))
        self.planned = int(plans.evaluations[price, 0, 0])
        self._plans, self._points, self._price = plans, points, price
        self._sigmas = -np.asarray(points.sigmas)
        self._reference: int | None = None
        self._gap = self._following = 0

    def _step(self, sigma: float) -> int:
        return max(0, int(np.searchsorted(self._sigmas, -sigma * (1 - 1e-5), side="right")) - 1)

    def computed(self, sigma: float) -> None:
        """Take note that the evaluation at `sigma` was computed."""
        step, before = self._step(sigma), self._reference
        if before is None or step < before:
            self._gap = 0
        elif step > before:
            self._gap = min(step - before, self._plans.window)
        self._reference = step
        self._following = self._plans.next_computed(self._price, step, self._gap)

    def forget(self) -> None:
        """Take note that no stored output is left."""
        self._reference = None

    def reuses(self, sigma: float) -> bool:
        """Tell whether the plan reuses an evaluation at `sigma`."""
        if self._reference is None:
            return False
        step = self._step(sigma)
        inside = self._reference < step or self._following > self._reference + 1
        return inside and self._reference <= step < self._following

    def error(self, sigma: float) -> float | None:
        """Return the predicted error (rms) of the finished latent if all up to `sigma` were reused."""
        if self._reference is None:
            return None
        distance = max(1, self._step(sigma) - self._reference + 1)
        error = self._plans.error(self._reference, self._gap, distance)
        return error if np.isfinite(error) else None

    def weight(self, sigma: float) -> float:
        """Return what an output's error at `sigma` weighs in the finished latent."""
        return self._points.weights[self._step(sigma)]
