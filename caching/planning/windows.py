"""What a window of reused evaluations leaves in the finished latent, known in the mean from the output modes.

Each forecast's error, times the step that it steers, adds up over the window (equation 3 in the README). The
next computed output tells most of that, and it is corrected (`branch.py`) or, late in the sampling, removed
by the network. What lasts is what an interpolation would miss too, and a share of the rest (ours; measured in
`tests/benchmarks/method.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import tuned
from ..forecast import Forecast
from .points import Array, RunPoints


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The windows that may follow a computed evaluation `k`, by the `stride` to the computed one before.

    Stride 0 means that there is none before; a forecast of one output knows stride 0 alone. `lasting [K,
    strides, d]` is what the plan minimises: the squared error that the reuses between evaluations k and k + d
    leave once the next computed one is known, infinite where one of them may not be reused. `errors` of the
    same shape are the squared errors before that, of which the predicted error is made, and `damping` the
    share of the forecast that is followed at k + d.
    """

    lasting: Array
    errors: Array
    damping: Array

    @property
    def longest(self) -> int:
        """The largest distance between two computed evaluations."""
        return int(self.errors.shape[2]) - 1

    def total(self, squares: Array, computed: Sequence[int]) -> float:
        """Return the root of the summed `lasting` or `errors` where these evaluations are computed."""
        total, distance = 0.0, 0
        for k, following in zip(computed, [*computed[1:], len(squares)], strict=True):
            total += float(squares[k, self.stride(distance), following - k])
            distance = following - k
        return math.sqrt(total)

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
    lasting = np.full((steps, strides, longest + 1), np.inf)
    lasting[:, :, 1] = 0.0
    errors = lasting.copy()
    importance, effect = points.importance, points.effect
    progress = np.asarray(points.progress)
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
        share, missed = importance[reused], change - follow[..., None] * rise
        errors[k, :, 2 : end - k + 1] = _summed_squares(effect[reused], missed)
        squares = _summed_squares(share, missed)
        if points.noise_misses is not None:
            unknown = points.noise_misses[reused, k]
            errors[k, :, 2 : end - k + 1] += np.cumsum(effect[reused] * unknown) ** 2
            squares += np.cumsum(share * unknown) ** 2
        inner = reused + 1 < steps  # windows that a computed evaluation ends
        if forecast.corrects:
            curved = _interpolation_errors(columns, progress, share, k, strides, reused[inner] + 1)
            squares[:, inner] = curved + tuned.LASTING_SHARE**2 * squares[:, inner]
        lasting[k, :, 2 : end - k + 1] = squares
    return Windows(lasting, errors, damping)


def _summed_squares(share: Array, missed: Array) -> Array:
    """Return the squared length of the growing sums of `share [J]` times `missed [S, J, R]`, `[S, J]`."""
    left = np.cumsum(share[:, None] * missed, axis=1)
    return np.asarray(np.einsum("sjr,sjr->sj", left, left))


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
