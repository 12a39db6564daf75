"""LTX-Video and CogVideoX as well: calibrated, patched, planned, and exact with reuse off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_models import sample, sampler_object

STEPS = 12
OTHERS = ("ltxv", "cogvideox")


@pytest.fixture(params=OTHERS)
def tiny(request, required):
    """One of the models other than Wan."""
    return required(request.param)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"n": 0}, {"epsilon": 0.0, "speed_up": 3.0}])
def test_with_reuse_off_the_result_is_exactly_the_unpatched_one(host, patch, tiny, cfg, off):
    model = tiny.load(host)
    settings = (tiny, 2, 5, tiny.samplers[0], 6, cfg)
    assert torch.equal(sample(host, patch(model, **off), *settings), sample(host, model, *settings))


@pytest.mark.parametrize("name", ["wan", *OTHERS])
@pytest.mark.parametrize("speed_up", [1.5, 2.0, 3.0])
def test_a_wished_speed_up_is_reached_as_planned_and_the_clip_stays_near(
    host, required, patch, records, name, speed_up
):
    tiny = required(name)
    model = tiny.load(host)
    for sampler in tiny.samplers:
        settings = (tiny, 2, 5, sampler, 24, 5.0)
        expected = sample(host, model, *settings)
        patched = patch(model, speed_up=speed_up)
        result = sample(host, patched, *settings)
        record = records(patched)[-1]
        assert record.nfe == record.planned <= 24 / speed_up
        assert len(record.evaluations) == 24 and record.nfe >= 24 / speed_up - 3
        off = (result - expected).square().mean().sqrt().item()
        assert 0 < off < (0.4 if sampler == "uni_pc" else 0.35)  # uni_pc answers a seam by a error_gain
        assert record.predicted_error > 0


@pytest.mark.parametrize(("name", "sampler"), [("wan", "euler"), ("ltxv", "euler"), ("cogvideox", "void")])
def test_where_a_line_would_err_too_far_a_run_is_one_of_the_computed_steps_alone(
    host, required, patch, records, name, sampler
):
    tiny = required(name)
    model = tiny.load(host)
    patched = patch(model, speed_up=4.0)
    result = sample(host, patched, tiny, 2, 5, sampler, 8, 5.0)
    record = records(patched)[-1]
    assert record.config.forecast == "hold" and record.nfe == 2
    sigmas = torch.tensor([one.sigma for one in record.evaluations if not one.decision.reuse] + [0.0])
    fewer = sample(host, model, tiny, 2, 5, sampler, 2, 5.0, sigmas)
    apart = (result - fewer).square().mean().sqrt().item()
    assert apart < 0.02 * fewer.std().item()


def test_the_shipped_table_is_found_by_itself_and_belongs_to_the_model_alone(host, patch, tiny):
    patched = patch(tiny.load(host))
    assert patched.get_attachment("sencache") is not None
    with pytest.raises(ValueError, match="was measured on WAN21_T2V"):
        patch(tiny.load(host), table="tiny_wan.safetensors")


def test_calibrate_measures_along_the_models_own_sampler(host, patch, records, tiny):
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables.files import save_target

    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    own = sampler_object(host, tiny.samplers[0])
    model = tiny.load(host)
    table, _, text = SenCacheCalibrate.execute(
        model, tiny.conditioning(2), tiny.empty_latent(), 10, "euler", "simple", 2, 5.0, 3,
        "another architecture", tiny.conditioning(0), own,
    ).args  # fmt: skip
    save_target("another architecture").path.unlink()
    named = "VOID_DDIM" if tiny.samplers[0] == "void" else tiny.samplers[0]
    assert table.num_samples == 2 and table.metadata["sampler"] == named
    assert table.modes.values.shape[1:] == (2, 25)  # 24 steps are measured at least, and the smallest sigma
    assert "Of 10 steps expect to compute" in text
    patched = patch(model, sensitivity=table, speed_up=2.0)
    sample(host, patched, tiny, 4, 9, tiny.samplers[0], 10, 5.0)
    assert records(patched)[-1].nfe == 5


def test_the_raw_output_of_cogvideox_is_what_its_network_gave(host, required):
    import comfy.patcher_extension
    from sencache.nodes.host.sampling import raw_output

    tiny = required("cogvideox")
    model, given, recovered = tiny.load(host).clone(), [], []

    def network(executor, *args, **kwargs):
        given.append(executor(*args, **kwargs))
        return given[-1].clone()

    def batch(executor, inner, conds, x_in, sigma, model_options):
        outputs = executor(inner, conds, x_in, sigma, model_options)
        recovered.append(raw_output(inner.model_sampling, sigma, outputs[0], x_in))
        return outputs

    wrappers = comfy.patcher_extension.WrappersMP
    model.add_wrapper_with_key(wrappers.DIFFUSION_MODEL, "test", network)
    model.add_wrapper_with_key(wrappers.CALC_COND_BATCH, "test", batch)
    sample(host, model, tiny, 2, 1, "void", 8, 1.0)
    assert len(given) == len(recovered) == 8
    for output, found in zip(given, recovered, strict=True):
        assert torch.allclose(output.float(), found, atol=2e-3)


def test_a_runs_points_are_what_the_embedded_runner_assumes(host, wan):
    import comfy.samplers
    from embedded import points
    from sencache.nodes.host.sampling import points_of

    sampling = wan.get_model_object("model_sampling")
    found = points_of(sampling, comfy.samplers.calculate_sigmas(sampling, "simple", 20), 5.0)
    expected = points(20, 5.0)
    assert found.cfg == expected.cfg
    for name in ("sigmas", "timesteps", "progress", "weights"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=2e-3, abs=2e-3), name


@pytest.mark.parametrize("model", OTHERS)
def test_points_of_other_parameterisations_descend_and_weigh_every_step(host, required, model):
    import comfy.samplers
    from sencache.nodes.host.sampling import points_of

    sampling = required(model).load(host).get_model_object("model_sampling")
    found = points_of(sampling, comfy.samplers.calculate_sigmas(sampling, "simple", 20), 1.0)
    assert list(found.sigmas) == sorted(found.sigmas, reverse=True)
    assert list(found.progress) == sorted(found.progress) and 0 <= found.progress[0] < found.progress[-1] < 1
    assert all(0 < weight < 2 for weight in found.weights) and len(found.weights) == 20
