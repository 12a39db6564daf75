"""One branch of a run: its last computed outputs, and what the reused evaluations still owe it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .forecast import HISTORY, ServedStep, combine, missed_weights, weights

CLOSE = 1e-4  # of a time: samplers reach one sigma by two ways, and rounding tells them apart


@dataclass(slots=True)
class Branch:
    """The last computed raw outputs of one branch, oldest first, with their times on the forecast's axis.

    `evaluation` is the ordinal of the evaluation that gave the newest. Once an output is computed, it tells
    what the served ones before it lacked (ours): that sum, each times its step's weight, is `owed`, and the
    next reused evaluations, whose weights sum to `coming`, make up for it in equal parts. What computed
    evaluations return is never touched.
    """

    times: list[float] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    evaluation: int = 0
    owed: Tensor | None = None
    coming: float = 0.0
    served: list[ServedStep] = field(default_factory=list)

    @property
    def tensors(self) -> int:
        """How many tensors of the output's size the branch holds."""
        return len(self.outputs) + (self.owed is not None)

    def serve(self, forecast: str, step: ServedStep, device: torch.device) -> Tensor:
        """Return the forecast raw output at a step, a new tensor on `device`."""
        outputs = [output.to(device) for output in self.outputs]
        served = combine(outputs, weights(forecast, self.times, step.time, step.damping))
        if self.owed is not None and self.coming > 0:
            served.add_(self.owed.to(device), alpha=1 / self.coming)
        self.served.append(step)
        return served

    def store(
        self,
        forecast: str,
        output: Tensor,
        time: float,
        coming: float,
        corrects: bool,
        apart: float = 0.0,
    ) -> None:
        """Keep an output computed at a time; the oldest beyond what the forecast needs goes.

        A second output at about one time, as second-order samplers ask for, takes the place of the first: a
        line through two that lie close would go anywhere. `apart` is how far from it an output has to lie not
        to do so. `corrects` says whether to make up for what was served before it.
        """
        self._settle(forecast, output, time, corrects)
        self.coming = coming
        if self.times and math.isclose(self.times[-1], time, rel_tol=CLOSE, abs_tol=apart):
            del self.outputs[-1], self.times[-1]
        while len(self.outputs) >= HISTORY[forecast]:
            del self.outputs[0], self.times[0]
        self.outputs.append(output)
        self.times.append(time)

    def _settle(self, forecast: str, output: Tensor, time: float, corrects: bool) -> None:
        """Take off what was paid, and add what the evaluations served since the last output lacked."""
        paid = sum(step.weight for step in self.served)
        if self.owed is not None and self.coming > 0 and paid > 0:
            self.owed = self.owed * (1 - paid / self.coming) if paid < self.coming else None
        times = [*self.times, time]
        if corrects and paid > 0 and len(set(times)) == len(times):
            lacked = combine([*self.outputs, output], missed_weights(forecast, times, self.served))
            self.owed = lacked if self.owed is None else self.owed.add_(lacked)
        self.served.clear()
