"""The example workflows in API format; `tests/e2e/make_examples.py` lays them out in the real frontend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from host_inputs import patch_inputs

Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """One workflow: its name in the template browser, its note, its nodes, and where they stand."""

    name: str
    note: str
    prompt: Prompt
    columns: list[list[str]]


class Nodes:
    """Collects nodes under readable names and numbers them."""

    def __init__(self) -> None:
        self.prompt: Prompt = {}

    def add(self, name: str, class_type: str, **inputs: Any) -> str:
        """Add a node; an input `("name", slot)` is a link."""
        linked = {key: list(value) if isinstance(value, tuple) else value for key, value in inputs.items()}
        self.prompt[name] = {"class_type": class_type, "inputs": linked}
        return name


def patch_node(
    nodes: Nodes, name: str, model: tuple, sensitivity: tuple | None = None, **settings: Any
) -> str:
    """Add a Model Patch with its defaults but for the settings named."""
    given = {"sensitivity": sensitivity} if sensitivity else {}
    inputs = patch_inputs(**{"speed_up": 2.0, **settings})
    return nodes.add(name, "SenCacheModelPatch", model=model, **given, **inputs)


def _demo_sampler(nodes: Nodes, name: str, model: tuple) -> str:
    return nodes.add(
        name,
        "KSampler",
        model=model,
        positive=("demo", 1),
        negative=("demo", 2),
        latent_image=("demo", 3),
        seed=7,
        steps=50,
        cfg=5.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )


def tiny() -> Example:
    """The demo model: runs as it is on any machine."""
    nodes = Nodes()
    nodes.add("demo", "SenCacheDemo", prompt="bunny yawns")
    patch_node(nodes, "patch", ("demo", 0), table="tiny_wan.safetensors", speed_up=3.0)
    _demo_sampler(nodes, "sampler", ("patch", 0))
    nodes.add("stats", "SenCacheStats", model=("patch", 0), samples=("sampler", 0))
    nodes.add("frames", "SenCacheDemoFrames", samples=("stats", 0))
    nodes.add("preview", "PreviewImage", images=("frames", 0))
    note = (
        "**Press Run.** A tiny model that comes with the pack draws 8 small frames, on any machine. Move "
        "*Speed* in SenCache Model Patch and run again: Cache Stats shows what was computed, and the time "
        "saved."
    )
    columns = [["demo", "note"], ["patch"], ["sampler", "frames"], ["stats", "preview"]]
    return Example("1 Start here", note, nodes.prompt, columns)


def comparison() -> Example:
    """The demo model, same seed with and without, side by side."""
    nodes = Nodes()
    nodes.add("demo", "SenCacheDemo", prompt="bunny yawns")
    patch_node(nodes, "patch", ("demo", 0), table="tiny_wan.safetensors", speed_up=3.0)
    _demo_sampler(nodes, "without", ("demo", 0))
    _demo_sampler(nodes, "with", ("patch", 0))
    nodes.add("stats", "SenCacheStats", model=("patch", 0), samples=("with", 0))
    nodes.add("frames without", "SenCacheDemoFrames", samples=("without", 0))
    nodes.add("frames with", "SenCacheDemoFrames", samples=("stats", 0))
    nodes.add(
        "compare", "SenCacheCompare", images_a=("frames without", 0), images_b=("frames with", 0), fps=6.0
    )
    note = (
        "**Same seed, without and with SenCache.** Press *Run*, then *Wipe*, and drag over the picture. Move "
        "*Speed* and run again."
    )
    columns = [
        ["demo", "note"],
        ["patch"],
        ["without", "with"],
        ["stats", "frames without", "frames with"],
        ["compare"],
    ]
    return Example("2 Comparison", note, nodes.prompt, columns)
