"""The demo model's workflow in API format: load, patch, sample, look at what was reused, decode."""

from __future__ import annotations

from typing import Any

from host_inputs import patch_inputs

PLACES = {"1": (0, 0), "2": (320, 0), "3": (760, 0), "4": (760, 350), "5": (1120, 0), "6": (1120, 150)}


def demo_workflow(steps: int = 20, table: str = "tiny_wan.safetensors", seed: int = 7, **patch: Any) -> dict:
    """Return the workflow; `patch` holds Model Patch's inputs other than defaults."""
    return {
        "1": {"class_type": "SenCacheDemo", "inputs": {"prompt": "bunny yawns"}},
        "2": {"class_type": "SenCacheModelPatch", "inputs": {
            "model": ["1", 0], "embedded_table": "", **patch_inputs(table=table, **patch)}},
        "3": {"class_type": "KSampler", "inputs": {
            "model": ["2", 0], "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 3],
            "seed": seed, "steps": steps, "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple",
            "denoise": 1.0}},
        "4": {"class_type": "SenCacheStats", "inputs": {"model": ["2", 0], "samples": ["3", 0]}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "demo"}},
        "6": {"class_type": "SenCacheDemoFrames", "inputs": {"samples": ["4", 0]}},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }  # fmt: skip


def with_calibration(workflow: dict[str, Any], name: str, steps: int = 10, samples: int = 2) -> dict:
    """Add a Calibrate node that measures the demo model, not connected to the patch."""
    calibrate = {"class_type": "SenCacheCalibrate", "inputs": {
        "model": ["1", 0], "positive": ["1", 1], "negative": ["1", 2], "latent": ["1", 3], "steps": steps,
        "sampler": "euler", "scheduler": "simple", "samples": samples, "cfg": 5.0, "seed": 0,
        "table_name": name}}  # fmt: skip
    return {**workflow, "8": calibrate}


def with_second_sampler(workflow: dict[str, Any]) -> dict[str, Any]:
    """Add a sampler that goes on from the first one's latent, and a Cache Stats that sees both."""
    second = {**workflow["3"]["inputs"], "latent_image": ["3", 0], "denoise": 0.5, "seed": 8}
    stats = {"model": ["2", 0], "samples": ["9", 0]}
    return {
        **workflow,
        "9": {"class_type": "KSampler", "inputs": second},
        "10": {"class_type": "SenCacheStats", "inputs": stats},
    }
