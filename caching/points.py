"""Where a run will evaluate, and what a change of the output at each step changes in the finished latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

EARLY_AMPLIFICATION = 3.0


@dataclass(frozen=True, slots=True)
class RunPoints:
    """Where a run will evaluate.

    `sigmas [K]` and model times `timesteps [K]`, descending; `progress [K]`, the axis along which outputs are
    extended; `weights [K]`, the rms change of the finished latent per rms change of an output, if the outputs
    after it stay as they are; `noise [K]`, the share of noise in a latent of unit variance, 1 to 0; `cfg` is
    the guidance; `swing`, from 1 up, how much more than Euler's method the sampler makes of an error.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    progress: tuple[float, ...]
    weights: tuple[float, ...]
    noise: tuple[float, ...]
    cfg: float
    swing: float = 1.0

    @property
    def importance(self) -> Array:
        """What an error at each step leaves in the finished latent, `[K]`: early ones are amplified.

        By how much was measured (`tests/benchmarks/method.md`).
        """
        return np.asarray(self.weights) * (1 + EARLY_AMPLIFICATION * (1 - np.asarray(self.progress)))


def step_weights(signal: Array, noise: Array, output_gain: Array) -> Array:
    """Return what a change of the output at each step changes in the finished latent, `[K]`.

    `signal [K+1]` and `noise [K+1]` are the shares of clean latent and noise in the latent at every sigma,
    `output_gain [K]` the change of the denoised latent per change of the output. A step goes a part of the
    way to the denoised latent; the change is counted in latents of unit variance.
    """
    part = signal[1:] - signal[:-1] * noise[1:] / noise[:-1]
    return np.asarray(np.abs(output_gain * part) / np.hypot(signal[1:], noise[1:]))
