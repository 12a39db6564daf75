"""The artist's workflow in API format: load, calibrate, patch, sample, look; and numbers for named nodes."""

from __future__ import annotations

from typing import Any

from host_inputs import patch_inputs


def artist_workflow(
    steps: int, calibration_steps: int, samples: int, table_name: str, seed: int = 7, **patch: Any
) -> dict[str, Any]:
    """Return the workflow with the tiny Wan model; `patch` holds Model Patch's inputs other than defaults."""
    model, positive, negative, latent = ["1", 0], ["2", 0], ["3", 0], ["4", 0]
    sampling = {"cfg": 5.0, "scheduler": "simple", "positive": positive, "negative": negative}
    return {
        "1": {"class_type": "UNETLoader",
              "inputs": {"unet_name": "tiny_wan.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "TinyPrompt", "inputs": {"prompt": 2}},
        "3": {"class_type": "TinyPrompt", "inputs": {"prompt": 0}},
        "4": {"class_type": "EmptyHunyuanLatentVideo",
              "inputs": {"width": 96, "height": 96, "length": 29, "batch_size": 1}},
        "5": {"class_type": "SenCacheCalibrate", "inputs": {
            **sampling, "model": model, "latent": latent, "steps": calibration_steps, "sampler": "euler",
            "samples": samples, "seed": 0, "table_name": table_name, "sensitivities": "every step"}},
        "6": {"class_type": "SenCacheModelPatch", "inputs": {
            "model": model, "sensitivity": ["5", 0], **patch_inputs(**patch)}},
        "7": {"class_type": "KSampler", "inputs": {
            **sampling, "model": ["6", 0], "seed": seed, "steps": steps, "sampler_name": "euler",
            "latent_image": latent, "denoise": 1.0}},
        "8": {"class_type": "SenCacheStats", "inputs": {"model": ["6", 0], "samples": ["7", 0]}},
    }  # fmt: skip


def numbered(prompt: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a prompt with numbers for its nodes' names, as the frontend likes them."""
    ids = {name: str(index + 1) for index, name in enumerate(prompt)}

    def value(given: Any) -> Any:
        return [ids[given[0]], given[1]] if isinstance(given, list) else given

    return {
        ids[name]: {**node, "inputs": {key: value(given) for key, given in node["inputs"].items()}}
        for name, node in prompt.items()
    }
