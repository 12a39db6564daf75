"""Judges one way of sampling: unpatched, with reuse off, by an allowed error, and at twice the speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from host_inputs import patch_inputs
from torch import Tensor

SETTINGS = {"zero": {"epsilon": 0.0}, "by_error": {"epsilon": 0.03}, "half": {"speed_up": 2.0}}
WATCHED = {"watched": {"start_percent": 1.0}}  # every output is stored, and none can be reused
FAR_OFF = 20.0  # dB
OK, FAILED, HOST_LACKS, HOST_ERROR = "ok", "failed", "host lacks it", "host error"


class HostLacksError(Exception):
    """This host has no such node, class or option; the text names it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Loaded models, mostly one, and a way of sampling them that gives the same result every time.

    `sample` takes the ModelPatchers, patched or not; what an artist does between the patch and the sampler
    belongs into it. `tables` are those to patch with, the automatic ones where it is empty.
    """

    models: tuple[Any, ...]
    sample: Callable[..., Any]
    tables: tuple[Any, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the results page, and with which settings it is sampled."""

    group: str
    name: str
    make: Callable[[Any], Scene]
    settings: tuple[str, ...] = tuple(SETTINGS)


@dataclass(slots=True)
class Counter:
    """Counts by itself in how many evaluations the network ran."""

    evaluations: int = 0
    network: int = 0
    _ran: bool = field(default=False)

    def watch(self, model: Any) -> Any:
        """Return a clone of a model that is counted."""
        import comfy.patcher_extension

        wrappers = comfy.patcher_extension.WrappersMP
        watched = model.clone()
        watched.add_wrapper_with_key(wrappers.PREDICT_NOISE, "count", self._evaluate)
        watched.add_wrapper_with_key(wrappers.APPLY_MODEL, "count", self._apply)
        return watched

    def _evaluate(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self._ran = False
        result = executor(*args, **kwargs)
        self.evaluations += 1
        self.network += self._ran
        return result

    def _apply(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self._ran = True
        return executor(*args, **kwargs)


def flat(result: Any) -> Tensor:
    """Return a result's values in one row, whatever its streams."""
    parts = result.unbind() if result.is_nested else [result]
    return torch.cat([part.detach().float().flatten() for part in parts])


def psnr(result: Tensor, reference: Tensor) -> float | None:
    """Return the peak signal-to-noise ratio in dB over the reference's range; None where both are equal."""
    error = float((result - reference).square().mean().sqrt())
    span = float(reference.max() - reference.min())
    return None if error == 0 else 20 * math.log10(span / error)


def run_with(scene: Scene, settings: dict[str, Any], reference: Tensor) -> dict[str, Any]:
    """Sample with one setting of Model Patch and say how it went."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    counter = Counter()
    patched = []
    for index, model in enumerate(scene.models):
        connected = {"sensitivity": scene.tables[index]} if scene.tables else {}
        inputs = patch_inputs(**settings) | connected
        patched.append(SenCacheModelPatch.execute(counter.watch(model), **inputs).args[0])
    result = flat(scene.sample(*patched))
    records = [record for model in patched for record in model.get_attachment("sencache").records]
    counted = sum(record.nfe for record in records)
    return {
        "evaluations": counter.evaluations,
        "nfe": counter.network,
        "runs": len(records),
        "honest": counted == counter.network
        and sum(len(record.evaluations) for record in records) == counter.evaluations,
        "finite": bool(torch.isfinite(result).all()),
        "identical": torch.equal(result, reference),
        "psnr": psnr(result, reference),
    }


def judge(case: Case, nodes: Any) -> dict[str, Any]:
    """Return the row of one case; only what goes wrong with our nodes, and not without them, is a failure."""
    row: dict[str, Any] = {"group": case.group, "name": case.name}
    with torch.inference_mode():
        try:
            scene = case.make(nodes)
            reference = flat(scene.sample(*scene.models))
        except HostLacksError as error:
            return {**row, "outcome": HOST_LACKS, "text": str(error)}
        except Exception as error:  # named on the page: it is the host's own
            return {**row, "outcome": HOST_ERROR, "text": one_line(error)}
        if not bool(torch.isfinite(reference).all()):
            return {**row, "outcome": HOST_ERROR, "text": "the unpatched result is not finite"}
        try:
            row |= {name: run_with(scene, (SETTINGS | WATCHED)[name], reference) for name in case.settings}
            if not row["zero"]["identical"]:
                row["repeats"] = torch.equal(flat(scene.sample(*scene.models)), reference)
        except Exception as error:
            return {**row, "outcome": FAILED, "text": one_line(error)}
    return {**row, "outcome": OK if passes(row) else FAILED, "text": scene.text}


def passes(row: dict[str, Any]) -> bool:
    """Tell whether a row is as promised: exact with reuse off, else finite, honestly counted, never far off.

    How far a target speed may be off is the artist's choice; an allowed error must keep it near the result.
    """
    runs = [row[name] for name in SETTINGS | WATCHED if name in row]
    quality = row.get("by_error", {}).get("psnr")
    if quality is not None and quality < FAR_OFF:
        return False
    if not all(row[name]["identical"] for name in ("zero", "watched") if name in row):
        return False
    return all(run["finite"] and run["honest"] and run["runs"] for run in runs)


def one_line(error: BaseException) -> str:
    """Return an error's type and the first line of its text."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of the host for a while, as short memory or a switch would."""
    earlier = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, earlier)
