"""Reads the panel's question: a stranger's numbers become settings and a schedule, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import comfy.samplers

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.sentences import NotedError
from ...calibration.table import SensitivityTable
from ..host.table_sampling import number_of

MAX_STEPS = 1000


class QuestionError(ValueError):
    """A question that the panel would not ask."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the graph says of the sampling; None is what it does not say, and the table answers."""

    steps: int | None = None
    scheduler: str | None = None
    sampler: str | None = None
    cfg: float | None = None
    denoise: float = 1.0
    start: int = 0
    end: int | None = None
    shift: float | None = None
    sigmas: str | None = None  # the node type that gives the sampler its sigmas
    leftover_noise: str | None = None  # "disable": a run that ends early still ends without noise


def read_into(kind: type, values: Any) -> Any:
    """Make a dataclass of a stranger's numbers and short texts."""
    if not isinstance(values, Mapping):
        raise QuestionError("not an object")
    names = {one.name for one in fields(kind)}
    kept = {}
    for name, value in values.items():
        plain = value is None or (isinstance(value, int | float | str) and not isinstance(value, bool))
        if name not in names or not plain or len(str(value)) > 200:
            raise QuestionError(f"{str(name)[:40]!r} can't be asked for")
        kept[name] = value
    return kind(**kept)


MAX_WIDGETS = 64
MAX_WISH = 100.0


def wish_of(value: Any) -> float | None:
    """Return a wished speed-up, None for None."""
    if value is not None and not isinstance(value, int | float):
        raise QuestionError("wish is not a number")
    return within(value, 1.0, MAX_WISH, "wish")


def config_of(widgets: Any) -> SenCacheConfig:
    """Make the settings of the node's widgets, not all of which are; raises ValueError as the node would."""
    if not isinstance(widgets, Mapping) or len(widgets) > MAX_WIDGETS:
        raise QuestionError("not an object")
    usual = SenCacheConfig()
    settings = {("max_reuse" if name == "n" else name): value for name, value in widgets.items()}
    known = {one.name for one in fields(SenCacheConfig)}
    renamed = {name: value for name, value in settings.items() if name in known}
    for name, value in renamed.items():
        if isinstance(getattr(usual, name, None), int | float) and not isinstance(value, int | float):
            raise QuestionError(f"{name} is not a number")
    return read_into(SenCacheConfig, renamed)


def within(value: float | None, low: float, high: float, name: str) -> float | None:
    """Return a number in the range, None for None."""
    if value is None:
        return None
    if isinstance(value, str) or not low <= value <= high:
        raise QuestionError(f"{name} is {value!r}")
    return float(value)


def _whole(value: int | None, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value <= 1e6:
        raise QuestionError(f"{name} is {value!r}")
    return value


def sigmas_of(model_sampling: Any, sampling: Sampling, table: SensitivityTable) -> tuple[Any, int, str]:
    """Return the sigmas that the host's KSampler makes, the number of steps, and the scheduler.

    Where a node of its own gives the sigmas, no sampler leaves one out.
    """
    ksampler = comfy.samplers.KSampler
    asked = (sampling.scheduler, table.metadata.get("scheduler"), "simple")
    scheduler = next(name for name in asked if name in ksampler.SCHEDULERS)
    sampler = sampling.sampler if sampling.sigmas is None else None
    steps = _whole(sampling.steps, "steps") or int(number_of(table, "steps", 30, low=1))
    denoise = within(sampling.denoise, 0.0, 1.0, "denoise") or 0.0
    total = int(steps / max(denoise, 1e-3))
    if not 1 <= steps <= total <= MAX_STEPS:
        raise NotedError(Note("too_many_steps", {"count": total, "most": MAX_STEPS}))
    model = SimpleNamespace(get_model_object=lambda _: model_sampling)
    sigmas = ksampler(model, steps, "cpu", sampler, scheduler, denoise).sigmas.float()
    start, end = _whole(sampling.start, "start") or 0, _whole(sampling.end, "end")
    part = sigmas[start : None if end is None else end + 1]
    if len(part) < 2:
        raise NotedError(Note("no_steps_left", {"steps": steps}))
    if sampling.leftover_noise == "disable":
        part[-1] = 0.0
    return part, len(part) - 1, scheduler
