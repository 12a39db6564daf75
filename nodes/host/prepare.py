"""Makes a run's policy from what the host says of it: the run, the panel and Calibrate all ask here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.planning.points import RunPoints
from ...caching.policy import Off, Policy
from ...caching.remarks import remarks
from ...caching.rules import policy_for
from ...calibration.table import SensitivityTable
from .guidance import guidance_scale
from .sampler_response import SamplerResponse, sampler_response
from .sampling import points_of, progress_of, zones_of
from .table_sampling import number_of


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What a run needs before its first evaluation; `notes` are what a person should know of it."""

    policy: Policy
    model_sampling: Any
    axis: Callable[[float], float]
    notes: tuple[Note, ...]


def prepare(
    config: SenCacheConfig, table: SensitivityTable, guider: Any, sampler: Any, sigmas: Tensor
) -> PreparedRun:
    """Prepare a guider's run over `sigmas [K+1]`; raises ValueError where the table lacks what it needs."""
    model_sampling = guider.model_patcher.get_model_object("model_sampling")
    axis = progress_of(model_sampling)
    if not config.reuses:
        return PreparedRun(Off(config), model_sampling, axis, ())
    response = sampler_response(sampler, sigmas, model_sampling, guider.model_patcher)
    points = run_points(table, model_sampling, sigmas, guidance_scale(guider), response)
    policy = policy_for(config, zones_of(model_sampling, config), table, points)
    notes = remarks(config, policy, table, points)
    return PreparedRun(policy, model_sampling, axis, notes)


def run_points(
    table: SensitivityTable,
    model_sampling: Any,
    sigmas: Tensor,
    cfg: float | None,
    response: SamplerResponse,
) -> RunPoints:
    """Describe a run's evaluations; in place of an unknown guidance the calibrated one is taken."""
    calibrated = number_of(table, "cfg", 1.0, low=0.0)
    cfg = calibrated if cfg is None else cfg
    return points_of(model_sampling, sigmas, cfg, response)
