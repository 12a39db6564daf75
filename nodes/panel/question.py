"""Reads the panel's question: a stranger's numbers become settings and a schedule, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import comfy.samplers

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.sentences import NotedError
from ...calibration.table import SensitivityTable
from ..host.table_sampling import number_of
from ..patch_inputs import DEFAULT_SPEED_UP
from ..patching import target_speed
from .wire import MAX_STEPS, QuestionError, Sampling


def config_of(widgets: Mapping[str, Any]) -> SenCacheConfig:
    """Make the settings of the node's widgets, not all of which are; raises ValueError as the node would.

    "final" leaves the other settings as they are, and reuses nothing. In the place of a setting that another
    node gives (None) stands the usual one.
    """
    usual = SenCacheConfig()
    told = {name: value for name, value in widgets.items() if value is not None}
    settings = {("max_reuse" if name == "n" else name): value for name, value in told.items()}
    known = {one.name for one in fields(SenCacheConfig)}
    renamed = {name: value for name, value in settings.items() if name in known}
    for name, value in renamed.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(getattr(usual, name), int | float) and not number:
            raise QuestionError(f"{name} is not a number")
    if widgets.get("exact") is True:
        renamed["epsilon"] = 0.0
    given = renamed.get("speed_up", DEFAULT_SPEED_UP if "speed_up" in widgets else usual.speed_up)
    renamed["speed_up"] = target_speed(given)
    return SenCacheConfig(**renamed)


def sigmas_of(model_sampling: Any, sampling: Sampling, table: SensitivityTable) -> tuple[Any, int, str]:
    """Return the sigmas that the host's KSampler makes, the number of steps, and the scheduler.

    Where a node of its own gives the sigmas, no sampler leaves one out.
    """
    ksampler = comfy.samplers.KSampler
    asked = (sampling.scheduler, table.metadata.get("scheduler"), "simple")
    scheduler = next(name for name in asked if name in ksampler.SCHEDULERS)
    sampler = sampling.sampler if sampling.sigmas is None else None
    steps = sampling.steps or int(number_of(table, "steps", 30, low=1))
    total = int(steps / max(sampling.denoise, 1e-3))
    if not 1 <= steps <= total <= MAX_STEPS:
        raise NotedError(Note("too_many_steps", {"count": total, "most": MAX_STEPS}))
    model = SimpleNamespace(get_model_object=lambda _: model_sampling)
    sigmas = ksampler(model, steps, "cpu", sampler, scheduler, sampling.denoise).sigmas.float()
    part = sigmas[sampling.start : None if sampling.end is None else sampling.end + 1]
    if len(part) < 2:
        raise NotedError(Note("no_steps_left", {"steps": steps}))
    if sampling.leftover_noise == "disable":
        part[-1] = 0.0
    return part, len(part) - 1, scheduler
