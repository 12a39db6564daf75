"""The plan knows how strongly each guider guides, and so what an error in one branch becomes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from guidance import dual
from host_inputs import LATENT_SHAPE, conditioning
from judge import SETTINGS, Scene, flat, run_with
from scenes import wan as load_wan


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ({"cfg": 5.0}, 5.0),
        ({"cfg": 1.0, "cfg1": 4.0, "cfg2": 3.0}, 4.0),
        ({"cfg": 1.0, "cfg1": 4.0, "cfg2": 3.0, "nested": True}, 12.0),
        ({}, None),
        ({"cfg": "by the prompt"}, None),
    ],
)
def test_the_weight_of_the_positive_branch_is_read_off_the_guider(host, numbers, expected):
    from sencache.nodes.host.guidance import guidance_scale

    assert guidance_scale(SimpleNamespace(**numbers)) == expected


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_two_guidances_in_one_guider_are_planned_with_their_real_strength(host, style):
    """Planned as if unguided, the nested result was 20 dB away at the defaults."""
    scene = Scene((load_wan(host),), lambda model: dual(style)(host, model))
    run = run_with(scene, SETTINGS["by_error"], flat(scene.sample(*scene.models)))
    assert run["honest"] and run["psnr"] > 40


def strong(model, scale):
    """Return a guider that keeps its strength to itself, as STGGuiderAdvanced and APGGuider do."""
    import comfy.samplers

    class Strong(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 - the host's own
            conds = [self.conds["positive"], self.conds["negative"]]
            positive, negative = comfy.samplers.calc_cond_batch(
                self.inner_model, conds, x, timestep, model_options
            )
            return negative + scale * (positive - negative)

    guider = Strong(model)
    guider.set_conds(conditioning(2), conditioning(0))
    return guider


def test_a_guider_that_keeps_its_strength_to_itself_is_planned_as_the_table_was_measured(host):
    """Taken for unguided, it computed 6 of 16 steps and ended 24 dB away; 11 of 16 are 67 dB."""
    import comfy.samplers
    from sencache.nodes.host.guidance import guidance_scale

    def sampled(model):
        sigmas = comfy.samplers.KSampler(model, 16, "cpu", "euler", "simple").sigmas
        noise = torch.randn(LATENT_SHAPE, generator=torch.Generator().manual_seed(1))
        sampler = comfy.samplers.sampler_object("euler")
        return strong(model, 6.0).sample(noise, torch.zeros(LATENT_SHAPE), sampler, sigmas)

    guider = strong(load_wan(host), 6.0)
    assert guider.cfg == 1.0 and guidance_scale(guider) is None
    scene = Scene((load_wan(host),), sampled)
    run = run_with(scene, {"epsilon": 0.05}, flat(scene.sample(*scene.models)))
    assert run["honest"] and run["psnr"] > 40
