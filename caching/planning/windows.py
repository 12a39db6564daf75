"""What a window of reused evaluations leaves in the finished latent, known in the mean from the output modes.

Each forecast's error, times the step that it steers, adds up over the window (equation 3 in the README). The
next computed output tells most of that, and it is corrected (`branch.py`) or, late in the sampling, removed
by the network. What lasts is what an interpolation would miss too, and a share of the rest (ours; measured in
`tests/benchmarks/method.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import tuned
from ..forecast import Forecast
from .points import Array, RunPoints


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The windows that may follow a computed evaluation `k`, by the `stride` to the computed one before.

    Stride 0 means that there is none before; a forecast of one output knows stride 0 alone. `errors [K,
    strides, d]` is the squared error of the reuses between evaluations k and k + d, infinite where one of
    them may not be reused, and `damping [K, strides, d]` the share of the forecast that is followed at k + d.
    """

    errors: Array
    damping: Array

    @property
    def longest(self) -> int:
        """The largest distance between two computed evaluations."""
        return int(self.errors.shape[2]) - 1

    def stride(self, distance: int) -> int:
        """Return the index of the stride that two computed evaluations at a distance have."""
        return min(distance, int(self.errors.shape[1]) - 1)


def window_errors(
    columns: Array, points: RunPoints, forecast: Forecast, longest: int, reusable: Array
) -> Windows:
    """Measure every window of outputs whose guided mode columns are `columns [K, R]`.

    `reusable [K]` tells where reuse may happen; no window is longer than `longest`.
    """
    steps, strides = len(columns), 1 if forecast.history == 1 else longest + 1
    damping = np.zeros((steps, strides, longest + 1))
    errors = np.full((steps, strides, longest + 1), np.inf)
    errors[:, :, 1] = 0.0
    importance, progress = points.importance, np.asarray(points.progress)
    computed = np.append(np.flatnonzero(~reusable), steps)
    for k in range(steps - 1):
        end = min(k + longest, int(computed[np.searchsorted(computed, k + 1)]))
        reused = np.arange(k + 1, end)
        if len(reused) == 0:
            continue
        change = columns[reused] - columns[k]
        rise = _rises(columns, progress, forecast, k, strides, reused)
        square = np.maximum(np.einsum("sjr,sjr->sj", rise, rise), 1e-12)
        follow = np.clip(np.einsum("sjr,jr->sj", rise, change) / square, 0.0, tuned.MAX_DAMPING)
        damping[k, :, 1 : end - k] = follow
        share = importance[reused]
        left = np.cumsum(share[:, None] * (change - follow[..., None] * rise), axis=1)
        squares = np.einsum("sjr,sjr->sj", left, left)
        inner = reused + 1 < steps  # windows that a computed evaluation ends
        if forecast.corrects:
            missed = _interpolation_errors(columns, progress, share, k, strides, reused[inner] + 1)
            squares[:, inner] = missed + tuned.LASTING_SHARE**2 * squares[:, inner]
        errors[k, :, 2 : end - k + 1] = squares
    return Windows(errors, damping)


def _rises(
    columns: Array, progress: Array, forecast: Forecast, k: int, strides: int, reused: Array
) -> Array:
    """Return how far each forecast is from holding, `[strides, len(reused), R]`.

    Of a longer history than two, the older outputs are taken to lie at the same stride.
    """
    rises = np.zeros((strides, len(reused), columns.shape[1]))
    possible = np.arange(1, min(strides - 1, k) + 1)
    known = np.minimum(forecast.history, 1 + k // np.maximum(possible, 1))
    for count in np.unique(known):
        chosen = possible[known == count]
        before = k - chosen[None, :] * np.arange(count - 1, -1, -1)[:, None]
        weights = forecast.weights(progress[before][..., None], progress[reused])
        rises[chosen] = np.einsum("hsj,hsr->sjr", weights, columns[before] - columns[k])
    return rises


def _interpolation_errors(
    columns: Array, progress: Array, share: Array, k: int, strides: int, ends: Array
) -> Array:
    """Return the squared error `[strides, window]` of interpolating between k and `ends [window]`.

    Through the computed output before k too, where there is one. The sum over a window's evaluations of
    `share` times the interpolation is known from the sums of `share * time` and `share * time^2`.
    """
    count, time = len(ends), progress - progress[k]
    inside = slice(k + 1, k + 1 + count)
    before = np.maximum(k - np.arange(strides), 0)
    whole = np.cumsum(share[:count, None] * (columns[inside] - columns[k]), axis=0)
    first, second = (np.cumsum(share[:count] * time[inside] ** power) for power in (1, 2))
    end, start = time[ends][None], time[before][:, None]
    known = start < 0
    back = np.where(known, start, -1.0)
    to_end = np.where(known, (second - back * first) / (end * (end - back)), first / end)
    to_start = np.where(known, (second - end * first) / (back * (back - end)), 0.0)
    missed = whole[None] - to_end[..., None] * (columns[ends] - columns[k])[None]
    missed = missed - to_start[..., None] * (columns[before] - columns[k])[:, None]
    return np.asarray(np.einsum("sjr,sjr->sj", missed, missed))
