"""From a fresh ComfyUI to a faster video: loader, Model Patch, sampler, nothing else, queued twice."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from comfy_host import DEMO_MODEL, TINY_MODELS
from comfy_server import ComfyServer
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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that knows no table of its models: they are fine-tunes of those that have one."""
    with ComfyServer(tmp_path_factory.mktemp("first run")) as running:
        folder = running.base / "models" / "diffusion_models"
        for name, file in FILES.items():
            for version, by in (("tuned", 1.001), ("low", 1.002), ("both", 1.003)):
                weights = {key: (one * by).to(one.dtype) for key, one in load_file(file).items()}
                save_file(weights, folder / f"{name} {version}.safetensors")
        yield running


def counts(server: ComfyServer) -> list[tuple[int, int]]:
    """Return what each run computed, as the server's log says."""
    found = re.findall(r"SenCache: (\d+) of (\d+) evaluations computed", server.log.read_text())
    return [(int(computed), int(total)) for computed, total in found]


def patched(prompt: dict[str, Any], file: str, patch: str, loader: str) -> list[Any]:
    """Add a loader and a Model Patch as it is dropped in, but for a wished speed; return its model."""
    prompt[loader] = {"class_type": "UNETLoader", "inputs": {"unet_name": file, "weight_dtype": "default"}}
    settings = {
        "table": "automatic", "epsilon": 0.02, "speed_up": 2.0, "n": 30, "rule": "plan", "forecast": "linear",
        "start_percent": 0.0, "end_percent": 1.0, "strict_percent": 0.0, "strict_epsilon": 0.01,
        "cache_device": "model", "any_model": False,
    }  # fmt: skip
    prompt[patch] = {"class_type": "SenCacheModelPatch", "inputs": {"model": [loader, 0], **settings}}
    return [patch, 0]


def begun(name: str) -> dict[str, Any]:
    """Return a workflow's prompts, and its latent of the model's own size."""
    node, size, frames = LATENTS[name]
    inputs = {"width": size, "height": size, "length": frames, "batch_size": 1}
    return {
        "positive": {"class_type": "TinyPrompt", "inputs": {"prompt": 5, "masked": name == "ltxv"}},
        "negative": {"class_type": "TinyPrompt", "inputs": {"prompt": 0, "masked": name == "ltxv"}},
        "latent": {"class_type": node, "inputs": inputs},
    }


def sampled(name: str, file: str, seed: int = 7) -> dict[str, Any]:
    """Return the workflow: KSampler, or for CogVideoX the sampler that it needs."""
    prompt = begun(name)
    model = patched(prompt, file, "patch", "loader")
    ends = {"positive": ["positive", 0], "negative": ["negative", 0]}
    if name != "cogvideox":
        prompt["sampler"] = {"class_type": "KSampler", "inputs": {
            **ends, "model": model, "latent_image": ["latent", 0], "seed": seed, "steps": STEPS, "cfg": 5.0,
            "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}}  # fmt: skip
    else:
        prompt |= {
            "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": seed}},
            "guider": {"class_type": "CFGGuider", "inputs": {**ends, "model": model, "cfg": 5.0}},
            "void": {"class_type": "VOIDSampler", "inputs": {}},
            "sigmas": {"class_type": "BasicScheduler", "inputs": {
                "model": model, "scheduler": "simple", "steps": STEPS, "denoise": 1.0}},
            "sampler": {"class_type": "SamplerCustomAdvanced", "inputs": {
                "noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["void", 0],
                "sigmas": ["sigmas", 0], "latent_image": ["latent", 0]}},
        }  # fmt: skip
    save = {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": "first"}}
    return {**prompt, "save": save}


def experts(seed: int = 7) -> dict[str, Any]:
    """Return Wan 2.2's way: one expert samples the first half of the steps, another goes on."""
    prompt = begun("wan")
    high, low = (
        patched(prompt, f"wan {version}.safetensors", f"{version} patch", f"{version} loader")
        for version in ("both", "low")
    )
    common = {"positive": ["positive", 0], "negative": ["negative", 0], "noise_seed": seed, "steps": STEPS,
              "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple"}  # fmt: skip
    prompt["high"] = {"class_type": "KSamplerAdvanced", "inputs": {
        **common, "model": high, "latent_image": ["latent", 0], "add_noise": "enable", "start_at_step": 0,
        "end_at_step": 10, "return_with_leftover_noise": "enable"}}  # fmt: skip
    prompt["low"] = {"class_type": "KSamplerAdvanced", "inputs": {
        **common, "model": low, "latent_image": ["high", 0], "add_noise": "disable", "start_at_step": 10,
        "end_at_step": 10000, "return_with_leftover_noise": "disable"}}  # fmt: skip
    save = {"class_type": "SaveLatent", "inputs": {"samples": ["low", 0], "filename_prefix": "first"}}
    return {**prompt, "save": save}


@pytest.mark.parametrize("name", list(FILES))
def test_the_second_queue_is_faster(server, name):
    if name == "cogvideox" and "VOIDSampler" not in server.get("/object_info"):
        pytest.skip("this host has no CogVideoX")
    before = len(counts(server))
    for _ in range(2):  # the very same workflow: it must not stay on the measuring run
        server.run(sampled(name, f"{name} tuned.safetensors"))
    assert counts(server)[before:] == [(STEPS, STEPS), (STEPS // 2, STEPS)]
    server.run(sampled(name, f"{name} tuned.safetensors"))  # and what is planned is kept by the host
    assert len(counts(server)) == before + 2


def test_both_experts_are_measured_and_then_planned(server):
    before = len(counts(server))
    for _ in range(2):
        server.run(experts())
    assert counts(server)[before:] == [(10, 10), (10, 10), (5, 10), (5, 10)]


def test_two_queued_at_once_are_both_right(server):
    before = len(counts(server))
    prompts = [sampled("wan", "wan low.safetensors", seed) for seed in (1, 2)]
    threads = [threading.Thread(target=server.run, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = counts(server)[before:]
    assert len(found) == 2 and found[1][0] < STEPS
