"""A network whose output bends as its sigma falls, the table that knows it, and what every plan of it errs.

The output does not depend on the latent; it has four elements, so that its rms is half its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sencache.caching import tuned
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.planning.points import RunPoints
from sencache.caching.policy import Policy
from sencache.caching.rules import policy_for
from sencache.caching.run import SamplingRun
from sencache.calibration.modes import from_outputs
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import EVERYWHERE, begin, points_at
from torch import Tensor

TABLES = Path(__file__).resolve().parent.parent / "tables"
STEPS = 9
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
TIMES = [1000 * sigma for sigma in SIGMAS]
POINTS = points_at(SIGMAS, TIMES)
Columns = np.ndarray[Any, np.dtype[np.float64]]


def curve(sigma: float) -> Tensor:
    """Return an output `[1, 4]` that bends more and more."""
    return torch.tensor([[math.sin(3 * sigma), math.cos(5 * sigma**2), sigma**3, 1.0]])


def table_of(
    output: Callable[[float], Tensor] = curve, sigmas: Sequence[float] = tuple(SIGMAS), **rows: float
) -> SensitivityTable:
    """Return a table that measured an output at some sigmas, and answers the same rows everywhere."""
    values = {"latent_sensitivity": 1.0, "time_sensitivity": 0.0, **rows}
    modes = from_outputs([1000 * sigma for sigma in sigmas], [[output(sigma)] for sigma in sigmas])
    flat = {name: torch.full((1, 2), value) for name, value in values.items()}
    return SensitivityTable(torch.tensor([1000.0, 0.0]), torch.tensor([1.0, 0.0]), flat, {}, modes)


def policy(
    table: SensitivityTable, zones: Zones = EVERYWHERE, points: RunPoints = POINTS, **settings: Any
) -> Policy:
    """Return the policy that settings get for a run."""
    return policy_for(SenCacheConfig(**settings), zones, table, points)


def planned_run(
    table: SensitivityTable, zones: Zones = EVERYWHERE, points: RunPoints = POINTS, **settings: Any
) -> SamplingRun:
    """Return a fresh run whose outputs are extended along the progress of `points_at`."""
    made = policy(table, zones, points, **settings)
    return SamplingRun(made, axis=lambda sigma: 1 - sigma, clock=lambda: 0.0)


def follow(
    run: SamplingRun,
    output: Callable[[float], Tensor] = curve,
    sigmas: Sequence[float] = tuple(SIGMAS),
    latent: Callable[[float], Tensor] = lambda sigma: torch.zeros(1, 4),
) -> dict[float, Tensor]:
    """Evaluate at every sigma, and return the outputs that were served; the decisions stay in the run."""
    served = {}
    for sigma in sigmas:
        if begin(run, latent(sigma), sigma).reuse:
            served[sigma] = run.serve("cond", torch.device("cpu"))
        else:
            run.store("cond", output(sigma))
    return served


OUTPUTS = [curve(sigma)[0].double().numpy() / 2 for sigma in SIGMAS]


def damped_line(outputs: Sequence[Columns], points: RunPoints, computed: Sequence[int], step: int) -> Columns:
    """Return what is served at a step: as much of the line through two outputs as fits the curve best."""
    last = outputs[computed[-1]]
    if len(computed) < 2:
        return last
    first, second = (points.progress[one] for one in computed[-2:])
    rise = (last - outputs[computed[-2]]) * (points.progress[step] - second) / (second - first)
    best = float((outputs[step] - last) @ rise / (rise @ rise))
    return last + min(max(best, 0.0), tuned.MAX_DAMPING) * rise


def error_of(
    computed: Sequence[int],
    corrects: bool,
    outputs: Sequence[Columns] = tuple(OUTPUTS),
    points: RunPoints = POINTS,
    serve: Callable[..., Columns] = damped_line,
    remembers: bool | None = None,
    surprises: Sequence[float] | None = None,
) -> float:
    """Return a plan's squared error straight from the definition, one window after the other.

    `remembers` tells whether more than the last output is extended, by default where that `corrects`. Each
    window errs by as much more as `surprises` has it at its start.
    """
    total, steps = 0.0, len(outputs)
    for index, (last, end) in enumerate(zip(computed, [*computed[1:], steps], strict=True)):
        known = computed[: index + 1] if (corrects if remembers is None else remembers) else [last]
        nodes = [*known[-2:], end]
        served, missed = np.zeros_like(outputs[0]), np.zeros_like(outputs[0])
        for step in range(last + 1, end):
            share = points.weights[step] * (1 + tuned.EARLY_AMPLIFICATION * (1 - points.progress[step]))
            served += share * (outputs[step] - serve(outputs, points, known, step))
            if end < steps:
                times = [points.progress[node] for node in nodes]
                through = np.polyfit(times, [outputs[node] for node in nodes], len(nodes) - 1)
                missed += share * (outputs[step] - np.polyval(through, points.progress[step]))
        lasting = tuned.LASTING_SHARE if corrects and end < steps else 1.0
        square = lasting**2 * float(served @ served) + (float(missed @ missed) if corrects else 0.0)
        total += square * (1.0 if surprises is None else surprises[last]) ** 2
    return total
