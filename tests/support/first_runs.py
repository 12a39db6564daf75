"""Workflows of models that nobody has measured, as they are dropped in: loader, Model Patch, sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_host import DEMO_MODEL, TINY_MODELS
from host_inputs import patch_inputs
from safetensors.torch import load_file, save_file

STEPS = 20
FILES = {
    "wan": DEMO_MODEL,
    "ltxv": TINY_MODELS / "tiny_ltxv.safetensors",
    "cogvideox": TINY_MODELS / "tiny_cogvideox.safetensors",
}
LATENTS = {
    "wan": ("EmptyHunyuanLatentVideo", 96, 29),
    "ltxv": ("EmptyLTXVLatentVideo", 192, 25),
    "cogvideox": ("EmptyHunyuanLatentVideo", 96, 29),
}
Prompt = dict[str, dict[str, Any]]


def save_tuned(name: str, by: float, file: Path) -> None:
    """Write a fine-tune of a tiny model; another factor makes another model, whose table nobody has."""
    weights = {key: (one * by).to(one.dtype) for key, one in load_file(FILES[name]).items()}
    save_file(weights, file)


def patched(prompt: Prompt, file: str, patch: str, loader: str, **settings: Any) -> list[Any]:
    """Add a loader and a Model Patch with its defaults but for `settings`; return its model."""
    prompt[loader] = {"class_type": "UNETLoader", "inputs": {"unet_name": file, "weight_dtype": "default"}}
    inputs = {"model": [loader, 0], "embedded_table": "", **patch_inputs(**settings)}
    prompt[patch] = {"class_type": "SenCacheModelPatch", "inputs": inputs}
    return [patch, 0]


def begun(name: str) -> Prompt:
    """Return a workflow's prompts, and its latent of the model's own size."""
    node, size, frames = LATENTS[name]
    inputs = {"width": size, "height": size, "length": frames, "batch_size": 1}
    return {
        "positive": {"class_type": "TinyPrompt", "inputs": {"prompt": 5, "masked": name == "ltxv"}},
        "negative": {"class_type": "TinyPrompt", "inputs": {"prompt": 0, "masked": name == "ltxv"}},
        "latent": {"class_type": node, "inputs": inputs},
    }


def sampled(name: str, file: str, seed: int = 7, **settings: Any) -> Prompt:
    """Return the workflow: KSampler, or for CogVideoX the sampler that it needs."""
    prompt = begun(name)
    model = patched(prompt, file, "patch", "loader", **settings)
    ends = {"positive": ["positive", 0], "negative": ["negative", 0]}
    if name != "cogvideox":
        prompt["sampler"] = {"class_type": "KSampler", "inputs": {
            **ends, "model": model, "latent_image": ["latent", 0], "seed": seed, "steps": STEPS, "cfg": 5.0,
            "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}}  # fmt: skip
        return prompt
    return prompt | {
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": seed}},
        "guider": {"class_type": "CFGGuider", "inputs": {**ends, "model": model, "cfg": 5.0}},
        "void": {"class_type": "VOIDSampler", "inputs": {}},
        "sigmas": {"class_type": "BasicScheduler", "inputs": {
            "model": model, "scheduler": "simple", "steps": STEPS, "denoise": 1.0}},
        "sampler": {"class_type": "SamplerCustomAdvanced", "inputs": {
            "noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["void", 0],
            "sigmas": ["sigmas", 0], "latent_image": ["latent", 0]}},
    }  # fmt: skip


def experts(high_file: str, low_file: str, seed: int = 7, **settings: Any) -> Prompt:
    """Return Wan 2.2's way: one expert samples the first half of the steps, another goes on."""
    prompt = begun("wan")
    high = patched(prompt, high_file, "high patch", "high loader", **settings)
    low = patched(prompt, low_file, "low patch", "low loader", **settings)
    common = {"positive": ["positive", 0], "negative": ["negative", 0], "noise_seed": seed, "steps": STEPS,
              "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple"}  # fmt: skip
    prompt["high"] = {"class_type": "KSamplerAdvanced", "inputs": {
        **common, "model": high, "latent_image": ["latent", 0], "add_noise": "enable", "start_at_step": 0,
        "end_at_step": STEPS // 2, "return_with_leftover_noise": "enable"}}  # fmt: skip
    prompt["low"] = {"class_type": "KSamplerAdvanced", "inputs": {
        **common, "model": low, "latent_image": ["high", 0], "add_noise": "disable",
        "start_at_step": STEPS // 2, "end_at_step": 10000,
        "return_with_leftover_noise": "disable"}}  # fmt: skip
    return prompt


def saved(prompt: Prompt, samples: str) -> Prompt:
    """Return the workflow with its latent saved."""
    inputs = {"samples": [samples, 0], "filename_prefix": "first"}
    return {**prompt, "save": {"class_type": "SaveLatent", "inputs": inputs}}


def with_stats(prompt: Prompt, name: str, patch: str, samples: str) -> Prompt:
    """Return the workflow with a Cache Stats that looks at one sampler."""
    inputs = {"model": [patch, 0], "samples": [samples, 0]}
    return {**prompt, name: {"class_type": "SenCacheStats", "inputs": inputs}}
