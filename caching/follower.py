"""Follows a plan along the evaluations that a sampler really asks for."""

from __future__ import annotations

import numpy as np

from .optimal import OptimalPlans
from .points import RunPoints

MOSTLY_NOISE = 0.9


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
        self.tolerance = points.swing * float(np.sqrt(plans.errors[price, 0, 0]))
        self.planned = int(plans.evaluations[price, 0, 0])
        self._plans, self._points, self._price = plans, points, price
        self._importance: list[float] = (points.swing * points.importance).tolist()
        self._sigmas = -np.asarray(points.sigmas)
        self._lengths: list[float] = np.diff([*points.progress, 1.0]).tolist()
        self._reference: int | None = None
        self._gap = self._following = 0
        self._latest: int | None = None
        self._single = True

    def arrive(self, sigma: float) -> None:
        """Take note that an evaluation at `sigma` begins."""
        step = self._step(sigma)
        self._single = self._single and step != self._latest
        self._latest = step

    def step_length(self, sigma: float) -> float:
        """Return how far sampling comes by the step in which an evaluation at `sigma` lies."""
        return self._lengths[self._step(sigma)]

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
        """Return the predicted error (rms) of the finished latent if all up to `sigma` were reused.

        Never more than that of the whole window where the plan goes on reusing.
        """
        if self._reference is None:
            return None
        distance = max(1, self._step(sigma) - self._reference + 1)
        error = self._plans.error(self._reference, self._gap, distance)
        if self._reference + distance <= self._following:
            planned = self._following - self._reference
            error = min(error, self._plans.error(self._reference, self._gap, planned))
        return error * self._points.swing if np.isfinite(error) else None

    def importance(self, sigma: float) -> float:
        """Return what an output's error at `sigma` leaves in the finished latent."""
        return self._importance[self._step(sigma)]

    def weight(self, sigma: float) -> float:
        """Return what a change of the output at `sigma` changes in the finished latent."""
        return self._points.weights[self._step(sigma)]

    def damping(self, sigma: float) -> float:
        """Return how much of the line through the last computed outputs to follow at `sigma`, from 0."""
        if self._reference is None:
            return 1.0
        distance = min(max(1, self._step(sigma) - self._reference), self._plans.window)
        return float(self._plans.damping[self._reference, self._gap, distance])

    def coming_weight(self) -> float:
        """Return the sum of weights of the evaluations that the plan reuses before the next computed one.

        0 where a sampler evaluates more than once a step: what each then weighs is not known.
        """
        if self._reference is None or not self._single:
            return 0.0
        return sum(self._points.weights[self._reference + 1 : self._following])

    def corrects(self, sigma: float) -> bool:
        """Tell whether an error before `sigma` should be put right: not where the network forgives it.

        With much noise in the latent an error becomes part of the picture. Late in the sampling the network
        takes it for noise and removes it by itself (measured: `tests/benchmarks/method.md`).
        """
        noise = self._points.noise[self._step(sigma)]
        return self.forecast == "linear" and self._single and noise >= MOSTLY_NOISE
