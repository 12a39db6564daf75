"""ComfyUI reads each tiny model as what it is, and gives the same output as the network that was trained."""

from __future__ import annotations

import importlib

import pytest
import torch
from cogvideox_model import TinyCogVideoX
from comfy_host import model_file
from ltxv_model import TinyLTXV
from safetensors.torch import load_file
from sencache.demo.clip import prompt_embedding

PARITY = 1e-4
CASES = {
    "tiny_ltxv": (TinyLTXV, "LTXV", (2, 128, 4, 6, 6), (1.0, 0.64, 0.02)),
    "tiny_cogvideox": (TinyCogVideoX, "CogVideoX_T2V", (2, 16, 8, 12, 12), (999.0, 640.0, 20.0)),
}


@pytest.fixture(params=CASES)
def case(request, host):
    """Load one model through the ordinary loader node."""
    name = request.param
    config = CASES[name][1]
    if not hasattr(importlib.import_module("comfy.supported_models"), config):
        pytest.skip(f"this host has no {config}")
    loaded = host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet(f"{name}.safetensors", "default")[0]
    return name, loaded


def test_comfyui_gives_the_trained_networks_output(case):
    import comfy.model_management

    name, loaded = case
    network, config, shape, times = CASES[name]
    assert type(loaded.model.model_config).__name__ == config
    comfy.model_management.load_models_gpu([loaded])
    ours = network().eval()
    ours.load_state_dict(load_file(model_file(name)))
    generator = torch.Generator().manual_seed(5)
    for time in times:
        x = torch.randn(shape, generator=generator)
        inputs = x, torch.full((shape[0],), time), prompt_embedding(3).repeat(shape[0], 1, 1)
        with torch.inference_mode():
            theirs = loaded.model.diffusion_model(x.clone(), *inputs[1:], attention_mask=None)
            assert (ours(*inputs) - theirs).abs().max() < PARITY


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_small_and_half_precision(name):
    path = model_file(name)
    assert path.stat().st_size <= 6_000_000
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
