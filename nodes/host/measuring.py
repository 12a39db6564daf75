"""Measures a model by watching an ordinary run of it: the run is exact and costs no evaluation more."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...calibration.recording import (
    SOURCE,
    Obstacle,
    Recording,
    Sketch,
    UnmeasurableError,
    chosen_elements,
    chosen_samples,
)
from ...calibration.table import SensitivityTable
from .model_identity import file_name, fingerprint, loras_digest, readable_name, weights_digest
from .sampling import raw_output, shares_of
from .table_sampling import describe

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Measuring:
    """Watches one run's computed evaluations; `spoiled` says why it can't be measured.

    Of every evaluation the first call counts, in its first two slots: further calls are guidance such as SLG.
    Whatever goes wrong here never reaches the run.
    """

    model_sampling: Any
    elements: Tensor | None = None
    spoiled: Obstacle | None = None
    recording: Recording = field(default_factory=Recording)
    _seen: dict[int, Hashable] = field(default_factory=dict)
    _shape: tuple[int, ...] = ()
    _steps: int = 0
    _masked: bool = False
    _on_device: Tensor | None = None

    @classmethod
    def begin(
        cls, model_sampling: Any, noise: Tensor, steps: int, mask: Tensor | None, why_not: Obstacle | None
    ) -> Measuring:
        """Prepare to watch a run of about `steps` evaluations; `why_not` is why it is known not to serve."""
        measuring = cls(model_sampling, spoiled=why_not, _steps=steps, _masked=mask is not None)
        if why_not is None:
            try:
                measuring.elements = chosen_elements(noise.shape, steps, mask)
                measuring._shape = tuple(noise.shape)
            except UnmeasurableError as reason:
                measuring.spoil(reason.why)
            except Exception as error:  # a mask of a kind that the host may take and we don't know
                logger.debug("SenCache: this run can't be measured: %s", error)
                measuring.spoil(Obstacle.NOT_MEASURABLE)
        return measuring

    def spoil(self, why: Obstacle) -> None:
        """Give up on this run, and free what was kept."""
        self.spoiled = self.spoiled or why
        self.release()

    def release(self) -> None:
        """Free every tensor."""
        self.recording.clear()
        self._on_device = None

    def pass_by(self) -> None:
        """Take note of an evaluation that was reused."""
        self.recording.pass_by()

    def take(
        self,
        branches: Sequence[Hashable | None],
        sigma: float,
        timestep: float,
        x: Tensor,
        denoised: Sequence[Tensor],
    ) -> None:
        """Take in the first call of a computed evaluation: latent `x` and `denoised` outputs `[B, ...]`."""
        if self.spoiled is not None:
            return
        try:
            self._take(branches, sigma, timestep, x, denoised)
        except UnmeasurableError as reason:
            self.spoil(reason.why)
        except Exception as error:  # the run goes on, whatever another pack's tensors can't do
            logger.debug("SenCache: this run can't be measured: %s", error)
            self.spoil(Obstacle.NOT_MEASURABLE)

    def _take(
        self,
        branches: Sequence[Hashable | None],
        sigma: float,
        timestep: float,
        x: Tensor,
        denoised: Sequence[Tensor],
    ) -> None:
        first = not self._seen
        for slot, branch in enumerate(branches[:2]):
            if branch is not None and self._seen.setdefault(slot, branch) != branch:
                raise UnmeasurableError(Obstacle.CONDS_CHANGED)
        if first and tuple(x.shape) != self._shape and not self._masked:
            self._shape = tuple(x.shape)  # a context window's, of which the first is measured
            self.elements = chosen_elements(self._shape, self._steps)
        if tuple(x.shape) != self._shape:
            raise UnmeasurableError(Obstacle.SIZE_CHANGED)
        if branches[0] is None:
            raise UnmeasurableError(Obstacle.NO_POSITIVE)
        used = [one for one, branch in zip(denoised[:2], branches[:2], strict=False) if branch is not None]
        held = self._sketched([x, *used])
        at = torch.full((held.shape[1],), sigma)
        outputs = [raw_output(self.model_sampling, at, one, held[0]) for one in held[1:]]
        place = self.model_sampling.calculate_input(at, held[0])
        self.recording.add(Sketch(sigma, timestep, place, tuple(outputs)))

    def _sketched(self, tensors: list[Tensor]) -> Tensor:
        """Copy the chosen elements into main memory at once: `[len(tensors), samples, n]`, float32."""
        assert self.elements is not None
        if self._on_device is None or self._on_device.device != tensors[0].device:
            self._on_device = self.elements.to(tensors[0].device)
        few = [chosen_samples(one.detach()).flatten(1) for one in tensors]
        chosen = [one.index_select(1, self._on_device) for one in few]
        return torch.stack(chosen).to("cpu", torch.float32)

    def table(self, model: Any, cfg: float | None, steps: int, sampler: str) -> SensitivityTable:
        """Return what was measured of a model; raises UnmeasurableError for one that can't be."""
        if self.spoiled is not None:
            raise UnmeasurableError(self.spoiled)
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
