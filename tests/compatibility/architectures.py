"""Every architecture: calibrated by our node, then sampled; the trained ones with their own table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from judge import Case, HostLacksError, Scene
from random_models import ARCHITECTURES, Architecture
from tiny_models import MODELS, TinyModel, sampler_object
from tiny_models import sample as sample_tiny

STEPS, CFG = 20, 3.0
TRAINED = {
    "Wan 2.1 T2V, trained": "wan",
    "LTX-Video T2V, trained": "ltxv",
    "CogVideoX 1.0, trained": "cogvideox",
}


def calibrated(nodes: Any, model: Any, architecture: Architecture, steps: int = 10) -> tuple[Any, str]:
    """Measure a model through SenCache Calibrate; return its table and the node's first sentence."""
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables.files import save_target

    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    empty = dict(architecture.latent())
    if not empty["samples"].is_nested:  # an image in the latent would be measured as a video
        empty["samples"] = torch.zeros_like(empty["samples"])
    own = sampler_object(nodes, "void") if architecture.sampler == "void" else None
    name = "compatibility"
    try:
        table, _, text = SenCacheCalibrate.execute(
            model, architecture.conditioning(2), empty, steps, "euler", "simple", 1, CFG, 3, name,
            architecture.conditioning(0), own,
        ).args  # fmt: skip
    finally:
        save_target(name).path.unlink(missing_ok=True)
        save_target(name).partial.unlink(missing_ok=True)
    return table, text.splitlines()[0]


def sample(nodes: Any, architecture: Architecture, model: Any, steps: int = STEPS) -> Any:
    """Sample one video as SamplerCustomAdvanced does; nested where the latent is."""
    import comfy.sample
    import comfy.samplers

    latent = architecture.latent()
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(architecture.conditioning(2), architecture.conditioning(0))
    guider.set_cfg(CFG)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    return guider.sample(
        noise, latent["samples"], sampler_object(nodes, architecture.sampler), sigmas,
        latent.get("noise_mask"), disable_pbar=True, seed=5,
    )  # fmt: skip


def _random(architecture: Architecture) -> Case:
    def make(nodes: Any) -> Scene:
        if not architecture.available():
            raise HostLacksError(f"no {architecture.config_class}")
        model = architecture.build()
        sample(nodes, architecture, model, 2)  # the host's own error comes first
        table, text = calibrated(nodes, model, architecture)
        return Scene((model,), lambda model: sample(nodes, architecture, model), (table,), text)

    return Case("Architectures", architecture.name, make)


def _trained(name: str, tiny: TinyModel) -> Case:
    def make(nodes: Any) -> Scene:
        sampler = tiny.samplers[0]
        if sampler == "void" and "VOIDSampler" not in nodes.NODE_CLASS_MAPPINGS:
            raise HostLacksError("no CogVideoX")
        return Scene(
            (tiny.load(nodes),), lambda model: sample_tiny(nodes, model, tiny, 2, 5, sampler, STEPS, 5.0)
        )

    return Case("Architectures", name, make)


def _pair() -> Case:
    architecture = ARCHITECTURES[0]

    def make(nodes: Any) -> Scene:
        experts = architecture.build(1), architecture.build(2)
        measured = [calibrated(nodes, expert, architecture) for expert in experts]
        node = nodes.NODE_CLASS_MAPPINGS["KSamplerAdvanced"]()

        def both(high: Any, low: Any) -> Any:
            """Sample the first half with one expert and the second with the other."""
            latent, half = architecture.latent(), STEPS // 2
            for expert, start, end, add, left in (
                (high, 0, half, "enable", "enable"),
                (low, half, STEPS, "disable", "disable"),
            ):
                latent = node.sample(
                    expert, add, 4, STEPS, CFG, "euler", "simple", architecture.conditioning(2),
                    architecture.conditioning(0), latent, start, end, left,
                )[0]  # fmt: skip
            return latent["samples"]

        return Scene(experts, both, tuple(table for table, _ in measured), measured[0][1])

    return Case("Architectures", "Wan 2.2 14B, two experts, a table each", make)


def cases() -> list[Case]:
    """List the trained models, then the random ones."""
    trained = [_trained(name, MODELS[key]) for name, key in TRAINED.items()]
    return trained + [_random(one) for one in ARCHITECTURES] + [_pair()]
