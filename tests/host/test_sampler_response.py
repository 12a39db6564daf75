"""Where a real sampler evaluates, what it makes of a disturbed output, and how far its noise moves it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch


@pytest.fixture
def response_of(host, wan):
    import comfy.samplers
    from sencache.nodes.host.sampler_response import sampler_response

    sampling = wan.get_model_object("model_sampling")

    def run(name: str, steps: int = 12):
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
        return sampler_response(comfy.samplers.sampler_object(name), sigmas, sampling, wan)

    return run


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_first_order_samplers_make_of_an_error_what_eulers_method_does(response_of, sampler):
    response = response_of(sampler)
    assert response.told and response.error_gain == pytest.approx(1.0, abs=1e-3)
    assert response.evaluations == () and response.noise_moves is None


def test_multistep_samplers_amplify_errors_more_the_higher_their_order(response_of):
    second, third, fourth = (response_of(name).error_gain for name in ("dpmpp_2m", "uni_pc", "lms"))
    assert 1.5 < second < third < fourth
    assert response_of("lms", 50).error_gain < fourth  # finer steps are more alike


@pytest.mark.parametrize(("sampler", "count"), [("heun", 23), ("dpm_2", 23), ("heunpp2", 33)])
def test_samplers_of_several_evaluations_a_step_tell_where_they_evaluate(response_of, sampler, count):
    response = response_of(sampler)
    assert response.told and len(response.evaluations) == count and response.noise_moves is None


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "lcm", "er_sde"])
def test_samplers_that_add_noise_tell_how_far_it_moves_the_latent(response_of, sampler):
    response = response_of(sampler)
    assert response.told and len(response.evaluations) == 12 and response.noise_moves.shape == (12, 12)
    assert (response.noise_moves.diagonal(-1) > 0).sum() >= 11


def test_the_move_by_noise_is_that_of_the_ancestral_step(response_of, wan):
    """To its second evaluation a flow's ancestral step mixes in fresh noise, by its own formula."""
    response = response_of("euler_ancestral")
    first, second = response.evaluations[:2]
    down = second * second / first  # at eta 1
    alpha, alpha_down = 1 - second, 1 - down
    fresh = math.sqrt(second**2 - down**2 * alpha**2 / alpha_down**2)
    old = down * alpha / alpha_down  # what is left of the first noise
    moved = math.sqrt((first - old) ** 2 + fresh**2)
    expected = math.sqrt(moved**2 - (first - second) ** 2)
    assert response.noise_moves[1, 0] == pytest.approx(expected, rel=0.05)


def test_an_adaptive_sampler_and_one_that_needs_the_network_cannot_be_told(response_of):
    assert not response_of("dpm_adaptive").told
    assert not response_of("res_multistep_cfg_pp").told


def test_what_is_no_sampler_of_the_hosts_kind_cannot_be_told(host, wan):
    from sencache.nodes.host.sampler_response import EULER, UNKNOWN, named_response, sampler_response

    sampling = wan.get_model_object("model_sampling")
    for other in (None, object()):
        assert sampler_response(other, torch.linspace(1, 0, 5), sampling) is UNKNOWN
    assert named_response("no such sampler", torch.linspace(1, 0, 5), sampling) is EULER


def test_a_sampler_that_changes_the_latents_size_cannot_be_told(host, wan):
    from sencache.nodes.host.sampler_response import sampler_response

    made = host.NODE_CLASS_MAPPINGS["SamplerLCMUpscale"].execute(2.0, 3, "bilinear").args[0]
    assert not sampler_response(made, torch.linspace(1, 0, 9), wan.get_model_object("model_sampling")).told


@pytest.mark.parametrize(
    "name", ["euler_ancestral", "er_sde", "dpmpp_2m_sde", "dpmpp_sde", "seeds_2", "ddpm"]
)
def test_noise_given_to_a_sampler_tells_what_its_own_does(host, wan, name, monkeypatch):
    """The host's tree of Brownian noise alone takes half a second at 50 steps."""
    import comfy.samplers
    from sencache.nodes.host import sampler_response as module

    sampling, sampler = wan.get_model_object("model_sampling"), comfy.samplers.sampler_object(name)
    given = module.sampler_response(sampler, torch.linspace(1, 0, 9), sampling, wan)
    monkeypatch.setattr(module, "_takes_noise", lambda function: False)
    own = module.sampler_response(sampler, torch.linspace(1, 0, 9), sampling, wan)
    assert given.told and given.evaluations == own.evaluations
    assert given.error_gain == pytest.approx(own.error_gain, rel=1e-3)
    assert np.abs(given.noise_moves - own.noise_moves).max() < 0.08 * own.noise_moves.max()


def test_the_random_numbers_of_a_run_beside_it_are_left_alone(host, wan, monkeypatch):
    """Not even put back: the run may have seeded them in between."""
    import comfy.samplers
    from sencache.nodes.host.sampler_response import named_response

    def never(*args, **kwargs):
        raise AssertionError("torch's random numbers were set")

    sampling = wan.get_model_object("model_sampling")
    before = torch.get_rng_state()
    monkeypatch.setattr(torch, "set_rng_state", never)
    monkeypatch.setattr(torch.random, "set_rng_state", never)
    for name in comfy.samplers.KSampler.SAMPLERS:
        named_response(name, torch.linspace(1, 0, 8), sampling)
        assert torch.equal(torch.get_rng_state(), before), name


def test_a_sampler_that_amplifies_errors_reuses_less_at_the_same_epsilon_and_says_what_it_expects(
    wan, sample, patch, records
):
    found = {}
    for sampler in ("euler", "lms"):
        patched = patch(wan, epsilon=0.05)
        sample(patched, steps=12, sampler=sampler)
        found[sampler] = records(patched)[-1]
    assert found["lms"].nfe > found["euler"].nfe
    assert found["lms"].predicted_error <= 0.05


def test_a_wished_speed_up_is_kept_whatever_the_sampler(wan, sample, patch, records):
    for sampler in ("euler", "uni_pc", "lms", "er_sde", "euler_ancestral", "lcm"):
        patched = patch(wan, speed_up=2.0)
        sample(patched, steps=12, sampler=sampler)
        assert records(patched)[-1].nfe == records(patched)[-1].planned == 6, sampler
