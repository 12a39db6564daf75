"""One branch of a run: its last computed outputs, and the residual that reused evaluations still correct."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .forecast import Forecast, ServedStep, combine, residual_weights, weights
from .policy import Handling

CHECKED = 8192  # elements of a sample that tell how far a forecast would have been
CLOSE = 1e-4  # of a time: samplers reach one sigma by two ways, and rounding tells them apart


@dataclass(slots=True)
class Branch:
    """The last computed outputs of one branch, oldest first, with their times on the forecast's axis.

    `evaluation` is the ordinal of the evaluation that gave the newest. Once an output is computed, it tells
    what the served ones before it lacked (ours): that sum, each times its step's weight, is the `residual`,
    and the window of reused evaluations that follows, whose weights sum to `weight_ahead`, corrects it in
    equal parts. What computed evaluations return is never touched.
    """

    times: list[float] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    evaluation: int = 0
    residual: Tensor | None = None
    weight_ahead: float = 0.0
    served: list[ServedStep] = field(default_factory=list)

    @property
    def tensors(self) -> int:
        """How many tensors of the output's size the branch holds."""
        return len(self.outputs) + (self.residual is not None)

    def serve(
        self, forecast: Forecast, step: ServedStep, device: torch.device, weight_ahead: float = 0.0
    ) -> Tensor:
        """Return the forecast output at a step, a new tensor on `device`.

        `weight_ahead` is the weight of the whole window, where it is to correct.
        """
        self.weight_ahead = weight_ahead
        outputs = [output.to(device) for output in self.outputs]
        served = combine(outputs, weights(forecast, self.times, step.time, step.damping))
        if self.residual is not None and self.weight_ahead > 0:
            served.add_(self.residual.to(device), alpha=1 / self.weight_ahead)
        self.served.append(step)
        return served

    def missed(self, forecast: Forecast, output: Tensor, time: float, damping: float) -> Tensor | None:
        """Return how far a forecast would have been from an output computed in its place: rms, a scalar.

        Some thousand elements of each sample tell. None where nothing is stored. No device is waited for.
        """
        if not self.outputs or time == self.times[-1]:
            return None
        stride = max(1, output[0].numel() // CHECKED)
        few = [one.to(output.device).flatten(1)[:, ::stride] for one in (*self.outputs, output)]
        served = combine(few[:-1], weights(forecast, self.times, time, damping))
        return (few[-1] - served).float().square().mean().sqrt()

    def store(self, forecast: Forecast, output: Tensor, time: float, handling: Handling) -> None:
        """Keep an output computed at a time; the oldest beyond what the forecast needs goes.

        A second output at about one time, as second-order samplers ask for, takes the place of the first: a
        line through two that lie close would go anywhere.
        """
        self._settle(forecast, output, time, handling.corrects)
        self.weight_ahead = 0.0
        if self.times and math.isclose(self.times[-1], time, rel_tol=CLOSE, abs_tol=handling.apart):
            del self.outputs[-1], self.times[-1]
        while len(self.outputs) >= forecast.history:
            del self.outputs[0], self.times[0]
        self.outputs.append(output)
        self.times.append(time)

    def _settle(self, forecast: Forecast, output: Tensor, time: float, corrects: bool) -> None:
        """Take off what was corrected, and add what the evaluations served since the last output lacked."""
        corrected = sum(step.weight for step in self.served)
        if self.residual is not None and self.weight_ahead > 0 and corrected > 0:
            left = 1 - corrected / self.weight_ahead
            self.residual = self.residual * left if left > 0 else None
        times = [*self.times, time]
        if corrects and corrected > 0 and len(set(times)) == len(times):
            lacked = combine([*self.outputs, output], residual_weights(forecast, times, self.served))
            self.residual = lacked if self.residual is None else self.residual.add_(lacked)
        self.served.clear()
