"""A run's state is its own: it is freed at the end however that comes, and two runs never meet."""

from __future__ import annotations

import gc

import pytest
import torch
from host_inputs import LATENT_SHAPE, conditioning, empty_latent

NUMEL = torch.Size(LATENT_SHAPE).numel()


def tensors_held():
    """Return the sizes of the live tensors that are at least as large as one output, weights left out."""
    gc.collect()
    sizes = []
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor and thing.numel() >= NUMEL:
            sizes.append(thing.numel())
    return sizes


def interrupting(model, evaluation, error):
    """Return a clone whose network raises at an evaluation."""
    import comfy.patcher_extension

    broken = model.clone()
    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append(1)
        if len(seen) == evaluation:
            raise error
        return executor(*args, **kwargs)

    broken.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test_interrupt", wrapper)
    return broken


def held_during(host, model, cfg):
    """Sample, and return the most output-sized tensors alive between two evaluations."""
    import comfy.sample
    import comfy.samplers

    latent = empty_latent()["samples"]
    held = []
    comfy.sample.sample(
        model, comfy.sample.prepare_noise(latent, 3), 8, cfg, "euler", "simple",
        conditioning(2), conditioning(0), latent,
        callback=lambda *args: held.append(sum(tensors_held()) / NUMEL),
    )  # fmt: skip
    return max(held)


@pytest.mark.parametrize("cfg, branches", [(1.0, 1), (5.0, 2)])
@pytest.mark.parametrize("epsilon", [0.01, 0.3])
def test_a_run_holds_three_output_sized_tensors_per_branch_and_one_latent_at_most(
    host, wan, patch, cfg, branches, epsilon
):
    unpatched = held_during(host, wan, cfg)
    extra = held_during(host, patch(wan, epsilon=epsilon), cfg) - unpatched
    assert 0 < extra <= 3 * branches + 1


def test_nothing_is_held_after_a_run(wan, sample, patch):
    patched = patch(wan, epsilon=0.3)
    sample(patched)
    before = len(tensors_held())
    sample(patched)
    assert len(tensors_held()) <= before


@pytest.mark.parametrize("evaluation", [1, 2, 4])
@pytest.mark.parametrize("kind", ["interrupt", "error"])
def test_a_stopped_run_leaves_nothing_and_the_next_is_as_fresh(
    host, wan, sample, patch, records, evaluation, kind
):
    from comfy.model_management import InterruptProcessingException

    error = InterruptProcessingException() if kind == "interrupt" else MemoryError("full")
    fresh = sample(patch(wan, epsilon=0.2), steps=8)
    before = len(tensors_held())
    patched = patch(interrupting(wan, evaluation, error), epsilon=0.2)
    with pytest.raises(type(error)):
        sample(patched, steps=8)
    error.__traceback__ = None  # it holds the host's own frames, tensors and all
    assert len(tensors_held()) <= before
    assert not records(patched)[-1].complete
    assert torch.equal(sample(patched, steps=8), fresh)
    assert records(patched)[-1].complete


def test_two_runs_of_one_patched_model_equal_two_fresh_ones(wan, sample, patch):
    patched = patch(wan, epsilon=0.2)
    shared = [sample(patched, seed=seed, steps=8) for seed in (1, 2, 1)]
    fresh = [sample(patch(wan, epsilon=0.2), seed=seed, steps=8) for seed in (1, 2)]
    assert torch.equal(shared[0], fresh[0]) and torch.equal(shared[1], fresh[1])
    assert torch.equal(shared[2], shared[0])


def test_another_resolution_in_turn_starts_afresh(wan, sample, patch, records):
    patched = patch(wan, epsilon=0.2)
    small = {"samples": torch.zeros(1, 16, 3, 8, 8)}
    first = sample(patched, steps=8)
    other = sample(patched, steps=8, latent=small)
    assert torch.equal(sample(patched, steps=8), first)
    assert torch.equal(other, sample(patch(wan, epsilon=0.2), steps=8, latent=small))
    assert all(record.reused > 0 for record in records(patched))


def test_a_batch_reuses_together_and_the_sample_that_changes_most_decides(wan, sample, patch, records):
    patched = patch(wan, epsilon=0.2)
    sample(patched, steps=12, latent=empty_latent(3))
    record = records(patched)[-1]
    assert 0 < record.reused < 12


def test_slices_of_one_sampling_each_compute_first(host, wan, patch, records):
    patched = patch(wan, epsilon=0.2)
    node = host.NODE_CLASS_MAPPINGS["KSamplerAdvanced"]()
    latent = empty_latent()
    for start, end, add, leftover in ((0, 6, "enable", "enable"), (6, 12, "disable", "disable")):
        latent = node.sample(
            patched, add, 4, 12, 5.0, "euler", "simple", conditioning(2), conditioning(0), latent,
            start, end, leftover,
        )[0]  # fmt: skip
    first, second = records(patched)
    assert len(first.evaluations) == len(second.evaluations) == 6
    for record in (first, second):
        assert not record.evaluations[0].decision.reuse and record.reused > 0
    assert second.evaluations[0].sigma < first.evaluations[-1].sigma


def test_the_samplers_input_is_not_changed(wan, sample, patch):
    import comfy.patcher_extension

    patched = patch(wan, epsilon=0.3)
    unchanged = []

    def watch(executor, x, timestep, *args, **kwargs):
        kept = x.clone()
        result = executor(x, timestep, *args, **kwargs)
        unchanged.append(torch.equal(x, kept))
        return result

    watched = wan.clone()
    watched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "test_watch", watch)
    sample(patch(watched, epsilon=0.3), steps=10)
    sample(patched, steps=10)
    assert len(unchanged) == 10 and all(unchanged)


def test_the_paper_setting_holds_the_last_output(wan, sample, patch, records):
    """With Euler, holding an output is the same as leaving that sigma out."""
    import comfy.sample
    import comfy.samplers

    patched = patch(wan, epsilon=0.4, rule="paper", forecast="hold")
    result = sample(patched, steps=12, seed=5)
    record = records(patched)[-1]
    assert 0 < record.reused
    sigmas = torch.tensor([one.sigma for one in record.evaluations if not one.decision.reuse] + [0.0])
    latent = empty_latent()["samples"]
    fewer = comfy.sample.sample_custom(
        wan, comfy.sample.prepare_noise(latent, 5), 5.0, comfy.samplers.sampler_object("euler"), sigmas,
        conditioning(2), conditioning(0), latent, seed=5,
    )  # fmt: skip
    assert (result - fewer).abs().max() < 1e-3
