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
    `amplification [K]` is what the rest of the sampling makes of a change that a step leaves in the latent.
    `evaluations` are the (sigma, model time) at which the sampler really evaluates, in its order; where they
    are empty it evaluates once at each of the sigmas, or, where it is `adaptive`, somewhere between the first
    and the last of them. `noise_moves[j][i]` is how far (rms, model-input space) noise that the sampler adds
    moves the latent from evaluation i to j, `[E, E]`; None where it adds none.
    `noise_misses[j][i]` is what of the output (rms) at step j the noise added since step i makes, which no
    forecast knows, `[K, K]`; None where none is added.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    progress: tuple[float, ...]
    weights: tuple[float, ...]
    noise: tuple[float, ...]
    cfg: float
    amplification: tuple[float, ...] = ()
    error_gain: float = 1.0
    evaluations: tuple[tuple[float, float], ...] = ()
    noise_moves: Array | None = field(default=None, compare=False)
    noise_misses: Array | None = field(default=None, compare=False)
    adaptive: bool = False

    @property
    def importance(self) -> Array:
        """How much a plan minds an error at each step, `[K]`: early ones are amplified."""
        early = 1 - np.asarray(self.progress)
        return np.asarray(self.weights) * (1 + tuned.EARLY_AMPLIFICATION * early)

    @property
    def effect(self) -> Array:
        """What an error at each step is predicted to leave in the finished latent (rms), `[K]`."""
        return np.multiply(self.weights, self.amplification or 1.0)

    def amplified(self, error: float) -> float:
        """Return the predicted error (rms) with the run's sampler for one with Euler's method (ours).

        The more a multistep sampler makes of an error, the more clips end as another one after a small error:
        small errors count for more, and none for more than another clip.
        """
        pull = 1 - self.error_gain**-tuned.SAMPLER_PULL
        return error * (tuned.ANOTHER_CLIP / error) ** pull if 0 < error < tuned.ANOTHER_CLIP else error

    @property
    def correctable(self) -> bool:
        """Whether this run's sampler stands a correction of what reused evaluations lacked (ours).

        Multistep samplers extrapolate the jump between corrected and computed outputs, the further the longer
        their steps are, and a hard clip then ends up a different one.
        """
        steps = np.diff(self.progress)
        return len(steps) == 0 or (self.error_gain - 1) * float(steps.mean()) <= tuned.MOST_CORRECTED_GAIN

    @property
    def arrivals(self) -> tuple[tuple[float, float], ...]:
        """Every evaluation's sigma and model time, in the sampler's order."""
        return self.evaluations or tuple(zip(self.sigmas, self.timesteps, strict=True))

    @property
    def counts(self) -> bool:
        """Whether it is known what an error at each step does to the result.

        It is not where the latent holds no noise, as in an inversion or after a leading sigma of 0.
        """
        finite = np.isfinite(self.weights).all() and np.isfinite(self.amplification).all()
        return bool(finite and np.isfinite(self.noise).all())

    @property
    def descends(self) -> bool:
        """Whether sampling comes further with every step, as a plan needs it."""
        return len(self.progress) > 0 and bool((np.diff(self.progress) > 0).all())


def step_weights(signal: Array, noise: Array, output_gain: Array) -> Array:
    """Return what a change of the output at each step changes in the finished latent, `[K]` (equation 1).

    `signal [K+1]` and `noise [K+1]` are the shares of clean latent and noise in the latent at every sigma,
    `output_gain [K]` the change of the denoised latent per change of the output. A step goes a part of the
    way to the denoised latent; the change is counted in latents of unit variance. A step from a latent that
    holds no noise has no weight that is a number.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        part = signal[1:] - signal[:-1] * noise[1:] / noise[:-1]
    return np.asarray(np.abs(output_gain * part) / np.hypot(signal[1:], noise[1:]))


def amplification_of(signal: Array, noise: Array, variance: float) -> Array:
    """Return what the rest of the sampling makes of a change in the latent, `[K]` (equation 1; ours).

    `signal [K]` and `noise [K]` are the shares of clean latent and noise after each step. A direction in
    which clean latents have this `variance` is in the latent with variance `signal^2 variance + noise^2`, and
    the sampling turns that into `variance`: it stretches the direction, and a change in it. Outputs change,
    and forecasts err, in directions of large variance. Per rms change in latents of unit variance.
    """
    stretched = np.sqrt(variance / (signal**2 * variance + noise**2))
    return np.asarray(stretched * np.hypot(signal, noise))
