"""What a reused evaluation returns: a weighted sum of the last computed outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from torch import Tensor

from .planning.points import Array


class Space(str, Enum):
    """What is stored and extended: the network's raw outputs, or the denoised latents made of them."""

    RAW = "raw"
    DENOISED = "denoised"


class Forecast(Protocol):
    """A way to predict an output from the last `history` computed ones; a value without state.

    `corrects` tells whether what reused evaluations lacked is added to later ones (`branch.py`).
    """

    @property
    def history(self) -> int: ...
    @property
    def space(self) -> Space: ...
    @property
    def corrects(self) -> bool: ...

    def weights(self, times: Array, time: Array) -> Array:
        """Return the weights `[H, ...]` of the outputs at `times [H, ...]`, oldest first, at `time [...]`.

        H is from 1 to `history`, all times differ, and the weights sum to 1.
        """


@dataclass(frozen=True, slots=True)
class Hold:
    """Repeats the last output (the paper).

    Held in the denoised space, outputs give what a sampler of fewer steps gives whatever the network
    predicts; raw ones do so for flow models alone.
    """

    history: int = 1
    space: Space = Space.RAW
    corrects: bool = False

    def weights(self, times: Array, time: Array) -> Array:
        """Return 1 for the last output."""
        found = np.zeros((len(times), *np.broadcast_shapes(times.shape[1:], np.shape(time))))
        found[-1] = 1.0
        return found


@dataclass(frozen=True, slots=True)
class Line:
    """Extends the line through the last two outputs (ours; equation 2 in the README)."""

    history: int = 2
    space: Space = Space.RAW
    corrects: bool = True

    def weights(self, times: Array, time: Array) -> Array:
        """Return the line's weights; with one output it is held."""
        if len(times) < 2:
            return Hold().weights(times, time)
        before, last = times
        reach = (time - last) / (last - before)
        return np.stack([-reach, 1 + reach])


FORECASTS: dict[str, Forecast] = {"linear": Line(), "hold": Hold()}
HOLD_DENOISED = Hold(space=Space.DENOISED)


@dataclass(frozen=True, slots=True)
class ServedStep:
    """One reused evaluation: its time, its step's weight in the finished latent, and the damping."""

    time: float
    weight: float
    damping: float


def weights(forecast: Forecast, times: Sequence[float], time: float, damping: float = 1.0) -> list[float]:
    """Return one weight per computed output, oldest first; they sum to 1.

    `times` are those of the last computed outputs, at least one, on any axis. `damping` is the share followed
    of the difference to the last output: 0 holds. Where two outputs have the same time, the last one is held.
    """
    if not times:
        raise ValueError("a forecast needs at least one computed output")
    used = list(times[-forecast.history :])
    held = [0.0] * (len(times) - 1) + [1.0]
    if len(set(used)) < len(used):
        return held
    full = forecast.weights(np.array(used), np.array(time)).tolist()
    extended = [0.0] * (len(times) - len(used)) + full
    return [hold + damping * (own - hold) for hold, own in zip(held, extended, strict=True)]


def interpolation_weights(times: Sequence[float], time: float) -> list[float]:
    """Return the weights of the outputs at `times`, all different, in the polynomial through them."""
    found = []
    for index, own in enumerate(times):
        others = [other for place, other in enumerate(times) if place != index]
        found.append(math.prod((time - other) / (own - other) for other in others))
    return found


def residual_weights(
    forecast: Forecast, times: Sequence[float], served: Sequence[ServedStep]
) -> list[float]:
    """Return one weight per output, oldest first: their sum is the residual of the served evaluations (ours).

    `times` are those of the outputs that the forecasts were made of and, last, of the one computed after
    them, all different. An evaluation's residual is the curve through all of them less its forecast, times
    its step's weight (equation 4 in the README).
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
