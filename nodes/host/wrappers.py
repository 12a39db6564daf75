"""Hooks a sampling run into ComfyUI: the only file that knows its wrappers, options and model_sampling."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.patcher_extension
import numpy as np
import torch
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...caching.config import SenCacheConfig, Zones
from ...caching.plan import doubts, effective, follower, simulate
from ...caching.points import RunPoints, step_weights
from ...caching.record import RunRecord
from ...caching.run import SamplingRun
from ...calibration.table import SensitivityTable
from ..panel.live import LiveRun
from .accelerators import refuse_other_accelerator
from .branches import branch_keys, plain_options
from .guidance import guidance_scale
from .sampler_response import swing
from .table_sampling import number_of

logger = logging.getLogger(__name__)

KEY = "sencache"
MAX_RECORDS = 32
UNPLANNED = (
    "This run could not be planned (the table was measured without output modes, or the sampler's sigmas do "
    "not descend), so the joint rule worked in the plan's place."
)
_PROGRESS_KNOTS = 256
_WRAPPERS = comfy.patcher_extension.WrappersMP
WRAPPER_TYPES = (_WRAPPERS.OUTER_SAMPLE, _WRAPPERS.PREDICT_NOISE, _WRAPPERS.CALC_COND_BATCH)


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


def points_of(model_sampling: Any, sigmas: Tensor, cfg: float, swings: float = 1.0) -> RunPoints:
    """Describe the evaluations of a run over `sigmas [K+1]` to the planner, in the host's own terms."""
    at = sigmas.detach().float().cpu()
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    mixed = [
        [float(model_sampling.noise_scaling(sigma, noise.clone(), clean.clone())) for sigma in at]
        for noise, clean in ((nothing, one), (one, nothing))
    ]
    signal, noise = np.array(mixed)
    gain = [float(model_sampling.calculate_denoised(sigma, one, nothing)) for sigma in at[:-1]]
    axis = progress_of(model_sampling)
    progress = np.array([axis(sigma) for sigma in at[:-1].tolist()])
    return RunPoints(
        sigmas=tuple(at[:-1].tolist()),
        timesteps=tuple(model_sampling.timestep(sigmas[:-1]).float().tolist()),
        progress=tuple(progress.tolist()),
        weights=tuple(step_weights(signal, noise, np.array(gain)).tolist()),
        noise=tuple((noise / np.hypot(signal, noise))[:-1].tolist()),
        cfg=cfg,
        swing=swings,
    )


class RecordSink:
    """The last runs of a patched model, shared by its clones; holds plain values, never tensors."""

    def __init__(self) -> None:
        self.records: deque[RunRecord] = deque(maxlen=MAX_RECORDS)

    def on_model_patcher_clone(self) -> RecordSink:
        """Let clones report to the same place: the sampler often runs on a clone of the patched model."""
        return self


@dataclass(slots=True)
class _HostRun:
    """A run in the host: a class instance, because the host copies dicts and lists at every call."""

    run: SamplingRun
    model_sampling: Any
    live: LiveRun | None = None
    calls: int | None = None  # in this evaluation; None before the first
    first_options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Patch:
    """What Model Patch puts on a model: settings, table, and where runs are reported; no run's state."""

    config: SenCacheConfig
    table: SensitivityTable
    table_name: str
    notes: tuple[str, ...] = ()
    sink: RecordSink = field(default_factory=RecordSink)

    def apply(self, model: Any) -> Any:
        """Return a clone of a ModelPatcher with this patch in place of any earlier one."""
        patched = without_patch(model)
        for wrapper_type, wrapper in zip(
            WRAPPER_TYPES, (self.outer_sample, self.predict_noise, self.calc_cond_batch), strict=True
        ):
            patched.add_wrapper_with_key(wrapper_type, KEY, wrapper)
        patched.set_attachments(KEY, self.sink)
        return patched

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the run its state, and take it away again however the run ends."""
        guider = executor.class_obj
        refuse_other_accelerator("SenCache Model Patch", guider.model_options)
        model_sampling = guider.model_patcher.get_model_object("model_sampling")
        sigmas = args[3] if len(args) > 3 else kwargs["sigmas"]
        sampler = args[2] if len(args) > 2 else kwargs["sampler"]
        cfg = guidance_scale(guider)
        run = self.run_over(model_sampling, sigmas, cfg, sampler, guider.model_patcher)
        cautions = () if cfg is None else doubts(run.config, self.table, cfg)
        options = guider.model_options.setdefault("transformer_options", {})
        live = LiveRun.begin(len(sigmas) - 1)
        options[KEY] = _HostRun(run, model_sampling, live)
        complete = False
        try:
            output = executor(*args, **kwargs)
            complete = True
            return output
        finally:
            options.pop(KEY, None)
            record = self._report(run, complete, cautions)
            if live is not None:
                live.finish(record)

    def run_over(
        self, model_sampling: Any, sigmas: Tensor, cfg: float | None, sampler: Any = None, patcher: Any = None
    ) -> SamplingRun:
        """Make the state of a run over `sigmas [K+1]`, its plan or its epsilon solved for where wished.

        `cfg` is None for guiders with guidance of another kind; then the calibrated one is taken.
        """
        axis, table = progress_of(model_sampling), self.table
        config = effective(self.config, table, [axis(sigma) for sigma in sigmas[:-1].tolist()])
        zones, follow = zones_of(model_sampling, config), None
        if config.reuses and (config.rule == "plan" or config.speed_up > 0):
            calibrated = number_of(table, "cfg", 1.0, low=0.0)
            swings = swing(sampler, sigmas, model_sampling, patcher) or 1.0
            points = points_of(model_sampling, sigmas, calibrated if cfg is None else cfg, swings)
            if config.rule == "plan":
                follow = follower(config, zones, table, points)
            else:
                config = simulate(config, zones, table, points).config
        return SamplingRun(config, table, zones, progress=axis, follow=follow)

    def _report(self, run: SamplingRun, complete: bool, cautions: tuple[str, ...]) -> RunRecord:
        context = get_executing_context()
        record = RunRecord(
            config=run.config,
            evaluations=run.finish(),
            complete=complete,
            node_id=None if context is None else str(context.node_id),
            prompt_id=None if context is None else str(context.prompt_id),
            table_name=self.table_name,
            notes=self.notes + cautions + ((UNPLANNED,) if run.config.rule != self.config.rule else ()),
            planned=None if run.follow is None else run.follow.planned,
            predicted_error=None if run.follow is None else run.follow.tolerance,
        )
        self.sink.records.append(record)
        logger.info("SenCache: %d of %d evaluations computed.", record.nfe, len(record.evaluations))
        return record

    def predict_noise(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Decide once per evaluation; one in which nobody asked for a branch was computed elsewhere."""
        state = executor.class_obj.model_options.get("transformer_options", {}).get(KEY)
        if state is None:
            return executor(*args, **kwargs)
        x, sigma = args[0], args[1]
        sampling = state.model_sampling
        state.calls = 0
        state.run.begin(sampling.calculate_input(sigma, x), sigma, sampling.timestep(sigma))
        denoised = executor(*args, **kwargs)
        if state.calls == 0:
            state.run.compute_instead()
        if state.live is not None:
            state.live.evaluated(state.run.decision)
        return denoised

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Serve every branch's forecast, or compute and store; `timestep` is sigma, the results denoised."""
        options = model_options.get("transformer_options", {})
        state = options.get(KEY)
        if state is None or state.calls is None or not state.run.config.reuses:
            return executor(model, conds, x_in, timestep, model_options)
        run, sampling = state.run, model.model_sampling
        if state.calls == 0:
            state.first_options = plain_options(options)
        branches = branch_keys(state.calls, conds, x_in, run.sigma, options, state.first_options)
        state.calls += 1
        wanted = [branch for branch in branches if branch is not None]
        if run.decision.reuse and run.can_serve(wanted):
            return [
                torch.zeros_like(x_in) if branch is None else _served(run, branch, sampling, timestep, x_in)
                for branch in branches
            ]
        run.compute_instead()
        outputs = executor(model, conds, x_in, timestep, model_options)
        for branch, denoised in zip(branches, outputs, strict=True):
            if branch is not None:
                stored = denoised if run.holds_denoised else raw_output(sampling, timestep, denoised, x_in)
                run.store(branch, stored)
        return outputs


def _served(run: SamplingRun, branch: Any, sampling: Any, sigma: Tensor, x: Tensor) -> Tensor:
    """Return a branch's forecast denoised latent at `sigma`."""
    output = run.serve(branch, x.device)
    return output if run.holds_denoised else sampling.calculate_denoised(sigma, output, x)


def without_patch(model: Any) -> Any:
    """Return a clone of a ModelPatcher without this pack's patch."""
    clone = model.clone()
    for wrapper_type in WRAPPER_TYPES:
        clone.remove_wrappers_with_key(wrapper_type, KEY)
    clone.remove_attachments(KEY)
    return clone
