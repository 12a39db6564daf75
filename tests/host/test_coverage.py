"""A table covers the model's whole range of sigma, whatever steps and sampler it was measured with."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def coverage(host, wan):
    from sencache.nodes.host.coverage import Coverage

    return Coverage(wan.get_model_object("model_sampling"))


def model_times(sampling) -> list[float]:
    """The model times of the largest and the smallest sigma."""
    ends = torch.stack([torch.as_tensor(sampling.sigma_max), torch.as_tensor(sampling.sigma_min)])
    return sampling.timestep(ends).tolist()


@pytest.mark.parametrize(("steps", "sampler"), [(2, "euler"), (5, "euler"), (8, "uni_pc"), (4, "heun")])
def test_the_modes_reach_both_ends_of_the_model_and_are_nowhere_coarse(calibrate, wan, steps, sampler):
    from sencache.nodes.host.sampling import progress_of

    table = calibrate(samples=1, steps=steps, sampler=sampler).args[0]
    sampling, times = wan.get_model_object("model_sampling"), table.modes.timestep
    first, last = model_times(sampling)
    assert times[[0, -1]].tolist() == pytest.approx([first, last], rel=1e-3)
    progress = [progress_of(sampling)(time / 1000) for time in times.tolist()]
    assert max(after - before for before, after in zip(progress, progress[1:], strict=False)) <= 1.5 / 30
    assert bool(table.modes.covers([first, 500.0, last]).all())


def test_a_sampler_that_adds_noise_is_covered_too(calibrate, wan):
    table = calibrate(samples=1, steps=6, sampler="euler_ancestral").args[0]
    ends = model_times(wan.get_model_object("model_sampling"))
    assert table.modes.timestep[[0, -1]].tolist() == pytest.approx(ends, rel=1e-3)


@pytest.mark.parametrize("name", ["ltxv", "cogvideox"])
def test_other_models_are_covered_to_their_own_ends(host, calibrate, required, name):
    from tiny_models import sampler_object

    tiny = required(name)
    model = tiny.load(host)
    own = None if "euler" in tiny.samplers else sampler_object(host, tiny.samplers[0])
    prompts = {"positive": tiny.conditioning(2), "negative": tiny.conditioning(0)}
    table = calibrate(model, samples=1, own_sampler=own, latent=tiny.empty_latent(), **prompts).args[0]
    ends = model_times(model.get_model_object("model_sampling"))
    assert table.modes.timestep[[0, -1]].tolist() == pytest.approx(ends, rel=1e-3, abs=1e-3)


def test_at_least_24_steps_are_measured(host, wan, calibrate, monkeypatch):
    from sencache.nodes.host import calibration, coverage

    assert coverage.LEAST_STEPS == 24
    monkeypatch.setattr(calibration, "LEAST_STEPS", 24)
    table = calibrate(samples=1, steps=4).args[0]
    assert len(table.timestep) == 23 and table.metadata["steps"] == "4"


def test_between_two_places_the_latent_is_mixed_as_the_host_mixes_it(coverage, wan):
    """On the straight way from noise to a clean latent every mixed latent lies on that way."""
    from sencache.nodes.host.coverage import Place

    sampling = wan.get_model_object("model_sampling")
    clean, noise = (torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))

    def on_the_way(sigma: float) -> torch.Tensor:
        return sampling.noise_scaling(torch.tensor(sigma), noise.clone(), clean.clone())

    one, other = (Place(on_the_way(sigma), sigma, clean) for sigma in (0.9, 0.4))
    for sigma, x in coverage.mixed([0.99, 0.8, 0.5, 0.1], one, other):
        assert torch.allclose(x, on_the_way(sigma), atol=1e-5)


def test_no_sigma_is_measured_twice(coverage, wan):
    import comfy.samplers

    sampling = wan.get_model_object("model_sampling")
    for steps in (2, 5, 24, 30, 50):
        own = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
        beside = coverage.all_sigmas(own)
        every = sorted([*own[:-1].tolist(), *beside], reverse=True)
        assert all(after < before * (1 - 1e-4) for before, after in zip(every, every[1:], strict=False))
        assert every[-1] == float(sampling.sigma_min)
    assert len(coverage.all_sigmas(comfy.samplers.calculate_sigmas(sampling, "simple", 30))) == 1  # its end
