"""Guiders, guidance nodes, and ways of running samplers other than one KSampler from start to end."""

from __future__ import annotations

from typing import Any

import torch
from architectures import calibrated
from architectures import sample as sample_architecture
from host_inputs import conditioning
from judge import Case, HostLacksError, Scene
from random_models import ARCHITECTURES
from scenes import CFG, STEPS, empty, guide, ksample, node, on_wan, outputs_of, wan
from torch import Tensor

GUIDERS, RUNS, NODES = "Guiders", "Ways of sampling", "Guidance nodes"


def _basic(nodes: Any, model: Any) -> Tensor:
    return guide(nodes, node(nodes, "BasicGuider", model=model, conditioning=conditioning(2)), model)


def _cfg_guider(nodes: Any, model: Any) -> Any:
    prompts = {"positive": conditioning(2), "negative": conditioning(0)}
    return node(nodes, "CFGGuider", model=model, cfg=CFG, **prompts)


def _cfg(nodes: Any, model: Any) -> Tensor:
    return guide(nodes, _cfg_guider(nodes, model), model)


def dual(style: str) -> Any:
    def sample(nodes: Any, model: Any) -> Tensor:
        prompts = {"cond1": conditioning(2), "cond2": conditioning(5), "negative": conditioning(0)}
        inputs = {"cfg_conds": 4.0, "cfg_cond2_negative": 3.0}
        if style != "regular" and "style" not in inputs_of(nodes, "DualCFGGuider"):
            raise HostLacksError("no DualCFGGuider's style")
        if "style" in inputs_of(nodes, "DualCFGGuider"):
            inputs["style"] = style
        return guide(nodes, node(nodes, "DualCFGGuider", model=model, **prompts, **inputs), model)

    return sample


def inputs_of(nodes: Any, name: str) -> set[str]:
    import inspect

    found = nodes.NODE_CLASS_MAPPINGS[name]
    call = found.execute if hasattr(found, "define_schema") else getattr(found, found.FUNCTION)
    return set(inspect.signature(call).parameters)


def _perp_neg(nodes: Any, model: Any) -> Tensor:
    prompts = {
        "positive": conditioning(2),
        "negative": conditioning(5),
        "empty_conditioning": conditioning(0),
    }
    return guide(nodes, node(nodes, "PerpNegGuider", model=model, cfg=CFG, neg_scale=1.0, **prompts), model)


def _two_models() -> Case:
    """Make a case of a guider with a model for each side, both patched; a LoRA makes the second another."""

    def make(nodes: Any) -> Scene:
        import comfy.sd
        from conditioning import lora

        first, second = wan(nodes), wan(nodes)
        second, _ = comfy.sd.load_lora_for_models(second, None, lora(second, 0.2), 1.0, 0.0)
        inputs = {"positive": conditioning(2), "negative": conditioning(0), "cfg": CFG}

        def sample(first: Any, second: Any) -> Tensor:
            guider = node(nodes, "DualModelGuider", model=first, model_negative=second, **inputs)
            return guide(nodes, guider, first)

        if "DualModelGuider" in nodes.NODE_CLASS_MAPPINGS and torch.equal(
            sample(first, second), sample(first, first)
        ):
            raise RuntimeError("the second model changes nothing here")
        return Scene((first, second), sample)

    return Case(GUIDERS, "DualModelGuider, two models", make)


def _split(name: str, **place: float) -> Any:
    """Sample the two parts that a node makes of a schedule."""

    def sample(nodes: Any, model: Any) -> Tensor:
        sigmas = node(nodes, "BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)
        high, low = outputs_of(nodes, name, sigmas=sigmas, **place)
        first = guide(nodes, _cfg_guider(nodes, model), model, high)
        rest = {"noise": node(nodes, "DisableNoise"), "latent_image": {"samples": first}}
        return guide(nodes, _cfg_guider(nodes, model), model, low, **rest)

    return sample


def _beyond(nodes: Any, model: Any) -> Tensor:
    """Sample a flow model over sigmas that are meant for another kind: the first ones are all noise to it."""
    sigmas = node(nodes, "KarrasScheduler", steps=STEPS, sigma_max=14.614642, sigma_min=0.0291675, rho=7.0)
    return guide(nodes, _cfg_guider(nodes, model), model, sigmas)


def _grows(nodes: Any, model: Any) -> Tensor:
    """Sample with the host's sampler that enlarges the latent on its way."""
    inputs = {"scale_ratio": 1.5, "scale_steps": 4, "upscale_method": "bilinear"}
    growing = node(nodes, "SamplerLCMUpscale", **inputs)
    torch.manual_seed(4)  # it draws from the host's own generator
    return guide(nodes, _cfg_guider(nodes, model), model, sampler=growing)


def _slices(nodes: Any, model: Any) -> Tensor:
    latent = empty()
    for start, end, add, left in ((0, 5, "enable", "enable"), (5, 11, "disable", "enable"),
                                  (11, 10000, "disable", "disable")):  # fmt: skip
        latent = node(
            nodes, "KSamplerAdvanced", model=model, add_noise=add, noise_seed=4, steps=STEPS, cfg=CFG,
            sampler_name="euler", scheduler="simple", positive=conditioning(2), negative=conditioning(0),
            latent_image=latent, start_at_step=start, end_at_step=end, return_with_leftover_noise=left,
        )  # fmt: skip
    return latent["samples"]


def _restart(nodes: Any, model: Any) -> Tensor:
    sigmas = torch.tensor([1.0, 0.94, 0.86, 0.76, 0.6, 0.8, 0.7, 0.55, 0.7, 0.5, 0.3, 0.12, 0.0])
    return guide(nodes, _cfg_guider(nodes, model), model, sigmas)


def _twice(nodes: Any, model: Any) -> Tensor:
    first = ksample(nodes, model)
    larger = torch.nn.functional.interpolate(first, size=(4, 12, 12))
    return ksample(nodes, model, latent_image={"samples": larger}, denoise=0.5, seed=9)


def _in_turn(nodes: Any, model: Any) -> Tensor:
    shapes = ((1, 16, 4, 8, 8), (1, 16, 2, 12, 6), (2, 16, 1, 8, 8), (1, 16, 4, 8, 8))
    return torch.cat([ksample(nodes, model, latent_image=empty(shape)).flatten() for shape in shapes])


def _denoise(nodes: Any, model: Any) -> Tensor:
    start = {"samples": torch.randn((1, 16, 4, 8, 8), generator=torch.Generator().manual_seed(8))}
    return ksample(nodes, model, latent_image=start, denoise=0.6)


def _masked(mask: Tensor) -> Any:
    def sample(nodes: Any, model: Any) -> Tensor:
        start = torch.randn((1, 16, 4, 8, 8), generator=torch.Generator().manual_seed(8))
        return ksample(nodes, model, latent_image={"samples": start, "noise_mask": mask})

    return sample


def _differential(nodes: Any, model: Any) -> Tensor:
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 4, 8, 8).clone()
    return _masked(ramp)(nodes, node(nodes, "DifferentialDiffusion", model=model))


def _node(name: str, **inputs: Any) -> Case:
    """Make a case of a host node before our patch on the trained Wan, where it has to change the result."""

    def make(nodes: Any) -> Scene:
        model = wan(nodes)
        changed = node(nodes, name, model=model, **inputs)
        if torch.equal(ksample(nodes, changed), ksample(nodes, model)):
            raise RuntimeError(f"{name} changes nothing here")
        return Scene((changed,), lambda model: ksample(nodes, model))

    return Case(NODES, name + _shown(inputs), make)


def _node_on(architecture_name: str, name: str, **inputs: Any) -> Case:
    """Make a case of a host node that reaches no Wan, on another architecture, measured with it."""
    architecture = next(one for one in ARCHITECTURES if one.name == architecture_name)

    def make(nodes: Any) -> Scene:
        plain = architecture.build()
        model = node(nodes, name, model=plain, **inputs)
        if torch.equal(*(sample_architecture(nodes, architecture, one) for one in (plain, model))):
            raise RuntimeError(f"{name} changes nothing here")
        table, text = calibrated(nodes, model, architecture)
        return Scene((model,), lambda one: sample_architecture(nodes, architecture, one), (table,), text)

    return Case(NODES, f"{name}{_shown(inputs)}, {architecture_name}", make)


def _shown(inputs: dict[str, Any]) -> str:
    numbers = [f"{key} {value:g}" for key, value in inputs.items() if type(value) in (int, float)]
    return f" ({', '.join(numbers)})" if numbers else ""


def cases() -> list[Case]:
    """List guiders, ways of sampling, and the nodes that change the guidance."""
    half = torch.zeros(1, 1, 4, 8, 8)
    half[..., 4:] = 1.0
    layers = {"double_layers": "3, 5", "single_layers": "", "start_percent": 0.1, "end_percent": 0.9}
    runs = {
        "SplitSigmas, two SamplerCustomAdvanced": _split("SplitSigmas", step=STEPS // 2),
        "SplitSigmasDenoise, the same": _split("SplitSigmasDenoise", denoise=0.4),
        "KarrasScheduler, sigmas beyond the model's own": _beyond,
        "KSamplerAdvanced in three slices": _slices,
        "restarts (sigma goes up twice)": _restart, "two samplers, the second larger at denoise 0.5": _twice,
        "SamplerLCMUpscale, another size at each of four steps": _grows,
        "four sizes in turn": _in_turn, "denoise 0.6": _denoise, "inpaint mask": _masked(half),
        "differential diffusion": _differential,
        "batch of 3": lambda nodes, model: ksample(nodes, model, latent_image=empty((3, 16, 4, 8, 8))),
        "cfg 1": lambda nodes, model: ksample(nodes, model, cfg=1.0),
        "one step": lambda nodes, model: ksample(nodes, model, steps=1),
        "four steps": lambda nodes, model: ksample(nodes, model, steps=4),
    }  # fmt: skip
    guiders = {
        "BasicGuider": _basic, "CFGGuider": _cfg, "DualCFGGuider, regular": dual("regular"),
        "DualCFGGuider, nested": dual("nested"), "PerpNegGuider": _perp_neg,
    }  # fmt: skip
    guidance = [
        _node("VideoLinearCFGGuidance", min_cfg=1.0), _node("VideoTriangleCFGGuidance", min_cfg=1.0),
        _node("RescaleCFG", multiplier=0.7), _node("SkipLayerGuidanceDiT", scale=3.0, **layers),
        _node("SkipLayerGuidanceDiTSimple", **layers),
        _node_on("Stable Video Diffusion", "PerturbedAttentionGuidance", scale=3.0),
        _node_on("Stable Video Diffusion", "SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
        _node("CFGZeroStar"), _node("TCFG"),
        _node("APG", eta=1.0, norm_threshold=5.0, momentum=-0.5), _node("Mahiro"),
        _node("FreSca", scale_low=1.0, scale_high=1.25, freq_cutoff=2),
        _node_on("Flux", "NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
        _node("CFGOverride", cfg=1.0, start_percent=0.6, end_percent=1.0),
        _node("TemporalScoreRescaling", tsr_k=0.95, tsr_sigma=1.0), _node("CFGNorm", strength=1.0),
    ]  # fmt: skip
    listed = [*(on_wan(GUIDERS, name, sample) for name, sample in guiders.items()), _two_models()]
    return listed + [on_wan(RUNS, name, sample) for name, sample in runs.items()] + guidance
