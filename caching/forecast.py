"""The output of a reused evaluation: a weighted sum of earlier computed outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

HISTORY = {"hold": 1, "linear": 2}


def weights(forecast: str, computed_times: Sequence[float], time: float) -> list[float]:
    """Return one weight per computed output, oldest first; they sum to 1.

    `computed_times` are the times, on any axis, of the last computed outputs (at least one, at most
    `HISTORY[forecast]`) and `time` is the one to predict. "hold" repeats the last output (the paper).
    "linear" extends the line through the last two (ours); with one output, or two at the same time, it holds.
    """
    if not computed_times:
        raise ValueError("a forecast needs at least one computed output")
    held = [0.0] * (len(computed_times) - 1) + [1.0]
    if forecast == "hold" or len(computed_times) < 2 or computed_times[-1] == computed_times[-2]:
        return held
    before, last = computed_times[-2:]
    reach = (time - last) / (last - before)
    return [*held[:-2], -reach, 1.0 + reach]


def combine(outputs: Sequence[Tensor], output_weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of outputs of one shape as a new tensor; none of them is changed."""
    total = outputs[-1] * output_weights[-1]
    for output, weight in zip(outputs[:-1], output_weights[:-1], strict=True):
        if weight != 0.0:
            total.add_(output, alpha=weight)
    return total
