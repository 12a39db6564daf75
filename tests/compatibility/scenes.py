"""What the cases share: calling a host's node whatever its version, and the ways of sampling the tiny Wan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from host_inputs import conditioning
from judge import Case, HostLacksError, Scene
from tiny_models import MODELS
from torch import Tensor

STEPS, CFG = 16, 4.0
LATENT = (1, 16, 4, 8, 8)


def outputs_of(nodes: Any, name: str, **inputs: Any) -> tuple[Any, ...]:
    """Run one of the host's nodes, of the old API or the new, and return its outputs."""
    found = nodes.NODE_CLASS_MAPPINGS.get(name)
    if found is None:
        raise HostLacksError(f"no node {name}")
    if hasattr(found, "define_schema"):
        return found.execute(**inputs).args
    return getattr(found(), found.FUNCTION)(**inputs)


def node(nodes: Any, name: str, **inputs: Any) -> Any:
    """Run one of the host's nodes and return its first output."""
    return outputs_of(nodes, name, **inputs)[0]


def wan(nodes: Any) -> Any:
    """Load the trained tiny Wan."""
    return MODELS["wan"].load(nodes)


def empty(shape: tuple[int, ...] = LATENT) -> dict[str, Tensor]:
    """Return an empty latent."""
    return {"samples": torch.zeros(shape)}


def ksample(nodes: Any, model: Any, **changed: Any) -> Tensor:
    """Sample through the KSampler node."""
    inputs = {
        "seed": 3, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple",
        "positive": conditioning(2), "negative": conditioning(0), "latent_image": empty(), "denoise": 1.0,
    } | changed  # fmt: skip
    return node(nodes, "KSampler", model=model, **inputs)["samples"]


def guide(nodes: Any, guider: Any, model: Any, sigmas: Tensor | None = None, **changed: Any) -> Tensor:
    """Sample a guider through SamplerCustomAdvanced."""
    import comfy.samplers

    if sigmas is None:
        sigmas = node(nodes, "BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)
    inputs = {
        "noise": node(nodes, "RandomNoise", noise_seed=3), "guider": guider,
        "sampler": comfy.samplers.sampler_object("euler"), "sigmas": sigmas, "latent_image": empty(),
    } | changed  # fmt: skip
    return node(nodes, "SamplerCustomAdvanced", **inputs)["samples"]


def on_wan(group: str, name: str, sample: Callable[[Any, Any], Any]) -> Case:
    """Make a case of `sample(nodes, model)` on the tiny Wan."""
    return Case(group, name, lambda nodes: Scene((wan(nodes),), lambda model: sample(nodes, model)))


def changed_first(group: str, name: str, change: Callable[[Any, Any], Any], **sampling: Any) -> Case:
    """Make a case of a host node that changes the tiny Wan before our patch."""

    def make(nodes: Any) -> Scene:
        return Scene((change(nodes, wan(nodes)),), lambda model: ksample(nodes, model, **sampling))

    return Case(group, name, make)


def changed_after(group: str, name: str, change: Callable[[Any, Any], Any], **sampling: Any) -> Case:
    """Make a case of a host node that changes the tiny Wan between our patch and the sampler."""
    return on_wan(group, name, lambda nodes, model: ksample(nodes, change(nodes, model), **sampling))
