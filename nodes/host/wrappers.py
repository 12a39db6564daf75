"""Hooks a sampling run into ComfyUI's wrappers."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.patcher_extension
import torch
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...caching.config import SenCacheConfig
from ...caching.forecast import Space
from ...caching.notes import Note
from ...caching.policy import Reason
from ...caching.record import Evaluation, RunRecord
from ...caching.run import SamplingRun
from ...calibration.table import TableError
from ..refusals import refusal
from .accelerators import refuse_other_accelerator
from .audience import Audience, LiveView, Nobody
from .branches import branch_keys, plain_options
from .first_run import FirstRun
from .measuring import Measuring
from .prepare import PreparedRun, prepare
from .ranks import Ranks
from .sampling import raw_output
from .source import TableSource

logger = logging.getLogger(__name__)

KEY = "sencache"
NODE = "SenCache Model Patch"
MAX_RECORDS = 32
_WRAPPERS = comfy.patcher_extension.WrappersMP
WRAPPER_TYPES = (_WRAPPERS.OUTER_SAMPLE, _WRAPPERS.PREDICT_NOISE, _WRAPPERS.CALC_COND_BATCH)


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
    live: LiveView | None = None
    measuring: Measuring | None = None
    ranks: Ranks | None = None  # that decide together; None for a run that never reuses
    calls: int | None = None  # in this evaluation; None before the first
    first_options: dict[str, str] = field(default_factory=dict)


    def reuse(self, branches: list[Any], device: torch.device) -> bool:
        """Tell whether this call is served: a reuse, with an output of every branch, and on every rank.

        What is not served is computed, and the run knows why.
        """
        run = self.run
        own = run.decision.reuse and run.can_serve(branches)
        if self.ranks is not None and not self.ranks.all_agree(own, device) and own:
            run.compute_instead(Reason.OTHER_RANK)
            return False
        if not own:
            run.compute_instead()
        return own


@dataclass(frozen=True, eq=False)
class Patch:
    """What Model Patch puts on a model: settings, table, and where runs are reported; no run's state."""

    config: SenCacheConfig
    source: TableSource
    notes: tuple[Note, ...] = ()
    sink: RecordSink = field(default_factory=RecordSink)
    audience: Audience = field(default_factory=Nobody)
    together: bool = True  # with the other ranks of a process group, where there is one

    def apply(self, model: Any) -> Any:
        """Return a clone of a ModelPatcher with this patch in place of any earlier one."""
        sink = model.get_attachment(KEY) or self.sink  # whoever holds the earlier patch sees these runs too
        patched = without_patch(model)
        own = replace(self, sink=sink)
        for wrapper_type, wrapper in zip(
            WRAPPER_TYPES, (own.outer_sample, own.predict_noise, own.calc_cond_batch), strict=True
        ):
            patched.add_wrapper_with_key(wrapper_type, KEY, wrapper)
        patched.set_attachments(KEY, sink)
        return patched

    def outer_sample(
        self,
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Give the run its state, and take it away again however the run ends."""
        guider = executor.class_obj
        refuse_other_accelerator(NODE, guider.model_options)
        ranks = Ranks.find() if self.config.reuses and self.together else None
        try:
            prepared, table_name = prepare(self.config, self.source, guider, sampler, sigmas, ranks)
        except (TableError, ValueError) as error:
            if ranks is not None:
                ranks.all_agree(False, guider.model_patcher.load_device)
            raise ValueError(refusal(NODE, error)) from None
        if ranks is not None and not ranks.all_agree(True, guider.model_patcher.load_device):
            raise ValueError(f"{NODE}: another rank can't begin this run; its own message says why.")
        run = SamplingRun(prepared.policy, self.config.cache_device, prepared.axis)
        about = (self.config, self.source, self.audience, prepared)
        first_run = FirstRun.begin(*about, guider, sampler, sigmas, noise, _mask(args, kwargs))
        options = guider.model_options.setdefault("transformer_options", {})
        steps = len(sigmas) - 1
        live = self.audience.begin(steps, prepared.before)
        measuring = None if first_run is None else first_run.measuring
        options[KEY] = _HostRun(run, prepared.model_sampling, live, measuring, prepared.ranks)
        complete = False
        try:
            output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
            complete = True
            return output
        finally:
            options.pop(KEY, None)
            evaluations = run.finish()
            measured = () if first_run is None else first_run.finish(complete, evaluations)
            record = self._report(run, evaluations, complete, prepared, table_name, measured, steps)
            if live is not None:
                live.finish(record)

    def _report(
        self,
        run: SamplingRun,
        evaluations: tuple[Evaluation, ...],
        complete: bool,
        prepared: PreparedRun,
        table_name: str,
        measured: tuple[Note, ...],
        steps: int,
    ) -> RunRecord:
        context = get_executing_context()
        policy = run.policy
        predicts = policy.planned is not None and not prepared.foreign
        record = RunRecord(
            config=policy.config,
            evaluations=evaluations,
            complete=complete,
            node_id=None if context is None else str(context.node_id),
            prompt_id=None if context is None else str(context.prompt_id),
            origin=self.audience.origin(),
            table_name=table_name,
            notes=self.notes + prepared.notes + measured,
            planned=policy.planned,
            predicted_error=policy.predicted_error if predicts else None,
            steps=steps,
            foreign=prepared.foreign,
        )
        self.sink.records.append(record)
        logger.info("SenCache: %d of %d steps computed.", record.nfe, len(record.evaluations))
        return record

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Decide once per evaluation; one in which nobody asked for a branch was computed elsewhere.

        The host's `timestep` is sigma.
        """
        state = executor.class_obj.model_options.get("transformer_options", {}).get(KEY)
        if state is None:
            return executor(x, timestep, *args, **kwargs)
        sigma = timestep
        sampling = state.model_sampling
        state.calls = 0
        state.run.begin(sampling.calculate_input(sigma, x), sigma, sampling.timestep(sigma))
        denoised = executor(x, timestep, *args, **kwargs)
        if state.calls == 0:
            state.run.compute_instead()
        if state.measuring is not None:
            state.measuring.end_evaluation(state.run.sigma, state.run.timestep)
        if state.live is not None:
            state.live.evaluated(state.run.decision)
        return denoised

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Serve every branch's forecast, or compute and store; `timestep` is sigma, the results denoised."""
        options = model_options.get("transformer_options", {})
        state = options.get(KEY)
        if state is None or state.calls is None:
            return executor(model, conds, x_in, timestep, model_options)
        run, sampling = state.run, model.model_sampling
        if not (run.policy.stores or state.measuring):
            state.reuse([], x_in.device)  # the other ranks ask: they may have a table
            return executor(model, conds, x_in, timestep, model_options)
        if state.calls == 0:
            state.first_options = plain_options(options)
        branches = branch_keys(state.calls, conds, x_in, run.sigma, options, state.first_options)
        state.calls += 1
        wanted = [branch for branch in branches if branch is not None]
        if state.reuse(wanted, x_in.device):
            if state.measuring is not None:
                state.measuring.pass_over()
            return [
                torch.zeros_like(x_in) if branch is None else _served(run, branch, sampling, timestep, x_in)
                for branch in branches
            ]
        outputs = executor(model, conds, x_in, timestep, model_options)
        if state.measuring is not None:
            state.measuring.take(model, conds, branches, x_in, outputs)
        for branch, denoised in zip(branches, outputs, strict=True):
            if branch is None or not run.policy.stores:
                continue
            raw = run.space is Space.RAW
            run.store(branch, raw_output(sampling, timestep, denoised, x_in) if raw else denoised)
        return outputs


def _mask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Return the mask of what is sampled: the first argument after the sigmas on every host."""
    mask = args[0] if args else kwargs.get("denoise_mask")
    return mask if isinstance(mask, Tensor) else None


def _served(run: SamplingRun, branch: Any, sampling: Any, sigma: Tensor, x: Tensor) -> Tensor:
    """Return a branch's forecast denoised latent at `sigma`."""
    output = run.serve(branch, x.device)
    return output if run.space is Space.DENOISED else sampling.calculate_denoised(sigma, output, x)


def without_patch(model: Any) -> Any:
    """Return a clone of a ModelPatcher without this pack's patch."""
    clone = model.clone()
    for wrapper_type in WRAPPER_TYPES:
        clone.remove_wrappers_with_key(wrapper_type, KEY)
    clone.remove_attachments(KEY)
    return clone
