"""What a window of reused evaluations leaves in the finished latent, known in the mean from the output modes.

Each forecast's error, times the step that it steers, adds up over the window. Most of that does not last: the
next computed output tells it, and it is put right (`branch.py`) or, late in the sampling, forgiven by the
network. What lasts is what an interpolation would miss too, and a share of the rest. Ours; measured in
`tests/benchmarks/method.md`.
"""

from __future__ import annotations

import numpy as np

from .points import Array, RunPoints

LASTING_SHARE = 0.2
MAX_DAMPING = 1.2


def window_errors(columns: Array, points: RunPoints, window: int, extend: bool) -> tuple[Array, Array]:
    """Return the damping of the line and the squared error of every window, both `[K, gap, distance]`."""
    steps = len(columns)
    damping = np.zeros((steps, window + 1, window + 1))
    errors = np.full((steps, window + 1, window + 1), np.inf)
    errors[:, :, 1] = 0.0
    for k in range(steps - 1):
        reused = np.arange(k + 1, min(k + window, steps))
        time = np.asarray(points.progress) - points.progress[k]
        change = np.broadcast_to(columns[reused] - columns[k], (window + 1, len(reused), columns.shape[1]))
        before = np.maximum(k - np.arange(window + 1), 0)
        line = np.zeros_like(change)
        if extend and k > 0:
            slope = (columns[before[1:]] - columns[k]) / time[before[1:], None]
            line[1:] = time[reused][None, :, None] * slope[:, None]
        length = np.maximum((line**2).sum(axis=-1), 1e-12)
        follow = np.clip((change * line).sum(axis=-1) / length, 0.0, MAX_DAMPING)
        damping[k, :, 1 : len(reused) + 1] = follow
        share = points.importance[reused]
        left = np.cumsum(share[:, None] * (change - follow[..., None] * line), axis=1)
        squares = (left**2).sum(axis=-1)
        inner = np.arange(len(reused)) + k + 2 < steps  # windows that a computed evaluation ends
        if extend:
            missed = _interpolation_errors(columns, time, share, k, before, reused[inner] + 1)
            squares[:, inner] = missed + LASTING_SHARE**2 * squares[:, inner]
        errors[k, :, 2 : len(reused) + 2] = squares
    return damping, errors


def _interpolation_errors(
    columns: Array, time: Array, share: Array, k: int, before: Array, ends: Array
) -> Array:
    """Return the squared error `[gap, window]` of interpolating between evaluations k and `ends [window]`.

    Through the computed output before k too, where there is one. The sum over a window's evaluations of
    `share` times the interpolation is known from the sums of `share`, `share * time` and `share * time^2`.
    """
    count = len(ends)
    inside = slice(k + 1, k + 1 + count)
    whole = np.cumsum(share[:count, None] * (columns[inside] - columns[k]), axis=0)
    first, second = (np.cumsum(share[:count] * time[inside] ** power) for power in (1, 2))
    end, start = time[ends][None], time[before][:, None]
    known = start < 0
    back = np.where(known, start, -1.0)
    to_end = np.where(known, (second - back * first) / (end * (end - back)), first / end)
    to_start = np.where(known, (second - end * first) / (back * (back - end)), 0.0)
    missed = whole[None] - to_end[..., None] * (columns[ends] - columns[k])[None]
    missed = missed - to_start[..., None] * (columns[before] - columns[k])[:, None]
    return np.asarray((missed**2).sum(axis=-1))
