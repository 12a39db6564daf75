"""What went wrong in other caching packs with scores, counters and stored tensors: none of it is ours.

TC: ComfyUI-TeaCache; REF: the authors' research code; MD: MaxDiffusion's SenCache. The other bugs are
in `test_peers_bugs.py`.
"""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from comfy_host import ROOT
from host_inputs import conditioning, empty_latent
from watched_calls import stopping

STEPS = 16
HOLDING = {"rule": "paper", "forecast": "hold", "epsilon": 2.0, "n": 3}  # reuses whatever is allowed
SETTINGS = {
    "plan": {"rule": "plan", "epsilon": 0.1},
    "plan, hold": {"rule": "plan", "forecast": "hold", "epsilon": 0.1},
    "joint": {"rule": "joint", "epsilon": 0.4},
    "paper": {**HOLDING, "epsilon": 0.4},
}
RULES = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def decisions(record):
    """Return a run's decisions, each with its reason, its score and its limit."""
    return [one.decision for one in record.evaluations]


def euler(in_place):
    """Return Euler's method, written as some samplers are: into the latent and over the output."""
    import comfy.samplers

    @torch.no_grad()
    def function(model, x, sigmas, extra_args=None, callback=None, disable=None):
        x = x.clone()
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            denoised = model(x, sigma * x.new_ones([len(x)]), **extra_args)
            step = (x - denoised) / sigma * (following - sigma)
            if in_place:
                x.add_(step)
                denoised.fill_(1e3)
            else:
                x = x + step
        return x

    return comfy.samplers.KSAMPLER(function)


@RULES
def test_what_is_stored_outlasts_what_others_write_in_place(host, wan, patch, records, settings):
    """TC kept `x.to(device)`, which is x itself, and the model's blocks then wrote into it."""
    import comfy.sample

    def spoil(arguments):
        result = arguments["denoised"].clone()
        arguments["cond_denoised"].fill_(1e3)
        arguments["uncond_denoised"].fill_(-1e3)
        return result

    latent, results, found = empty_latent()["samples"], [], []
    for in_place in (False, True):
        model = wan.clone()
        if in_place:
            model.set_model_sampler_post_cfg_function(spoil)
        patched = patch(model, **settings)
        results.append(
            comfy.sample.sample_custom(
                patched, comfy.sample.prepare_noise(latent, 3), 4.0, euler(in_place),
                torch.linspace(1, 0, STEPS + 1), conditioning(2), conditioning(0), latent,
                disable_pbar=True, seed=3,
            )  # fmt: skip
        )
        found.append(decisions(records(patched)[-1]))
    assert found[0] == found[1] and any(one.reuse for one in found[0])
    assert torch.equal(*results)


@RULES
@pytest.mark.parametrize("balance", [0.25, 1.0, 4.0])
def test_a_score_is_never_negative(wan, sample, patch, records, settings, balance):
    """TC's polynomial was, and then all was reused: latent and time that work against each other might be."""
    from sencache.calibration.table import load

    table = load(ROOT / "tables" / "tiny_wan.safetensors")
    rows = {**table.rows, "alignment": torch.full_like(table.rows["alignment"], -1.0)}
    rows["time_sensitivity"] = rows["time_sensitivity"] * balance
    opposed = type(table)(table.timestep, table.sigma, rows, table.metadata, table.modes)
    patched = patch(wan, sensitivity=opposed, **settings)
    assert torch.isfinite(sample(patched, steps=STEPS)).all()
    scores = [one.score for one in decisions(records(patched)[-1]) if one.score is not None]
    assert len(scores) >= STEPS // 2 and min(scores) >= 0 and max(scores) > 0


@pytest.fixture
def measured(host, wan):
    """A table that Calibrate has just measured, read from its file."""
    from sencache.calibration.table import load
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables import files as table_files

    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    target = table_files.save_target("read by the sampler")
    SenCacheCalibrate.execute(
        wan, conditioning(2), empty_latent(), 4, "euler", "simple", 1, 4.0, 3, target.name, conditioning(0)
    )
    yield load(target.path)
    target.path.unlink()


def test_the_sampler_reads_the_rows_that_calibrate_writes(wan, sample, patch, records, measured):
    """REF's calibrator for Wan wrote other keys than its sampler read."""
    from sencache.calibration.table import Sensitivity

    assert set(measured.rows) == {field.name for field in fields(Sensitivity)}

    def scores(table, settings):
        patched = patch(wan, sensitivity=table, **settings)
        sample(patched, steps=STEPS)
        return [one.score for one in decisions(records(patched)[-1])]

    joint = SETTINGS["joint"]
    as_measured = scores(measured, joint)
    assert any(as_measured)
    for name in ("latent_sensitivity", "time_sensitivity", "alignment"):
        rows = {**measured.rows, name: measured.rows[name] * 0.5}
        other = type(measured)(measured.timestep, measured.sigma, rows, measured.metadata, measured.modes)
        assert scores(other, joint) != as_measured, name


@RULES
def test_a_run_after_an_interrupted_one_counts_from_its_start(wan, sample, patch, records, settings):
    """REF's counters went on from where the interrupted run had been."""
    import comfy.model_management as management

    fresh = patch(wan, **settings)
    result = sample(fresh, steps=STEPS)
    expected = decisions(records(fresh)[-1])
    assert 0 < records(fresh)[-1].reused < STEPS
    model, stop = stopping(wan, "step")
    patched = patch(model, **settings)
    for evaluation in (1, 3, 7, STEPS - 1):
        error = stop.at(evaluation, management.InterruptProcessingException())
        with pytest.raises(type(error)):
            sample(patched, steps=STEPS)
        assert decisions(records(patched)[-1]) == expected[:evaluation]
        stop.never()
        assert torch.equal(sample(patched, steps=STEPS), result)
        assert decisions(records(patched)[-1]) == expected


def run_of(wan, patch, **inputs):
    """Return a run's state as OUTER_SAMPLE makes it, and a function that begins an evaluation of it."""
    import comfy.samplers
    from sencache.caching.run import SamplingRun
    from sencache.nodes.host.prepare import prepare
    from sencache.nodes.host.wrappers import KEY, WRAPPER_TYPES

    patched = patch(wan, **inputs)
    own = patched.wrappers[WRAPPER_TYPES[0]][KEY][0].__self__
    guider, sampling = comfy.samplers.CFGGuider(patched), wan.get_model_object("model_sampling")
    guider.set_cfg(1.0)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.linspace(1, 0, 11)
    prepared, _ = prepare(own.config, own.source, guider, sampler, sigmas)
    run = SamplingRun(prepared.policy, own.config.cache_device, prepared.axis)

    def begin(x, sigma):
        at = torch.full([len(x)], sigma)
        return run.begin(x, at, sampling.timestep(at))

    return run, begin


def test_the_score_is_the_same_at_every_size(wan, patch):
    """REF scaled its threshold by one hard-coded shape."""
    first, second = torch.randn(2, 1, 16, 2, 4, 4)
    scores = []
    for repeats in (1, 3):
        _, begin = run_of(wan, patch, **HOLDING)
        begin(first.repeat(1, 1, 1, repeats, repeats), 0.9)
        scores.append(begin(second.repeat(1, 1, 1, repeats, repeats), 0.8).score)
    assert scores[0] > 0 and scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_distances_are_from_the_last_computed_step_and_not_added_up(wan, patch):
    """MD added them, and so counted twice: going there and back again is no distance."""
    run, begin = run_of(wan, patch, **HOLDING)
    x, away = torch.zeros(1, 16, 1, 4, 4), torch.ones(1, 16, 1, 4, 4)
    begin(x, 0.9)
    run.store("branch", x)
    near = begin(x, 0.8).score
    assert begin(away, 0.8).score > near
    assert begin(x, 0.8).score == pytest.approx(near)
