"""The output of a reused evaluation: a weighted sum of earlier computed outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

HISTORY = {"hold": 1, "linear": 2}


@dataclass(frozen=True, slots=True)
class ServedStep:
    """One reused evaluation: its time, its step's weight in the finished latent, and the line's damping."""

    time: float
    weight: float
    damping: float


def weights(
    forecast: str, computed_times: Sequence[float], time: float, damping: float = 1.0
) -> list[float]:
    """Return one weight per computed output, oldest first; they sum to 1.

    `computed_times` are the times, on any axis, of the last computed outputs (at least one, at most
    `HISTORY[forecast]`) and `time` is the one to predict. "hold" repeats the last output (the paper).
    "linear" extends the line through the last two (ours); with one output, or two at the same time, it holds.
    `damping` is the share of the line's rise that is followed; 0 holds.
    """
    if not computed_times:
        raise ValueError("a forecast needs at least one computed output")
    held = [0.0] * (len(computed_times) - 1) + [1.0]
    if forecast == "hold" or len(computed_times) < 2 or computed_times[-1] == computed_times[-2]:
        return held
    before, last = computed_times[-2:]
    reach = damping * (time - last) / (last - before)
    return [*held[:-2], -reach, 1.0 + reach]


def interpolation_weights(times: Sequence[float], time: float) -> list[float]:
    """Return the weights of the outputs at `times`, all different, in the polynomial through them."""
    found = []
    for index, own in enumerate(times):
        others = [other for place, other in enumerate(times) if place != index]
        found.append(math.prod((time - other) / (own - other) for other in others))
    return found


def missed_weights(forecast: str, times: Sequence[float], served: Sequence[ServedStep]) -> list[float]:
    """Return one weight per output, oldest first: their sum is what served evaluations lacked (ours).

    `times` are those of the outputs that the forecasts were made of and, last, of the one computed after
    them, all different. An evaluation lacked the curve through all of them less its forecast, times its step.
    """
    total = [0.0] * len(times)
    for step in served:
        inside = interpolation_weights(times, step.time)
        outside = [*weights(forecast, times[:-1], step.time, step.damping), 0.0]
        for index, (better, given) in enumerate(zip(inside, outside, strict=True)):
            total[index] += step.weight * (better - given)
    return total


def combine(outputs: Sequence[Tensor], output_weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of outputs of one shape as a new tensor; none of them is changed."""
    total = outputs[-1] * output_weights[-1]
    for output, weight in zip(outputs[:-1], output_weights[:-1], strict=True):
        if weight != 0.0:
            total.add_(output, alpha=weight)
    return total
