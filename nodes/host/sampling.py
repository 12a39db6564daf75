"""The host's sampling in our terms: raw outputs, progress, zones, and where a run will evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...caching import tuned
from ...caching.config import SenCacheConfig, Zones
from ...caching.planning.points import Array, RunPoints, amplification_of, step_weights

if TYPE_CHECKING:
    from .sampler_response import SamplerResponse

_PROGRESS_KNOTS = 256


def raw_output(model_sampling: Any, sigma: Tensor, denoised: Tensor, x: Tensor) -> Tensor:
    """Recover the network's raw output `[B, ...]` from `denoised` and the latent `x` that the sampler holds.

    Every parameterisation's `denoised` is affine in the raw output, so two probes of the host's own formula
    suffice.
    """
    ones = x.new_ones([x.shape[0]] + [1] * (x.ndim - 1))
    scale = model_sampling.calculate_denoised(sigma, ones, torch.zeros_like(ones))
    offset = model_sampling.calculate_denoised(sigma, x.new_zeros(1).expand_as(x), x)
    return torch.sub(denoised, offset).div_(scale)


def zones_of(model_sampling: Any, config: SenCacheConfig) -> Zones:
    """Place the settings' percentages in sigma; 0 and 1 mean everything, whatever the schedule."""

    def sigma_at(percent: float) -> float:
        return float(model_sampling.percent_to_sigma(percent))

    return Zones(
        start_sigma=float("inf") if config.start_percent <= 0 else sigma_at(config.start_percent),
        end_sigma=-1.0 if config.end_percent >= 1 else sigma_at(config.end_percent),
        strict_sigma=float("inf") if config.strict_percent <= 0 else sigma_at(config.strict_percent),
    )


def progress_of(model_sampling: Any) -> Callable[[float], float]:
    """Return how far sampling has come at a sigma, 0 to 1: the inverse of the host's percent_to_sigma.

    Outputs are extended along this axis: on it a schedule's steps are about equally long, whatever the shift.
    """
    percents = np.linspace(0, 1, _PROGRESS_KNOTS + 1)
    inner = [float(model_sampling.percent_to_sigma(float(percent))) for percent in percents[1:-1]]
    sigmas = np.array([max(float(model_sampling.sigma_max), inner[0]), *inner, 0.0])
    return lambda sigma: float(np.interp(sigma, sigmas[::-1], percents[::-1]))


def shares_of(model_sampling: Any, sigma: Tensor) -> tuple[float, float]:
    """Return how much of the clean latent and of the noise is in a sampler's latent at `sigma`."""
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    signal = model_sampling.noise_scaling(sigma, nothing.clone(), one.clone())
    return float(signal), float(model_sampling.noise_scaling(sigma, one.clone(), nothing.clone()))


def points_of(
    model_sampling: Any, sigmas: Tensor, cfg: float, response: SamplerResponse | None = None
) -> RunPoints:
    """Describe a run over `sigmas [K+1]` to the planner, in the host's terms; without a response Euler's."""
    at = sigmas.detach().float().cpu()
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    signal, noise = np.array([shares_of(model_sampling, sigma) for sigma in at]).T
    gain = [float(model_sampling.calculate_denoised(sigma, one, nothing)) for sigma in at[:-1]]
    moves = None if response is None else response.noise_moves
    axis = progress_of(model_sampling)
    progress = np.array([axis(sigma) for sigma in at[:-1].tolist()])
    return RunPoints(
        sigmas=tuple(at[:-1].tolist()),
        timesteps=tuple(model_sampling.timestep(sigmas[:-1]).float().tolist()),
        progress=tuple(progress.tolist()),
        weights=tuple(step_weights(signal, noise, np.array(gain)).tolist()),
        noise=tuple((noise / np.hypot(signal, noise))[:-1].tolist()),
        cfg=cfg,
        amplification=tuple(amplification_of(signal[1:], noise[1:], tuned.VARIANCE).tolist()),
        error_gain=1.0 if response is None else response.error_gain,
        evaluations=() if response is None else _with_times(model_sampling, response.evaluations),
        noise_moves=moves,
        noise_misses=None if moves is None else _misses(moves, response.evaluations, at[:-1].tolist(), gain),
        adaptive=response is not None and response.adaptive,
    )


def _misses(
    moves: Array, evaluations: Sequence[float], sigmas: Sequence[float], gain: Sequence[float]
) -> Array:
    """Return what noise changes in the output from step to step, `[K, K]`, by how it moves the latent.

    `moves [E, E]` belong to the sigmas `evaluations`, of which each step's first counts; `gain [K]` is the
    change of the denoised latent per change of the output.
    """
    first = [int(np.abs(np.asarray(evaluations) - sigma).argmin()) for sigma in sigmas]
    answers = tuned.NOISE_ANSWER * moves[np.ix_(first, first)]
    return np.asarray(answers / np.abs(np.asarray(gain))[:, None])


def _with_times(model_sampling: Any, sigmas: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    if not sigmas:
        return ()
    times = model_sampling.timestep(torch.tensor(sigmas)).float().tolist()
    return tuple(zip(sigmas, times, strict=True))
