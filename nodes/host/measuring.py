"""Measures a model by watching an ordinary run of it: the run is exact and costs no evaluation more."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...calibration.recording import (
    Obstacle,
    Recording,
    Sketch,
    UnmeasurableError,
    chosen_elements,
    chosen_samples,
)
from ...calibration.table import SOURCE, SensitivityTable
from .branches import computation
from .guidance import is_guided
from .model_identity import file_name, fingerprint, loras_digest, readable_name, weights_digest
from .prompts import NEGATIVE, POSITIVE, Prompts
from .sampling import raw_output, shares_of
from .table_sampling import describe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Looked:
    """One prompt's latent `x` and output `denoised` at the chosen elements, `[samples, n]`."""

    x: Tensor
    denoised: Tensor


@dataclass(slots=True)
class Measuring:
    """Watches one run's computed evaluations; `spoiled` says why it can't be measured.

    Which output is the positive prompt's and which the negative's is told by the guider's own conds, in all
    calls of an evaluation. Each prompt's first counts: further ones are guidance such as SLG. Whatever goes
    wrong here never reaches the run.
    """

    model_sampling: Any
    model: Any
    prompts: Prompts
    guided: bool
    elements: Tensor | None = None
    spoiled: Obstacle | None = None
    recording: Recording = field(default_factory=Recording)
    _now: dict[str, _Looked] = field(default_factory=dict)
    _passed: bool = False
    _seen: dict[str, Hashable] = field(default_factory=dict)
    _twins: list[Any] = field(default_factory=list)
    _shape: tuple[int, ...] = ()
    _steps: int = 0
    _masked: bool = False
    _on_device: Tensor | None = None

    @classmethod
    def begin(
        cls,
        guider: Any,
        model_sampling: Any,
        noise: Tensor,
        steps: int,
        mask: Tensor | None,
        why_not: Obstacle | None,
    ) -> Measuring:
        """Prepare to watch a guider's run of about `steps` evaluations.

        `why_not` is why it is known not to serve.
        """
        measuring = cls(
            model_sampling,
            guider.model_patcher,
            Prompts.of(guider),
            is_guided(guider),
            spoiled=why_not,
            _steps=steps,
            _masked=mask is not None,
        )
        if why_not is None:
            with measuring._guarded():  # a mask of a kind that the host may take and we don't know
                measuring.elements = chosen_elements(noise.shape, steps, mask)
                measuring._shape = tuple(noise.shape)
        return measuring

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Spoil the measurement by whatever is raised inside: the run goes on."""
        try:
            yield
        except UnmeasurableError as reason:
            self.spoil(reason.why)
        except Exception as error:  # another pack's tensors may refuse anything
            logger.debug("SenCache: this run can't be measured: %s", error)
            self.spoil(Obstacle.NOT_MEASURABLE)

    def spoil(self, why: Obstacle) -> None:
        """Give up on this run, and free what was kept."""
        self.spoiled = self.spoiled or why
        self.release()

    def release(self) -> None:
        """Free every tensor."""
        self.recording.clear()
        self._now.clear()
        self._on_device = None

    def take(
        self,
        model: Any,
        conds: Sequence[list[dict[str, Any]] | None],
        branches: Sequence[Hashable | None],
        x: Tensor,
        denoised: Sequence[Tensor],
    ) -> None:
        """Take in a computed call of the host's `model`: latent `x` and `denoised` outputs `[B, ...]`."""
        if self.spoiled is not None:
            return
        with self._guarded():
            for name, slot in self.prompts.slots(conds).items():
                if name not in self._now:
                    self._look(name, model, branches[slot], x, denoised[slot])

    def _look(self, name: str, model: Any, branch: Hashable, x: Tensor, denoised: Tensor) -> None:
        if not self._is_ours(model):
            raise UnmeasurableError(Obstacle.OTHER_MODEL)
        first, computes = not self._seen, computation(branch)
        if self._seen.setdefault(name, computes) != computes:
            raise UnmeasurableError(Obstacle.CONDS_CHANGED)
        if first and tuple(x.shape) != self._shape and not self._masked:
            self._shape = tuple(x.shape)  # a context window's, of which the first is measured
            self.elements = chosen_elements(self._shape, self._steps)
        if tuple(x.shape) != self._shape:
            raise UnmeasurableError(Obstacle.SIZE_CHANGED)
        self._now[name] = _Looked(self._chosen(x), self._chosen(denoised))

    def _is_ours(self, model: Any) -> bool:
        """Tell whether the host's model is the run's own, or has its weights: a guider may use two."""
        if model is self.model.model or any(model is twin for twin in self._twins):
            return True
        patcher = getattr(model, "current_patcher", None)
        same = patcher is not None and weights_digest(patcher) == weights_digest(self.model)
        if same:
            self._twins.append(model)
        return same

    def _chosen(self, tensor: Tensor) -> Tensor:
        """Copy the chosen elements where they are: `[samples, n]`."""
        assert self.elements is not None
        if self._on_device is None or self._on_device.device != tensor.device:
            self._on_device = self.elements.to(tensor.device)
        return chosen_samples(tensor.detach()).flatten(1).index_select(1, self._on_device)

    def pass_over(self) -> None:
        """Leave out the current evaluation, of which a part is served and not computed."""
        self._passed = True

    def end_evaluation(self, sigma: float, timestep: float) -> None:
        """Record what the evaluation's calls have shown."""
        now, passed = dict(self._now), self._passed
        self._now.clear()
        self._passed = False
        if passed:
            self.recording.pass_by()
        elif self.spoiled is None:
            with self._guarded():
                self._record(now, sigma, timestep)

    def _record(self, now: dict[str, _Looked], sigma: float, timestep: float) -> None:
        if POSITIVE not in now:
            raise UnmeasurableError(Obstacle.UNKNOWN_GUIDER)
        looked = [now[name] for name in (POSITIVE, NEGATIVE) if name in now]
        kept = torch.stack([tensor for one in looked for tensor in (one.x, one.denoised)])
        held = kept.to("cpu", torch.float32)  # at once: the device is waited for once an evaluation
        at = torch.full((held.shape[1],), sigma)
        outputs = tuple(
            raw_output(self.model_sampling, at, denoised, x)
            for x, denoised in zip(held[::2], held[1::2], strict=True)
        )
        place = self.model_sampling.calculate_input(at, held[0])
        self.recording.add(Sketch(sigma, timestep, place, outputs))

    def table(self, cfg: float | None, steps: int, sampler: str) -> SensitivityTable:
        """Return what was measured of the model; raises UnmeasurableError where it could not be."""
        if self.spoiled is not None:
            raise UnmeasurableError(self.spoiled)
        if self.guided and self.recording.branches == 1:  # no guided run would find that table
            raise UnmeasurableError(Obstacle.UNKNOWN_GUIDER)
        model = self.model
        metadata: dict[str, str] = {
            "fingerprint": fingerprint(model),
            "weights": weights_digest(model),
            "loras": loras_digest(model),
            "file": file_name(model)[:255],
            "model": readable_name(model),
            **describe(model),
            "source": SOURCE,
            "sampler": sampler,
            "steps": str(steps),
            "cfg": f"{1.0 if cfg is None else cfg:g}",
            "latent_shape": "x".join(map(str, self._shape[1:])),
        }
        return self.recording.table(metadata, self._shares)

    def _shares(self, sigma: float) -> tuple[float, float]:
        """Return the shares of the clean latent and of the noise in what the network gets."""
        at = torch.full((1,), sigma)
        scale = float(self.model_sampling.calculate_input(at, torch.ones(1, 1)))
        signal, noise = shares_of(self.model_sampling, at)
        return signal * scale, noise * scale
