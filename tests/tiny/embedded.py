"""Samples the tiny Wan model without ComfyUI: Euler steps over ComfyUI's schedule, with or without reuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import Space
from sencache.caching.planning.points import RunPoints, step_weights
from sencache.caching.record import RunRecord
from sencache.caching.rules import policy_for
from sencache.caching.run import SamplingRun
from sencache.calibration.estimator import TrajectoryProbe
from sencache.calibration.table import SensitivityTable
from sencache.demo.clip import prompt_embedding
from torch import Tensor
from wan_model import TinyWan

MODEL = Path(__file__).resolve().parents[2] / "demo" / "tiny_wan.safetensors"
SHIFT = 8.0  # what ComfyUI gives Wan 2.1 T2V
LATENT_SHAPE = (1, 16, 8, 12, 12)
BRANCHES = ("positive", "negative")


def shifted(uniform: float) -> float:
    """Return the sigma at a share of the noise, 1 to 0, under the model's shift."""
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


def progress(sigma: float) -> float:
    """Return how far sampling has come at a sigma, 0 to 1; the inverse of `shifted`."""
    return 1 - sigma / (SHIFT - (SHIFT - 1) * sigma)


def schedule(steps: int) -> list[float]:
    """Return ComfyUI's "simple" schedule: `steps + 1` sigmas from 1 to 0."""
    return [shifted((1000 - int(step * 1000 / steps)) / 1000) for step in range(steps)] + [0.0]


def zones(config: SenCacheConfig) -> Zones:
    """Place the settings' percentages in sigma as ComfyUI's flow models do."""

    def sigma_at(percent: float) -> float:
        return shifted(1 - percent)

    return Zones(
        start_sigma=float("inf") if config.start_percent <= 0 else sigma_at(config.start_percent),
        end_sigma=-1.0 if config.end_percent >= 1 else sigma_at(config.end_percent),
        strict_sigma=float("inf") if config.strict_percent <= 0 else sigma_at(config.strict_percent),
    )


def points(steps: int, cfg: float) -> RunPoints:
    """Describe a run's evaluations to the planner, for a flow sampled with Euler steps."""
    sigmas = np.array(schedule(steps))
    axis = np.array([progress(sigma) for sigma in sigmas[:-1]])
    return RunPoints(
        sigmas=tuple(sigmas[:-1].tolist()),
        timesteps=tuple((1000 * sigmas[:-1]).tolist()),
        progress=tuple(axis.tolist()),
        weights=tuple(step_weights(1 - sigmas, sigmas, sigmas[:-1]).tolist()),
        noise=tuple((sigmas / np.hypot(1 - sigmas, sigmas))[:-1].tolist()),
        cfg=cfg,
    )


@dataclass(slots=True)
class Evaluator:
    """Evaluates both branches of a prompt at once; `run` decides and stores where one is given."""

    model: TinyWan
    prompt: int
    cfg: float
    run: SamplingRun | None = None

    def context(self) -> Tensor:
        """Return the prompt's and the empty prompt's embedding, `[2, 8, 4096]`."""
        return torch.cat([prompt_embedding(self.prompt), prompt_embedding(0)])

    def branches(self, x: Tensor, sigma: float) -> list[Tensor]:
        """Return the raw output of both branches for a latent `x [1, 16, T, H, W]`."""
        timestep = torch.tensor([1000 * sigma])
        if self.run is not None:
            decision = self.run.begin(x, torch.tensor([sigma]), timestep)
            if decision.reuse:
                return [self._served(self.run, branch, x, sigma) for branch in BRANCHES]
        outputs = list(self.model(x.repeat(2, 1, 1, 1, 1), timestep.repeat(2), self.context()).chunk(2))
        if self.run is not None:
            raw = self.run.space is Space.RAW
            for branch, output in zip(BRANCHES, outputs, strict=True):
                self.run.store(branch, output if raw else x - sigma * output)
        return outputs

    def _served(self, run: SamplingRun, branch: str, x: Tensor, sigma: float) -> Tensor:
        """Return a branch's forecast raw output."""
        output = run.serve(branch, x.device)
        return output if run.space is Space.RAW else (x - output) / sigma

    def velocity(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the guided velocity and the positive and negative branch's own, all of `x`'s shape."""
        positive, negative = self.branches(x, sigma)
        return negative + self.cfg * (positive - negative), positive, negative


def noise(seed: int) -> Tensor:
    """Return the noise of a seed, `[1, 16, 8, 12, 12]`."""
    return torch.randn(LATENT_SHAPE, generator=torch.Generator().manual_seed(seed))


def euler(
    evaluator: Evaluator, x: Tensor, sigmas: list[float]
) -> Iterator[tuple[Tensor, float, tuple[Tensor, Tensor], Tensor]]:
    """Sample, yielding every step's latent, sigma, both branches' velocities and next latent."""
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        velocity, *branches = evaluator.velocity(x, sigma)
        stepped = x + (following - sigma) * velocity
        yield x, sigma, (branches[0], branches[1]), stepped
        x = stepped


@torch.no_grad()
def sample(
    model: TinyWan,
    prompt: int,
    seed: int,
    steps: int,
    cfg: float = 5.0,
    config: SenCacheConfig | None = None,
    table: SensitivityTable | None = None,
) -> tuple[Tensor, RunRecord | None]:
    """Sample one clip; with settings and a table it reuses, and the run's record comes back too."""
    run = None
    if config is not None and table is not None:
        policy = policy_for(config, zones(config), table, points(steps, cfg))
        run = SamplingRun(policy, axis=progress)
    x = noise(seed)
    for _, _, _, x in euler(Evaluator(model, prompt, cfg, run), x, schedule(steps)):
        pass
    return x, None if run is None else RunRecord(run.policy.config, run.finish())


@torch.no_grad()
def calibrate_sample(
    model: TinyWan, prompt: int, seed: int, steps: int, cfg: float, on_evaluation: Callable[[], None]
) -> TrajectoryProbe:
    """Measure along one trajectory of the model's own; `on_evaluation` is called after each evaluation."""
    evaluator = Evaluator(model, prompt, cfg)
    context = evaluator.context()[:1]

    def denoise(x: Tensor, timestep: float) -> Tensor:
        output: Tensor = model(x, torch.tensor([timestep]), context)
        on_evaluation()
        return output

    probe = TrajectoryProbe(denoise)
    for x, sigma, branches, _ in euler(evaluator, noise(seed), schedule(steps)):
        on_evaluation()
        probe.observe(x, sigma, 1000 * sigma, *branches)
    return probe
