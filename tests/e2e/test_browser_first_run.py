"""A model that nobody has measured, as an artist meets it: the panels say what the first run is for."""

from __future__ import annotations

from comfy_host import DEMO_MODEL
from host_inputs import patch_inputs
from safetensors.torch import load_file, save_file

STEPS = 20
PLACES = {str(node + 1): (0, 150 * node) for node in range(4)}
PLACES |= {"5": (320, 0), "6": (760, 0), "7": (1120, 0)}


def workflow(file: str) -> dict:
    """Return loader, Model Patch, KSampler and Cache Stats, all as they are dropped in."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": file, "weight_dtype": "default"}},
        "2": {"class_type": "TinyPrompt", "inputs": {"prompt": 5}},
        "3": {"class_type": "TinyPrompt", "inputs": {"prompt": 0}},
        "4": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {
            "width": 96, "height": 96, "length": 29, "batch_size": 1}},
        "5": {"class_type": "SenCacheModelPatch", "inputs": {
            "model": ["1", 0], "embedded_table": "", **patch_inputs()}},
        "6": {"class_type": "KSampler", "inputs": {
            "model": ["5", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
            "seed": 7, "steps": STEPS, "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple",
            "denoise": 1.0}},
        "7": {"class_type": "SenCacheStats", "inputs": {"model": ["5", 0], "samples": ["6", 0]}},
    }  # fmt: skip


def test_the_first_queue_measures_and_the_second_is_faster(studio):
    file = f"nobody measured {'nodes2' if studio.nodes2 else 'classic'}.safetensors"
    by = 1.004 if studio.nodes2 else 1.005
    weights = {name: one * by for name, one in load_file(DEMO_MODEL).items()}
    save_file(weights, studio.server.base / "models" / "diffusion_models" / file)
    studio.open()
    studio.load(workflow(file), PLACES)
    studio.until(lambda: any("the first run measures it" in said for said in studio.panels()))
    studio.picture("first_run_before")
    studio.finished(studio.queue())
    studio.until(lambda: any("The model was measured in this run" in said for said in studio.panels()))
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))  # the plan is there without a second run
    planned = int(studio.panel().get_attribute("data-nfe"))
    assert planned < STEPS and "measured/nobody_measured" in studio.panel().inner_text()
    studio.picture("first_run_after")
    studio.finished(studio.queue())
    computed = f"{planned} of {STEPS} evaluations computed"
    studio.until(lambda: any(computed in said for said in studio.panels()))
    studio.picture("second_run")
