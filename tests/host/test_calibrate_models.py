"""Calibrate takes the models and latents that artists sample: guided, masked, windowed, with LoRAs."""

from __future__ import annotations

import pytest
import torch
from host_inputs import conditioning, empty_latent

STEPS, SAMPLES = 5, 2  # of the fixture `calibrate`
BESIDE = 4 * 5 + 6  # as in test_calibrate.py
EVALUATIONS = STEPS + 2 * (STEPS - 1) + BESIDE


@pytest.fixture
def made(host):
    """Run one of the host's nodes, and skip where an older host has none of that name."""
    from judge import HostLacksError
    from scenes import node

    def run(name, **inputs):
        try:
            return node(host, name, **inputs)
        except HostLacksError as lack:
            pytest.skip(str(lack))

    return run


def first_frame_given(frames: int = 5) -> dict:
    """Return an image to video latent: the first frame is given, and its mask keeps it."""
    shape = empty_latent()["samples"].shape
    samples, mask = torch.zeros(1, shape[1], frames, *shape[3:]), torch.ones(1, 1, frames, *shape[3:])
    samples[:, :, 0] = torch.randn(samples[:, :, 0].shape, generator=torch.Generator().manual_seed(1))
    mask[:, :, 0] = 0
    return {"samples": samples, "noise_mask": mask}


def test_frames_that_a_mask_keeps_are_not_taken_for_videos(calibrate):
    given = first_frame_given()
    table = calibrate(latent=given, samples=1).args[0]
    assert table.metadata["source"] == "own trajectories" and table.guided
    assert calibrate(latent={"samples": given["samples"]}, samples=1).args[0].metadata["source"] == "videos"


def test_other_given_frames_are_measured_anew(calibrate, evaluations):
    given = first_frame_given()
    first = calibrate(latent=given, samples=1).args[0]
    evaluations.branches.clear()
    assert calibrate(latent=given, samples=1).args[0] == first and not evaluations.branches
    given["samples"][:, :, 0] += 1
    assert calibrate(latent=given, samples=1).args[0] != first and evaluations.branches


def test_a_prompt_of_another_range_is_measured_anew(calibrate, evaluations, host):
    set_range = host.NODE_CLASS_MAPPINGS["ConditioningSetTimestepRange"]().set_range
    calibrate(samples=1, positive=set_range(conditioning(2), 0.0, 1.0)[0])
    evaluations.branches.clear()
    calibrate(samples=1, positive=set_range(conditioning(2), 0.0, 0.9)[0])
    assert evaluations.branches


def test_a_table_measured_without_guidance_says_so_and_its_guided_runs_too(
    calibrate, wan, patch, sample, records
):
    table, _, text = calibrate(samples=1, negative=None).args
    assert not table.guided and "Measured without guidance" in text
    patched = patch(wan, sensitivity=table)
    for cfg, warned in ((5.0, True), (1.0, False)):
        sample(patched, cfg=cfg)
        notes = [note.as_dict() for note in records(patched)[-1].notes]
        assert notes == ([{"code": "unguided", "values": {"cfg": "5"}}] if warned else [])
    guided, _, text = calibrate(samples=1).args
    assert guided.guided and "without guidance" not in text
    patched = patch(wan, sensitivity=guided)
    sample(patched)
    assert not records(patched)[-1].notes


def test_a_guider_of_cfg_plus_plus_without_a_negative_prompt_has_one_branch(calibrate):
    table = calibrate(samples=1, sampler="euler_cfg_pp", negative=None).args[0]
    assert table.modes.values.shape[1] == 1


def test_context_windows_at_their_defaults_are_left_out_of_the_measurement(calibrate, made, host, wan):
    plain = calibrate(samples=1).args[0]
    node = host.NODE_CLASS_MAPPINGS["WanContextWindowsManual"]
    settings = [slot for slot in node.define_schema().inputs if hasattr(slot, "default")]
    inputs = {slot.id: (getattr(slot, "options", None) or [slot.default])[0] for slot in settings}
    windowed = made("WanContextWindowsManual", **{**inputs, "model": wan})
    measured = calibrate(model=windowed, samples=1).args[0]
    assert all(torch.equal(row, measured.rows[name]) for name, row in plain.rows.items())
    assert "context_handler" in windowed.model_options


def test_guidance_that_ends_midway_is_measured_to_the_end(calibrate, made, wan, patch, sample, records):
    ending = made("CFGOverride", model=wan, cfg=1.0, start_percent=0.6, end_percent=1.0)
    table = calibrate(model=ending, samples=1).args[0]
    values = table.modes.values
    assert table.guided and len(table.timestep) == STEPS - 1
    assert torch.equal(values[:, 0, -1], values[:, 1, -1])  # the last step had the positive branch alone
    assert not torch.equal(values[:, 0, 0], values[:, 1, 0])
    patched = patch(ending, sensitivity=table)
    sample(patched, steps=12)
    assert records(patched)[-1].reused > 0


def test_own_samplers_are_told_apart(calibrate, evaluations, made):
    euler = made("KSamplerSelect", sampler_name="euler")
    table = calibrate(samples=1, own_sampler=euler).args[0]
    assert table.metadata["sampler"] == "euler"
    for other in (
        made("KSamplerSelect", sampler_name="heun"),
        made("SamplerEulerAncestral", eta=0.2, s_noise=1.0),
        made("SamplerEulerAncestral", eta=0.9, s_noise=1.0),
    ):
        evaluations.branches.clear()
        assert calibrate(samples=1, own_sampler=other).args[0] != table and evaluations.branches
    evaluations.branches.clear()
    calibrate(samples=1, own_sampler=other)
    assert not evaluations.branches


def test_a_sampler_that_changes_the_latents_size_is_refused_in_a_sentence(calibrate, made):
    growing = made("SamplerLCMUpscale", scale_ratio=1.5, scale_steps=4, upscale_method="bilinear")
    with pytest.raises(ValueError, match="^SenCache Calibrate: the sampler changes the latent's size"):
        calibrate(own_sampler=growing)


def test_a_cancelled_calibration_with_a_lora_goes_on_although_the_model_is_loaded_by_then(
    calibrate, evaluations, wan
):
    """The host patches weights in place when it loads a model."""
    import comfy.model_management
    from sencache.nodes.host.model_identity import loras_digest, weights_digest

    tuned = wan.clone()
    weights = wan.model.diffusion_model.state_dict()
    tuned.add_patches(
        {f"diffusion_model.{name}": (torch.full_like(one, 0.01),) for name, one in weights.items()}
    )
    before, plain = weights_digest(tuned), weights_digest(wan)
    assert before == plain and loras_digest(tuned) != loras_digest(wan) == ""
    loras = loras_digest(tuned)
    evaluations.stop_at = EVALUATIONS + 1
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        calibrate(model=tuned)
    assert weights_digest(tuned) == weights_digest(wan) == plain and loras_digest(tuned) == loras
    evaluations.branches.clear()
    evaluations.stop_at = None
    assert calibrate(model=tuned).args[0].num_samples == SAMPLES
    assert len(evaluations.branches) == EVALUATIONS


def test_weights_that_a_state_dict_does_not_hold_are_told_apart_all_the_same(wan, monkeypatch):
    """Packed weights (GGUF) give a state dict of tensors without data."""
    from sencache.nodes.host.model_identity import weights_digest

    digest, network = weights_digest(wan), wan.model.diffusion_model
    names = network.state_dict()
    empty = {name: torch.empty(one.shape, device="meta") for name, one in names.items()}
    monkeypatch.setattr(network, "state_dict", lambda *args, **kwargs: empty)
    assert weights_digest(wan) == digest
    for parameter in network.parameters():
        parameter.data = parameter.data + 1
    assert weights_digest(wan) != digest
