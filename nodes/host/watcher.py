"""Watches the evaluations of a calibration's sampling run, and adds what its sampler does not evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...calibration.estimator import TrajectoryProbe
from ...calibration.table import TableError
from .coverage import Coverage, Place
from .sampling import raw_output


@dataclass(slots=True)
class Watcher:
    """Watches a guider's evaluations and probes between them: sensitivities on the positive branch alone.

    `last_sigma` is the last one that the sampler evaluates; from there the model's smallest is looked at too.
    In each of so many equal `parts` of the sampling sensitivities are measured once; None for every step.
    """

    on_evaluation: Callable[[], None]
    coverage: Coverage
    last_sigma: float
    parts: int | None = None
    evaluations: int = 0
    armed: bool = False
    probe: TrajectoryProbe = field(init=False)
    _sigma_at: dict[float, float] = field(default_factory=dict)
    _evaluate: Callable[[Tensor, Tensor, int], list[Tensor]] | None = None
    _model_sampling: Any = None
    _place: Place | None = None
    _branches: int = 1
    _measured_parts: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.probe = TrajectoryProbe(self._denoise, self._due)

    def _due(self, sigma: float) -> bool:
        """Tell whether sensitivities are measured at a sigma: at the first evaluation of every part."""
        part = None if self.parts is None else int(self.coverage.progress(sigma) * self.parts)
        due = part is None or part not in self._measured_parts
        if part is not None:
            self._measured_parts.add(part)
        return due

    def _denoise(self, x: Tensor, timestep: float) -> Tensor:
        assert self._evaluate is not None
        at = x.new_full([len(x)], self._sigma_at[timestep], dtype=torch.float32)
        held = x / self._model_sampling.calculate_input(at, torch.ones_like(x))
        return self._evaluate(held, at, 1)[0]

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Look at the first call of each evaluation alone: further ones are guidance such as SLG.

        The host's `timestep` is sigma.
        """
        self.armed, self._evaluate = True, None
        denoised = executor(x, timestep, *args, **kwargs)
        if self._evaluate is not None:
            self._cover(Place(x.detach().clone(), float(timestep[0]), denoised.detach().clone()))
            self._evaluate = None
        return denoised

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: list, x_in: Tensor, sigma: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Let the sampler's evaluation pass, then take its branches into the probe."""
        outputs = executor(model, conds, x_in, sigma, model_options)
        self._count()
        if not self.armed:
            return outputs
        self.armed = False
        sampling = self._model_sampling = model.model_sampling
        branches = 2 if len(conds) > 1 and bool(conds[1]) else 1

        def evaluate(x: Tensor, at: Tensor, count: int) -> list[Tensor]:
            denoised = executor(model, conds[:count], x, at, model_options)
            self._count()
            return [raw_output(sampling, at, one, x) for one in denoised]

        self._evaluate = evaluate
        timestep = sampling.timestep(sigma)
        sigma_now, timestep_now = torch.stack([sigma[0].float(), timestep[0].float()]).tolist()
        self._sigma_at[timestep_now] = sigma_now
        output, *negative = (raw_output(sampling, sigma, one, x_in) for one in outputs[:branches])
        if not torch.isfinite(output).all():
            raise TableError("the model gives values that are not numbers here; try another weight dtype")
        x = sampling.calculate_input(sigma, x_in)
        self.probe.observe(x, sigma_now, timestep_now, output, *negative)
        self._branches = branches
        return outputs

    def _cover(self, here: Place) -> None:
        """Evaluate what the sampler leaves out: before its first evaluation, in between, after its last."""
        before, self._place = self._place, here
        if before is None:
            self._add(self.coverage.sigmas_before(here.sigma), here, here)
        elif before.sigma > here.sigma:
            self._add(self.coverage.sigmas_between(before.sigma, here.sigma), before, here)
        if here.sigma <= self.last_sigma * (1 + 1e-4):
            self._add(self.coverage.sigmas_after(here.sigma), here, here)

    def _add(self, sigmas: list[float], one: Place, other: Place) -> None:
        assert self._evaluate is not None
        for sigma, x in self.coverage.mixed(sigmas, one, other):
            at = x.new_full([len(x)], sigma, dtype=torch.float32)
            outputs = self._evaluate(x, at, self._branches)
            self.probe.add(float(self._model_sampling.timestep(at)[0]), outputs)

    def _count(self) -> None:
        self.evaluations += 1
        self.on_evaluation()
