"""Only a branch's own earlier outputs predict it: prompts, windows and passes of guidance never mix."""

from __future__ import annotations

import pytest
import torch
from host_inputs import conditioning, empty_latent

STEPS = 20


def scheduled(host, first, second, switch):
    """Return a positive conditioning that changes its prompt at a share of the sampling."""
    set_range = host.NODE_CLASS_MAPPINGS["ConditioningSetTimestepRange"]().set_range
    early = set_range(conditioning(first), 0.0, switch)[0]
    return early + set_range(conditioning(second), switch, 1.0)[0]


def sample_scheduled(host, model, positive):
    """Sample with a scheduled prompt through KSampler."""
    node = host.NODE_CLASS_MAPPINGS["KSampler"]()
    inputs = (model, 3, STEPS, 5.0, "euler", "simple", positive, conditioning(0), empty_latent())
    return node.sample(*inputs)[0]["samples"]


def distance(result, reference):
    """Return the relative error."""
    return float((result - reference).norm() / reference.norm())


def test_a_prompt_that_changes_is_computed_there_and_starts_its_own_history(host, wan, patch, records):
    import comfy.patcher_extension

    positive = scheduled(host, 2, 9, 0.4)
    watched, contexts = wan.clone(), []

    def watch(executor, x, timestep, context, *args, **kwargs):
        contexts.append((float(timestep[0]), context[1].clone()))  # the positive branch comes second
        return executor(x, timestep, context, *args, **kwargs)

    watched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test", watch)
    patched = patch(watched, epsilon=2.0, n=6)
    sample_scheduled(host, patched, positive)
    record = records(patched)[-1]
    prompts = [conditioning(prompt)[0][0][0] for prompt in (2, 9)]
    switched = next(index for index, (_, context) in enumerate(contexts) if torch.equal(context, prompts[1]))
    assert all(torch.equal(context, prompts[0]) for _, context in contexts[:switched])
    switch_sigma = wan.get_model_object("model_sampling").percent_to_sigma(0.4)
    first_after = next(one for one in record.evaluations if one.sigma < switch_sigma)
    assert not first_after.decision.reuse
    assert record.reused > STEPS // 2


@pytest.mark.parametrize("sigma, begun", [(1.0, 1), (0.75, 1), (0.5, 2), (0.2, 3)])
def test_a_scheduled_lora_is_another_branch_from_each_keyframe_on(host, sigma, begun):
    import comfy.hooks
    from sencache.nodes.branches import branch_keys

    hooks = comfy.hooks.create_hook_lora({}, 1.0, 0.0)
    group = comfy.hooks.HookKeyframeGroup()
    for start_t in (999.0, 0.5, 0.25):
        group.add(comfy.hooks.HookKeyframe(1.0))
        group.keyframes[-1].start_t = start_t
    hooks.set_keyframes_on_hooks(group)
    keys = [
        branch_keys(0, [[cond]], torch.zeros(1), sigma, {})[0] for cond in ({"hooks": hooks}, {"hooks": None})
    ]
    assert [index[2] for key in keys for index in key[2]] == [(begun,), ()]


def test_a_lora_that_begins_midway_is_computed_there(host, wan, patch, records):
    from conditioning import hooked
    from scenes import ksample

    positive = hooked(host, wan, ((0.0, 0.0), (0.5, 1.0)))
    patched = patch(wan, epsilon=2.0, n=20)
    ksample(host, patched, positive=positive)
    switch = wan.get_model_object("model_sampling").percent_to_sigma(0.5)
    begun = next(one for one in records(patched)[-1].evaluations if one.sigma <= switch)
    assert not begun.decision.reuse and records(patched)[-1].reused > STEPS // 2


def test_context_windows_each_keep_their_own_outputs(host, wan, sample, patch, records):
    import comfy.context_windows as windows

    handler = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule("standard_static"),
        fuse_method=windows.get_matching_fuse_method("pyramid"),
        context_length=4,
        context_overlap=2,
        dim=2,
    )
    windowed = wan.clone()
    windowed.model_options["context_handler"] = handler
    reference = sample(windowed, steps=STEPS)
    patched = patch(windowed, epsilon=0.1)
    result = sample(patched, steps=STEPS)
    assert records(patched)[-1].reused > 3
    assert distance(result, reference) < 0.1
    assert torch.equal(sample(patch(windowed, epsilon=0.0), steps=STEPS), reference)


def test_a_run_that_is_gone_round_counts_as_computed(wan, sample, patch, records):
    """A function that replaces the host's batching never asks this run, so nothing was reused."""
    import comfy.samplers

    own = patch(wan, epsilon=2.0, n=20)
    direct = comfy.samplers._calc_cond_batch

    def own_batching(arguments):
        inputs = (arguments["conds"], arguments["input"], arguments["sigma"], arguments["model_options"])
        return direct(arguments["model"], *inputs)

    own.model_options["sampler_calc_cond_batch_function"] = own_batching
    assert torch.equal(sample(own, steps=8), sample(wan, steps=8))
    assert records(own)[-1].nfe == 8


def test_progress_is_the_inverse_of_the_hosts_percent(host, wan):
    from sencache.nodes.wrappers import progress_of

    shift = host.NODE_CLASS_MAPPINGS["ModelSamplingSD3"]()
    for model in (wan, shift.patch(wan, 1.0)[0], shift.patch(wan, 3.0)[0]):
        sampling = model.get_model_object("model_sampling")
        progress = progress_of(sampling)
        found = [progress(sampling.percent_to_sigma(percent)) for percent in (0.0, 0.031, 0.5, 0.77, 0.999)]
        assert all(abs(a - b) < 2e-3 for a, b in zip(found, (0.0, 0.031, 0.5, 0.77, 0.999), strict=True))
        assert progress(0.0) == 1.0 and progress(2.0) == 0.0
