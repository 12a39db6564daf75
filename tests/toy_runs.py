"""A linear network whose sensitivities are known, its tables, and an Euler sampler that may reuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import Space
from sencache.caching.planning.points import RunPoints
from sencache.caching.policy import Decision
from sencache.caching.rules import policy_for
from sencache.caching.run import SamplingRun
from sencache.calibration.table import SensitivityTable
from torch import Tensor

JOINT = {"rule": "joint", "max_reuse": 10}
EVERYWHERE = Zones(start_sigma=math.inf, end_sigma=-1.0, strict_sigma=math.inf)
NOWHERE = RunPoints((), (), (), (), (), cfg=1.0)  # rules that decide by epsilon plan nothing


def flat_table(**values: float) -> SensitivityTable:
    """Return a table that answers the same at every model time."""
    rows = {name: torch.full((1, 2), value) for name, value in values.items()}
    return SensitivityTable(torch.tensor([1000.0, 0.0]), torch.tensor([1.0, 0.0]), rows)


def run_of(table: SensitivityTable, zones: Zones = EVERYWHERE, clock=lambda: 0.0, **settings) -> SamplingRun:
    """Return a fresh run with the given settings; the joint rule unless they name another."""
    config = SenCacheConfig(**{**JOINT, **settings})
    return SamplingRun(policy_for(config, zones, table, NOWHERE), config.cache_device, clock=clock)


def points_at(sigmas: Sequence[float], timesteps: Sequence[float], cfg: float = 1.0) -> RunPoints:
    """Describe Euler steps of a flow whose schedule has no shift, ending at 0."""
    ends = [*sigmas[1:], 0.0]
    weights = tuple(sigma - end for sigma, end in zip(sigmas, ends, strict=True))
    noise = tuple(sigma / math.hypot(1 - sigma, sigma) for sigma in sigmas)
    return RunPoints(tuple(sigmas), tuple(timesteps), tuple(1 - s for s in sigmas), weights, noise, cfg)


def begin(run: SamplingRun, x: Tensor, sigma: float) -> Decision:
    """Begin an evaluation of a flow model: its model time is 1000 times sigma."""
    sigmas = torch.full((len(x),), sigma)
    return run.begin(x, sigmas, 1000 * sigmas)


@dataclass
class LinearNetwork:
    """f(x, t) = gain * x + slope * t: latent sensitivity |gain|, time sensitivity |slope|."""

    gain: float = -0.5
    slope: float = 0.001
    evaluations: int = 0

    def __call__(self, x: Tensor, timestep: float) -> Tensor:
        """Return the raw output of latent `x [B, ...]`, and count the evaluation."""
        self.evaluations += 1
        return self.gain * x + self.slope * timestep


def euler(network, x: Tensor, sigmas: list[float], run: SamplingRun | None = None) -> Tensor:
    """Sample from the first sigma to the last, with reuse where a run decides so."""
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        if run is not None and begin(run, x, sigma).reuse:
            velocity = run.serve("cond", x.device)
            if run.space is Space.DENOISED:
                velocity = (x - velocity) / sigma
        else:
            velocity = network(x, 1000 * sigma)
            if run is not None:
                run.store("cond", velocity if run.space is Space.RAW else x - sigma * velocity)
        x = x + (following - sigma) * velocity
    return x
