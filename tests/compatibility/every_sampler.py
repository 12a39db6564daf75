"""Every sampler with every scheduler, from the host's own lists, on the trained tiny Wan."""

from __future__ import annotations

from typing import Any

import torch
from host_inputs import conditioning
from judge import Case, Scene
from tiny_models import MODELS

STEPS, CFG = 12, 3.0
LATENT = (1, 16, 2, 8, 8)


def ksampler(nodes: Any, model: Any, sampler: str, scheduler: str, **changed: Any) -> Any:
    """Sample through the KSampler node."""
    inputs = {
        "steps": STEPS,
        "cfg": CFG,
        "latent": {"samples": torch.zeros(LATENT)},
        "denoise": 1.0,
    } | changed
    positive = inputs.get("positive") or conditioning(2)
    return nodes.NODE_CLASS_MAPPINGS["KSampler"]().sample(
        model, 3, inputs["steps"], inputs["cfg"], sampler, scheduler, positive,
        inputs.get("negative") or conditioning(0), inputs["latent"], inputs["denoise"],
    )[0]["samples"]  # fmt: skip


def pair(sampler: str, scheduler: str) -> Case:
    """Return the case of one sampler with one scheduler."""

    def make(nodes: Any) -> Scene:
        model = MODELS["wan"].load(nodes)
        return Scene((model,), lambda model: ksampler(nodes, model, sampler, scheduler))

    return Case("Samplers and schedulers", f"{sampler}, {scheduler}", make, ("zero", "by_error"))


def cases() -> list[Case]:
    """List every pair that KSampler offers."""
    import comfy.samplers

    offered = comfy.samplers.KSampler
    return [pair(sampler, scheduler) for sampler in offered.SAMPLERS for scheduler in offered.SCHEDULERS]
