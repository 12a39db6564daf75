"""The tiny trained models as ComfyUI loads and samples them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from host_inputs import conditioning
from latents import unfold
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TinyModel:
    """One model: its latent's shape, the samplers that suit it, and its latent as the 16-channel one."""

    name: str
    latent_shape: tuple[int, ...]
    samplers: tuple[str, ...]
    to_pictures: Callable[[Tensor], Tensor] = lambda latent: latent
    needs_mask: bool = False  # of the prompt's tokens; the text encoder's node gives it
    config_class: str = ""

    def available(self) -> bool:
        """Whether this host has the architecture; older hosts lack CogVideoX."""
        import comfy.supported_models

        return not self.config_class or hasattr(comfy.supported_models, self.config_class)

    def load(self, nodes: ModuleType) -> Any:
        """Load the model through the ordinary loader node."""
        return nodes.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet(f"{self.name}.safetensors", "default")[0]

    def conditioning(self, prompt: int) -> list:
        """Return ComfyUI's conditioning for a prompt number."""
        embedding, extras = conditioning(prompt)[0]
        if self.needs_mask:
            extras = {**extras, "attention_mask": torch.ones(embedding.shape[:2], dtype=torch.int64)}
        return [[embedding, extras]]

    def empty_latent(self) -> dict[str, Tensor]:
        """Return an empty latent of the model's own size."""
        return {"samples": torch.zeros(self.latent_shape)}


OWN = "void"  # the sampler that CogVideoX needs
K_SAMPLERS = ("euler", "uni_pc", "dpmpp_2m")
MODELS = {
    "wan": TinyModel("tiny_wan", (1, 16, 8, 12, 12), K_SAMPLERS),
    "ltxv": TinyModel("tiny_ltxv", (1, 128, 4, 6, 6), K_SAMPLERS, unfold, needs_mask=True),
    "cogvideox": TinyModel("tiny_cogvideox", (1, 16, 8, 12, 12), (OWN,), config_class="CogVideoX_T2V"),
}


def sampler_object(nodes: ModuleType, name: str) -> Any:
    """Return one of the host's samplers, or that of CogVideoX."""
    import comfy.samplers

    if name == OWN:
        return nodes.NODE_CLASS_MAPPINGS["VOIDSampler"].execute().args[0]
    return comfy.samplers.sampler_object(name)


def sigmas_of(model: Any, sampler: str, steps: int) -> Tensor:
    """Return the sigmas as KSampler makes them, or BasicScheduler for a sampler that KSampler lacks."""
    import comfy.samplers

    if sampler == OWN:
        return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    return comfy.samplers.KSampler(model, steps, "cpu", sampler, "simple").sigmas


def sample(
    nodes: ModuleType,
    model: Any,
    tiny: TinyModel,
    prompt: int,
    seed: int,
    sampler: str,
    steps: int,
    cfg: float,
    sigmas: Tensor | None = None,
) -> Tensor:
    """Sample one clip with KSampler's sigmas or others; return its latent in model space."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning(prompt), tiny.conditioning(0))
    guider.set_cfg(cfg)
    noise = torch.randn(tiny.latent_shape, generator=torch.Generator().manual_seed(seed))
    latent = torch.zeros(tiny.latent_shape)
    chosen = sampler_object(nodes, sampler)
    sigmas = sigmas_of(model, sampler, steps) if sigmas is None else sigmas
    samples = guider.sample(noise, latent, chosen, sigmas, disable_pbar=True, seed=seed)
    return model.model.latent_format.process_in(samples)
