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
from .prompts import NEGATIVE, POSITIVE, Prompts
from .sampling import raw_output


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the host's that computed a prompt, and its raw output `[B, ...]`: it can be made again."""

    executor: Any
    model: Any
    cond: list
    options: dict
    output: Tensor

    def goes_with(self, other: _Call) -> bool:
        """Tell whether both prompts are computed in one call."""
        return self.model is other.model and self.options is other.options


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
    probe: TrajectoryProbe = field(init=False)
    _sigma_at: dict[float, float] = field(default_factory=dict)
    _prompts: Prompts | None = None
    _evaluating: bool = False
    _calls: dict[str, _Call] = field(default_factory=dict)
    _model_sampling: Any = None
    _place: Place | None = None
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
        at = x.new_full([len(x)], self._sigma_at[timestep], dtype=torch.float32)
        held = x / self._model_sampling.calculate_input(at, torch.ones_like(x))
        return self._evaluate(held, at, (POSITIVE,))[0]

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Read the guider's prompts before the host mixes areas of the one into the other."""
        self._prompts = Prompts.of(executor.class_obj)
        return executor(*args, **kwargs)

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Let an evaluation pass, then take each prompt's first call into the probe: others are guidance.

        The host's `timestep` is sigma.
        """
        self._evaluating = True
        try:
            denoised = executor(x, timestep, *args, **kwargs)
            if POSITIVE in self._calls:
                self._observe(x, timestep)
                self._cover(Place(x.detach().clone(), float(timestep[0]), denoised.detach().clone()))
        finally:
            self._evaluating = False
            self._calls.clear()
        return denoised

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: list, x_in: Tensor, sigma: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Let a call pass, and keep which prompt it computes."""
        outputs: list[Tensor] = executor(model, conds, x_in, sigma, model_options)
        self._count()
        if self._prompts is None or not self._evaluating:
            return outputs
        sampling = self._model_sampling = model.model_sampling
        for name, slot in self._prompts.slots(conds).items():
            if name not in self._calls:
                output = raw_output(sampling, sigma, outputs[slot], x_in)
                self._calls[name] = _Call(executor, model, conds[slot], model_options, output)
        return outputs

    def _observe(self, x_in: Tensor, sigma: Tensor) -> None:
        sampling = self._model_sampling
        timestep = sampling.timestep(sigma)
        sigma_now, timestep_now = torch.stack([sigma[0].float(), timestep[0].float()]).tolist()
        self._sigma_at[timestep_now] = sigma_now
        output, *negative = (self._calls[name].output for name in self._computed())
        if not torch.isfinite(output).all():
            raise TableError("the model gives values that are not numbers here; try another weight dtype")
        self.probe.observe(sampling.calculate_input(sigma, x_in), sigma_now, timestep_now, output, *negative)

    def _computed(self) -> tuple[str, ...]:
        """Return the prompts that this evaluation computes, the positive one first."""
        return tuple(name for name in (POSITIVE, NEGATIVE) if name in self._calls)

    def _evaluate(self, x: Tensor, at: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        """Compute prompts at another latent as the host has just computed them; raw outputs `[B, ...]`."""
        calls = [self._calls[name] for name in names]
        groups = [calls] if all(call.goes_with(calls[0]) for call in calls) else [[call] for call in calls]
        denoised: list[Tensor] = []
        for group in groups:
            first = group[0]
            denoised += first.executor(first.model, [call.cond for call in group], x, at, first.options)
            self._count()
        return [raw_output(self._model_sampling, at, one, x) for one in denoised]

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
        for sigma, x in self.coverage.mixed(sigmas, one, other):
            at = x.new_full([len(x)], sigma, dtype=torch.float32)
            outputs = self._evaluate(x, at, self._computed())
            self.probe.add(float(self._model_sampling.timestep(at)[0]), outputs)

    def _count(self) -> None:
        self.evaluations += 1
        self.on_evaluation()
