"""Tries SenCache in raylight, on a machine with two graphics cards; it was written on one without.

Start ComfyUI with raylight and this pack, a Wan model and its text encoder, then
`python tests/distributed/raylight_run.py ADDRESS --model FILE --encoder FILE`. It samples four times: without
the patch, measuring, at twice the speed, and with the patch taken off again. It prints what each took and
what Cache Stats (Ray) said, and fails unless the measuring and the last run are the first one's bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import urllib.parse
import urllib.request
from typing import Any

Prompt = dict[str, dict[str, Any]]
RAY = {
    "ray_cluster_address": "local", "ray_cluster_namespace": "default", "GPU": 2, "ulysses_degree": 2,
    "ring_degree": 1, "cfg_degree": 1, "dp_degree": 1, "sync_ulysses": False,
    "clear_vram_after_sampling": False, "FSDP": False, "FSDP_CPU_OFFLOAD": False,
    "XFuser_attention": "TORCH_FLASH", "skip_comm_test": False, "use_mmap": False,
}  # fmt: skip


def workflow(asked: argparse.Namespace, patch: dict[str, Any] | None) -> Prompt:
    """Return the workflow in API format, with Model Patch (Ray) if it is asked for."""
    text = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["encoder", 0]}}
    actors = ["loader", 0] if patch is None else ["patch", 0]
    prompt = {
        "ray": {"class_type": "RayInitializer", "inputs": {**RAY, "FSDP": asked.fsdp}},
        "loader": {"class_type": "RayUNETLoader", "inputs": {
            "unet_name": asked.model, "weight_dtype": "default", "ray_actors_init": ["ray", 0]}},
        "encoder": {"class_type": "CLIPLoader", "inputs": {"clip_name": asked.encoder, "type": "wan"}},
        "positive": {**text, "inputs": {**text["inputs"], "text": "a red fox walks through fresh snow"}},
        "negative": {**text, "inputs": {**text["inputs"], "text": "blurry"}},
        "latent": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {
            "width": 832, "height": 480, "length": 33, "batch_size": 1}},
        "sampler": {"class_type": "XFuserKSamplerAdvanced", "inputs": {
            "add_noise": "enable", "noise_seed": 7, "steps": asked.steps, "cfg": 5.0, "sampler_name": "euler",
            "scheduler": "simple", "ray_actors": actors, "positive": ["positive", 0],
            "negative": ["negative", 0], "latent_image": ["latent", 0], "start_at_step": 0,
            "end_at_step": 10000, "return_with_leftover_noise": "disable", "denoise": 1.0}},
        "stats": {"class_type": "SenCacheStatsRay", "inputs": {
            "ray_actors": ["sampler", 1], "samples": ["sampler", 0]}},
        "saved": {"class_type": "SaveLatent", "inputs": {
            "samples": ["stats", 0], "filename_prefix": f"raylight {time.time()}"}},
    }  # fmt: skip
    if patch is not None:
        prompt["patch"] = {"class_type": "SenCacheModelPatchRay", "inputs": {
            "ray_actors": ["loader", 0], "table": "automatic", "epsilon": 0.03, "n": 30, "rule": "plan",
            "forecast": "linear", "start_percent": 0.0, "end_percent": 1.0, "strict_percent": 0.0,
            "strict_epsilon": 0.0, "cache_device": "model", "any_model": False, "measure": True,
            "exact": False, "speed_up": 2.0, **patch}}  # fmt: skip
    return prompt


def run(address: str, prompt: Prompt) -> tuple[float, str, str]:
    """Queue a workflow; return its seconds, the hash of its latent, and Cache Stats' report."""
    began = time.perf_counter()
    body = json.dumps({"prompt": prompt}).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/prompt", body, headers)) as response:
        prompt_id = json.load(response)["prompt_id"]
    while True:
        with urllib.request.urlopen(f"{address}/history/{prompt_id}") as response:
            history = json.load(response).get(prompt_id)
        if history is not None:
            break
        time.sleep(0.5)
    seconds = time.perf_counter() - began
    if history["status"]["status_str"] != "success":
        raise SystemExit(json.dumps(history["status"]["messages"][-1], indent=1))
    file = urllib.parse.urlencode(history["outputs"]["saved"]["latents"][0])
    with urllib.request.urlopen(f"{address}/view?{file}") as response:
        latent = response.read()
    header = int.from_bytes(latent[:8], "little")  # the workflow lies in the file's header
    return seconds, hashlib.sha256(latent[8 + header :]).hexdigest(), history["outputs"]["stats"]["text"][0]


def main() -> None:
    """Sample four times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address")
    parser.add_argument("--model", required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fsdp", action="store_true", help="spread the weights over both cards")
    asked = parser.parse_args()
    patches = {"plain": None, "measuring": {}, "twice the speed": {}, "final": {"exact": True}}
    found = {}
    for name, patch in patches.items():
        seconds, found[name], text = run(asked.address, workflow(asked, patch))
        print(f"{name}: {seconds:.1f} s\n{text}\n")
    exact = found["plain"] == found["measuring"] == found["final"] != found["twice the speed"]
    raise SystemExit(None if exact else f"the results are not as they should be: {found}")


if __name__ == "__main__":
    main()
