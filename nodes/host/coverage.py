"""Where a calibration evaluates beside its sampler: so that a table serves other steps, samplers and shifts.

A sampler of few steps leaves wide gaps in time, and none of them reaches the model's smallest sigma. On the
way between two evaluations, and on to both ends of the model's range, the latent is mixed of denoised latent
and noise as the host mixes them (ours).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .sampling import progress_of, shares_of

LEAST_STEPS = 24  # measured at least: the outputs along fewer, longer steps are not those of a finer run
PARTS = 30  # of the sampling's progress: nowhere are the modes measured more coarsely


@dataclass(frozen=True, slots=True)
class Place:
    """A sampler's evaluation: its latent `x [B, ...]`, in the sampler's space, and the denoised one."""

    x: Tensor
    sigma: float
    denoised: Tensor


class Coverage:
    """Mixes the latents that lie between a sampler's evaluations, and between them and the ends."""

    def __init__(self, model_sampling: Any) -> None:
        self._sampling = model_sampling
        self._progress = progress_of(model_sampling)
        self._first, self._last = float(model_sampling.sigma_max), float(model_sampling.sigma_min)

    def progress(self, sigma: float) -> float:
        """Return how far sampling has come at a sigma, 0 to 1."""
        return self._progress(sigma)

    def sigmas_between(self, before: float, after: float) -> list[float]:
        """Return the sigmas missing between two evaluations, descending."""
        start, end = self._progress(before), self._progress(after)
        count = round((end - start) * PARTS)
        inner = np.linspace(start, end, count + 1)[1:-1] if count > 1 else []
        return [float(self._sampling.percent_to_sigma(float(progress))) for progress in inner]

    def sigmas_before(self, first: float) -> list[float]:
        """Return the sigmas missing from the model's largest one to the first evaluation's, descending."""
        if first >= self._first * (1 - 1e-3):
            return []
        return [self._first, *self.sigmas_between(self._first, first)]

    def sigmas_after(self, last: float) -> list[float]:
        """Return the sigmas missing from the last evaluation's to the model's smallest one, descending."""
        if last <= self._last * (1 + 1e-3):
            return []
        return [*self.sigmas_between(last, self._last), self._last]

    def all_sigmas(self, sigmas: Tensor) -> list[float]:
        """Return every sigma missing from a schedule `[K+1]` that ends at 0."""
        own = sigmas[:-1].tolist()
        between = [self.sigmas_between(*pair) for pair in zip(own, own[1:], strict=False)]
        return [*self.sigmas_before(own[0]), *sum(between, []), *self.sigmas_after(own[-1])]

    def mixed(self, sigmas: list[float], one: Place, other: Place) -> Iterator[tuple[float, Tensor]]:
        """Yield each sigma with its latent: on the way from `one` place to the `other`, or beyond both."""
        if not sigmas:
            return
        noises = [self._noise_of(place) for place in (one, other)]
        start, end = self._progress(one.sigma), self._progress(other.sigma)
        for sigma in sigmas:
            share = (self._progress(sigma) - start) / (end - start) if end > start else 0.0
            share = min(max(share, 0.0), 1.0)
            signal, noise = self._shares(sigma)
            denoised = torch.lerp(one.denoised, other.denoised, share)
            yield sigma, signal * denoised + noise * torch.lerp(*noises, share)

    def _noise_of(self, place: Place) -> Tensor:
        signal, noise = self._shares(place.sigma)
        return (place.x - signal * place.denoised) / noise

    def _shares(self, sigma: float) -> tuple[float, float]:
        return shares_of(self._sampling, torch.tensor(sigma))
