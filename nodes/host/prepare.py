"""Makes a run's policy from what the host says of it: the run, the panel and Calibrate all ask here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.planning.points import RunPoints
from ...caching.policy import ComputeAll, Policy, Reason
from ...caching.remarks import remarks, unmeasured
from ...caching.rules import policy_for
from ...caching.simulate import ExpectedRun, simulate
from ...calibration.recording import Obstacle, is_recorded
from ...calibration.table import SensitivityTable
from .guidance import guidance_scale, is_guided
from .prompts import Prompts
from .ranks import Ranks
from .sampler_response import SamplerResponse, sampler_response
from .sampling import points_of, progress_of, zones_of
from .source import TableSource
from .table_sampling import number_of


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What a run needs before its first evaluation.

    `notes` are what a person should know of it, `measures` whether it measures what its `table` (None for a
    first run) has not yet, and `why_not` what keeps it from that, None where nothing does. `noiseless` is its
    sampler if it was seen to add no noise. With a `foreign` table, of another model, nothing is predicted.
    `ranks` are those that have to agree on every reuse.
    """

    policy: Policy
    model_sampling: Any
    axis: Callable[[float], float]
    notes: tuple[Note, ...] = ()
    measures: bool = False
    why_not: Obstacle | None = None
    table: SensitivityTable | None = None
    noiseless: bool = False
    foreign: bool = False
    ranks: Ranks | None = None

    @property
    def before(self) -> tuple[Note, ...]:
        """What a person should know while the run is under way."""
        whole = self.measures and self.why_not is None and self.table is None
        return (Note("measures"),) if whole else ()


def prepare(
    config: SenCacheConfig,
    source: TableSource,
    guider: Any,
    sampler: Any,
    sigmas: Tensor,
    ranks: Ranks | None = None,
) -> tuple[PreparedRun, str]:
    """Prepare a guider's run over `sigmas [K+1]`, alone or with other `ranks`, and name its table.

    Raises ValueError where there is no table and none can be measured, or it lacks what the run needs.
    """
    model_sampling = guider.model_patcher.get_model_object("model_sampling")
    axis = progress_of(model_sampling)
    if not config.reuses:
        return PreparedRun(ComputeAll(config), model_sampling, axis), ""
    response = sampler_response(sampler, sigmas, model_sampling, guider.model_patcher)
    if ranks is not None and response.adaptive:  # ranks with latents of their own would take other steps
        return PreparedRun(ComputeAll(config), model_sampling, axis, (Note("adaptive_ranks"),)), ""
    why_not, noiseless = _obstacle(guider, response), response.noiseless
    choice = source.find(guider, model_sampling.timestep(sigmas[:-1]).float().tolist())
    if choice is None:
        policy: Policy = ComputeAll(config, Reason.MEASURING if why_not is None else Reason.NO_TABLE)
        about = (True, why_not, None, noiseless, False, ranks)
        return PreparedRun(policy, model_sampling, axis, (), *about), ""
    table = choice.table
    points = run_points(table, model_sampling, sigmas, guidance_scale(guider), response)
    policy = policy_for(config, zones_of(model_sampling, config), table, points)
    lacks = unmeasured(table, points) > 0 or points.adaptive
    measures = source.measures and is_recorded(table) and lacks
    # a run that measures says in the end what it has measured, or why not
    notes = (*choice.notes, *remarks(config, policy, table, points, None if measures else False))
    about = (notes, measures, why_not, table, noiseless, choice.foreign, ranks)
    prepared = PreparedRun(policy, model_sampling, axis, *about)
    return prepared, choice.name


def _obstacle(guider: Any, response: SamplerResponse) -> Obstacle | None:
    """Say what is known beforehand to keep a guider's run from measuring, None for nothing."""
    prompts = Prompts.of(guider)
    if not prompts.positive:
        return Obstacle.NO_POSITIVE
    if is_guided(guider) and not prompts.negative:
        return Obstacle.UNKNOWN_GUIDER
    return Obstacle.NOISE_ADDED if response.noise_moves is not None else None


def expected(
    config: SenCacheConfig, table: SensitivityTable, guider: Any, sampler: Any, sigmas: Tensor
) -> ExpectedRun:
    """Say what the next run like this one will do with a table that has just been measured."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    response = sampler_response(sampler, sigmas, sampling, guider.model_patcher)
    points = run_points(table, sampling, sigmas, guidance_scale(guider), response)
    return simulate(policy_for(config, zones_of(sampling, config), table, points), table, points)


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
