"""Samplers that add noise at every step: planned, foreseen, and better than fewer steps."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from host_inputs import empty_latent, patch_inputs, windowed
from sencache.calibration.table import load
from tiny_models import MODELS, sample

STEPS, CLIPS = 20, ((3, 730), (6, 760), (9, 790))
NOISY = ("er_sde", "euler_ancestral", "res_multistep_ancestral")


def patched(wan: Any, shipped: Any, **settings: Any) -> tuple[Any, Any]:
    from sencache.nodes.model_patch import SenCacheModelPatch

    model = SenCacheModelPatch.execute(wan, **patch_inputs(sensitivity=shipped, **settings)).args[0]
    return model, model.get_attachment("sencache").records


@pytest.fixture(scope="module")
def shipped() -> Any:
    from comfy_host import ROOT

    return load(ROOT / "tables" / "tiny_wan.safetensors")


def clips(host: ModuleType, model: Any, sampler: str, steps: int) -> list[torch.Tensor]:
    return [sample(host, model, MODELS["wan"], prompt, seed, sampler, steps, 5.0) for prompt, seed in CLIPS]


def rms(found: list[torch.Tensor], references: list[torch.Tensor]) -> float:
    squares = [float((a - b).square().mean()) for a, b in zip(found, references, strict=True)]
    return math.sqrt(sum(squares) / len(squares))


@pytest.mark.parametrize("sampler", NOISY)
def test_a_wish_is_met_and_ends_nearer_than_fewer_steps(host, wan, shipped, sampler):
    uncached = clips(host, wan, sampler, STEPS)
    model, records = patched(wan, shipped, speed_up=2.0)
    found = clips(host, model, sampler, STEPS)
    assert [(record.nfe, record.planned) for record in records] == [(10, 10)] * len(CLIPS)
    assert records[-1].config.forecast == "hold"
    assert rms(found, uncached) < 0.75 * rms(clips(host, wan, sampler, 10), uncached)


@pytest.mark.parametrize("sampler", NOISY)
def test_epsilon_reuses_within_what_is_predicted_and_as_planned(host, wan, shipped, sampler):
    model, records = patched(wan, shipped, epsilon=0.2)
    sample(host, model, MODELS["wan"], 3, 730, sampler, STEPS, 5.0)
    (record,) = records
    assert record.predicted_error <= 0.2
    assert record.nfe == record.planned < STEPS


def test_what_noise_makes_of_the_output_grows_with_it_and_is_none_without(wan):
    import comfy.samplers
    from sencache.nodes.host.sampler_response import sampler_response
    from sencache.nodes.host.sampling import points_of

    sampling = wan.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", STEPS)

    def misses(name: str) -> Any:
        response = sampler_response(comfy.samplers.sampler_object(name), sigmas, sampling, wan)
        return points_of(sampling, sigmas, 5.0, response).noise_misses

    assert misses("euler") is None
    little, much = misses("er_sde"), misses("euler_ancestral")
    assert little.shape == much.shape == (STEPS, STEPS)
    steps = little.diagonal(-1), much.diagonal(-1)  # from each step to the next
    assert all((one > 0).all() for one in steps)
    assert (steps[1] > steps[0])[STEPS // 4 :].all()  # er_sde adds most of its noise early
    assert (np.diff(much[:, 0]) > -0.02).all() and much[-1, 0] > 1.5 * much[1, 0]


def masked(host: ModuleType, wan: Any) -> tuple[Any, dict[str, Any]]:
    """Keep the left half of a latent: the host lays fresh noise over it at every step."""
    mask = torch.ones(1, 1, *empty_latent()["samples"].shape[-2:])
    mask[..., : mask.shape[-1] // 2] = 0
    return wan, {"latent": {"samples": 0.5 * torch.ones_like(empty_latent()["samples"]), "noise_mask": mask}}


def in_windows(host: ModuleType, wan: Any) -> tuple[Any, dict[str, Any]]:
    return windowed(wan), {}


@pytest.mark.parametrize("scene", [masked, in_windows])
@pytest.mark.parametrize("sampler", ["er_sde", "euler_ancestral", "lcm"])
def test_masks_and_context_windows_keep_the_wish_and_epsilon_0(
    host, wan, sample, patch, records, scene, sampler
):
    model, inputs = scene(host, wan)
    asked = {"steps": 12, "sampler": sampler, **inputs}
    uncached = sample(model, **asked)
    exact, fast = patch(model, epsilon=0.0), patch(model, speed_up=2.0)
    assert torch.equal(sample(exact, **asked), uncached)
    found = sample(fast, **asked)
    assert records(fast)[-1].nfe == records(fast)[-1].planned == 6
    fewer = sample(model, **{**asked, "steps": 6})
    assert rms([found], [uncached]) < 1.05 * rms([fewer], [uncached])
