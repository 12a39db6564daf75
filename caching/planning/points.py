"""Where a run will evaluate, and what a change of the output at each step changes in the finished latent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import tuned

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class RunPoints:
    """Where a run will evaluate.

    `sigmas [K]` and model times `timesteps [K]`, descending; `progress [K]`, the axis along which outputs are
    extended; `weights [K]`, the rms change of the finished latent per rms change of an output, if the outputs
    after it stay as they are; `noise [K]`, the share of noise in a latent of unit variance, 1 to 0; `cfg` is
    the guidance; `error_gain`, from 1 up, how much more than Euler's method the sampler makes of an error.
    `evaluations` are the (sigma, model time) at which the sampler really evaluates, in its order; where they
    are empty it evaluates once at each of the sigmas. `noise_moves[j][i]` is how far (rms, model-input space)
    noise that the sampler adds moves the latent from evaluation i to j, `[E, E]`; None where it adds none.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    progress: tuple[float, ...]
    weights: tuple[float, ...]
    noise: tuple[float, ...]
    cfg: float
    error_gain: float = 1.0
    evaluations: tuple[tuple[float, float], ...] = ()
    noise_moves: Array | None = field(default=None, compare=False)

    @property
    def importance(self) -> Array:
        """What an error at each step leaves in the finished latent, `[K]`: early ones are amplified."""
        early = 1 - np.asarray(self.progress)
        return np.asarray(self.weights) * (1 + tuned.EARLY_AMPLIFICATION * early)

    @property
    def arrivals(self) -> tuple[tuple[float, float], ...]:
        """Every evaluation's sigma and model time, in the sampler's order."""
        return self.evaluations or tuple(zip(self.sigmas, self.timesteps, strict=True))

    @property
    def descends(self) -> bool:
        """Whether sampling comes further with every step, as a plan needs it."""
        return len(self.progress) > 0 and bool((np.diff(self.progress) > 0).all())


def step_weights(signal: Array, noise: Array, output_gain: Array) -> Array:
    """Return what a change of the output at each step changes in the finished latent, `[K]` (equation 1).

    `signal [K+1]` and `noise [K+1]` are the shares of clean latent and noise in the latent at every sigma,
    `output_gain [K]` the change of the denoised latent per change of the output. A step goes a part of the
    way to the denoised latent; the change is counted in latents of unit variance.
    """
    part = signal[1:] - signal[:-1] * noise[1:] / noise[:-1]
    return np.asarray(np.abs(output_gain * part) / np.hypot(signal[1:], noise[1:]))
