"""The tiny model is the same network in ComfyUI and in the embedded runner."""

from __future__ import annotations

import pytest
import torch
from embedded import MODEL, schedule
from embedded import sample as embedded_sample
from sencache.demo.clip import prompt_embedding
from wan_model import TinyWan

PARITY = 1e-4


def test_comfyui_detects_wan_with_the_shift_that_the_embedded_runner_assumes(wan):
    from embedded import SHIFT

    assert type(wan.model.model_config).__name__ == "WAN21_T2V"
    assert wan.get_model_object("model_sampling").shift == SHIFT


@pytest.mark.parametrize("shape", [(1, 16, 8, 12, 12), (2, 16, 3, 8, 10), (1, 16, 1, 4, 4)])
@pytest.mark.parametrize("timestep", [1000.0, 640.5, 20.0])
def test_both_give_the_same_velocity(wan, shape, timestep):
    import comfy.model_management

    comfy.model_management.load_models_gpu([wan])
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(shape, generator=generator)
    context = prompt_embedding(3).repeat(shape[0], 1, 1)
    times = torch.full((shape[0],), timestep)
    with torch.inference_mode():
        ours = TinyWan.from_checkpoint(MODEL)(x, times, context)
        theirs = wan.model.diffusion_model(x, times, context=context)
    assert (ours - theirs).abs().max() < PARITY


@pytest.mark.parametrize("steps", [8, 12])
def test_both_sample_on_the_same_schedule(wan, steps):
    import comfy.samplers

    theirs = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", steps)
    assert torch.allclose(torch.tensor(schedule(steps)), theirs, atol=1e-6)


def test_both_sample_the_same_clip(wan, sample):
    theirs = wan.model.latent_format.process_in(sample(wan, steps=8, seed=11, prompt=4))
    ours, _ = embedded_sample(TinyWan.from_checkpoint(MODEL), 4, 11, 8)
    assert (ours - theirs).abs().max() < 10 * PARITY
