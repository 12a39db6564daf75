"""How much more than Euler's method a real sampler makes of one disturbed output, and what plans do then."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def gain_of(host, wan):
    import comfy.samplers
    from sencache.nodes.host.error_gain import error_gain

    sampling = wan.get_model_object("model_sampling")

    def run(name: str, steps: int = 12) -> float:
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
        return error_gain(comfy.samplers.sampler_object(name), sigmas, sampling, wan)

    return run


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_first_order_samplers_swing_as_eulers_method(gain_of, sampler):
    assert gain_of(sampler) == pytest.approx(1.0, abs=1e-3)


def test_multistep_samplers_swing_more_the_higher_their_order(gain_of):
    second, third, fourth = (gain_of(name) for name in ("dpmpp_2m", "uni_pc", "lms"))
    assert 1.5 < second < third < fourth
    assert gain_of("lms", 50) < fourth  # finer steps are more alike


@pytest.mark.parametrize("sampler", ["heun", "euler_ancestral", "dpmpp_2m_sde", "lcm", "dpm_adaptive"])
def test_samplers_that_cannot_be_told_say_so(gain_of, sampler):
    assert gain_of(sampler) is None


def test_what_is_no_sampler_of_the_hosts_kind_cannot_be_told(host, wan):
    from sencache.nodes.host.error_gain import error_gain, named_error_gain

    sampling = wan.get_model_object("model_sampling")
    for other in (None, object()):
        assert error_gain(other, torch.linspace(1, 0, 5), sampling) is None
    assert named_error_gain("no such sampler", torch.linspace(1, 0, 5), sampling) == 1.0


def test_a_sampler_that_changes_the_latents_size_cannot_be_told(host, wan):
    from sencache.nodes.host.error_gain import error_gain

    made = host.NODE_CLASS_MAPPINGS["SamplerLCMUpscale"].execute(2.0, 3, "bilinear").args[0]
    assert error_gain(made, torch.linspace(1, 0, 9), wan.get_model_object("model_sampling")) is None


def test_measuring_draws_nothing_from_the_random_numbers(gain_of):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    gain_of("dpmpp_2m_sde")
    assert torch.equal(torch.rand(3), expected)


def test_the_panels_question_leaves_the_random_numbers_of_a_run_beside_it_alone(host, wan, monkeypatch):
    """Not even put back: the run may have seeded them in between."""
    import comfy.samplers
    from sencache.nodes.host.error_gain import named_error_gain

    def never(*args, **kwargs):
        raise AssertionError("torch's random numbers were set")

    sampling = wan.get_model_object("model_sampling")
    before = torch.get_rng_state()
    monkeypatch.setattr(torch, "set_rng_state", never)
    monkeypatch.setattr(torch.random, "set_rng_state", never)
    for name in comfy.samplers.KSampler.SAMPLERS:
        named_error_gain(name, torch.linspace(1, 0, 8), sampling)
        assert torch.equal(torch.get_rng_state(), before), name


def test_a_sampler_that_swings_reuses_less_at_the_same_epsilon_and_says_what_it_expects(
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
    for sampler in ("euler", "uni_pc", "lms"):
        patched = patch(wan, speed_up=2.0)
        sample(patched, steps=12, sampler=sampler)
        assert records(patched)[-1].nfe == records(patched)[-1].planned <= 6
