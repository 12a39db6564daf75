"""Only a branch's own earlier outputs predict it: prompts, windows and passes of guidance never mix."""

from __future__ import annotations

import pytest
import torch
from host_inputs import conditioning, empty_latent, patch_inputs, windowed

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
    from sencache.nodes.host.branches import branch_keys

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
    model = windowed(wan)
    reference = sample(model, steps=STEPS)
    patched = patch(model, epsilon=0.1)
    result = sample(patched, steps=STEPS)
    assert records(patched)[-1].reused > 3
    assert distance(result, reference) < 0.1
    assert torch.equal(sample(patch(model, epsilon=0.0), steps=STEPS), reference)


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
    from sencache.nodes.host.sampling import progress_of

    shift = host.NODE_CLASS_MAPPINGS["ModelSamplingSD3"]()
    for model in (wan, shift.patch(wan, 1.0)[0], shift.patch(wan, 3.0)[0]):
        sampling = model.get_model_object("model_sampling")
        progress = progress_of(sampling)
        found = [progress(sampling.percent_to_sigma(percent)) for percent in (0.0, 0.031, 0.5, 0.77, 0.999)]
        assert all(abs(a - b) < 2e-3 for a, b in zip(found, (0.0, 0.031, 0.5, 0.77, 0.999), strict=True))
        assert progress(0.0) == 1.0 and progress(2.0) == 0.0


def test_passes_of_guidance_that_ask_for_other_things_are_other_branches(host):
    """LTX-2's STG and modality guidance differ by flags alone, and either may end before the other."""
    from sencache.nodes.host.branches import branch_keys, plain_options

    def key(call, **options):
        return branch_keys(call, [[{}]], torch.zeros(1), 0.5, options, plain_options(first))[0]

    first = {"step": 3, "sample_sigmas": torch.zeros(3), "blocks": (torch.zeros(1),)}
    stg, modality = key(1, **first, stg_self_attn_blocks={0, 1}), key(1, **first, a2v_cross_attn=False)
    assert len({stg, modality, key(1, **first)}) == 3
    earlier = dict(first)
    first["step"] = 4  # another pack's counter of steps ends no reuse
    assert key(1, **first) == branch_keys(1, [[{}]], torch.zeros(1), 0.5, earlier, plain_options(earlier))[0]


def test_ltx2_passes_over_other_ranges_are_never_served_each_others_outputs(host, monkeypatch):
    from architectures import calibrated
    from architectures import sample as sample_as
    from random_models import ARCHITECTURES
    from sencache.caching.run import SamplingRun
    from sencache.nodes.host import wrappers
    from sencache.nodes.model_patch import SenCacheModelPatch

    needed = ("LTXVSpatioTemporalGuidance", "LTXVModalityGuidance")
    if not set(needed) <= set(host.NODE_CLASS_MAPPINGS):
        pytest.skip("this host has no STG and modality guidance")
    from scenes import node

    architecture = next(one for one in ARCHITECTURES if one.name == "LTX-2 audio and video")
    model = architecture.build()
    table = calibrated(host, model, architecture)[0]
    guided = node(host, needed[0], model=model, scale=1.0, blocks="0,1", start_percent=0.0, end_percent=0.5)
    guided = node(host, needed[1], model=guided, modality_scale=3.0, start_percent=0.0, end_percent=1.0)
    kind, stored, served = [None], {}, []
    name_branches, store, serve = wrappers.branch_keys, SamplingRun.store, SamplingRun.serve

    def named(call, conds, x, sigma, options, first):
        stg, modality = bool(options.get("stg_self_attn_blocks")), not options.get("a2v_cross_attn", True)
        kind[0] = "stg" if stg else "modality" if modality else "cfg"
        return name_branches(call, conds, x, sigma, options, first)

    def storing(run, branch, output):
        stored[branch] = kind[0]
        store(run, branch, output)

    def serving(run, branch, device):
        served.append((stored[branch], kind[0]))
        return serve(run, branch, device)

    monkeypatch.setattr(wrappers, "branch_keys", named)
    monkeypatch.setattr(SamplingRun, "store", storing)
    monkeypatch.setattr(SamplingRun, "serve", serving)
    for settings in ({"epsilon": 0.02}, {"speed_up": 3.0}):
        patched = SenCacheModelPatch.execute(guided, **patch_inputs(sensitivity=table, **settings)).args[0]
        sample_as(host, architecture, patched)
    assert {"stg", "modality", "cfg"} <= {one for one, _ in served} | set(stored.values())
    assert len(served) > 10 and all(one == other for one, other in served)


def test_a_ranges_boundary_is_compared_as_the_host_compares_it(host):
    """In single precision: 0.3 is a little more there than in double."""
    from sencache.nodes.host.branches import branch_keys

    sigma = float(torch.tensor(0.3))
    entry = {"timestep_start": 0.3}
    assert bool(torch.tensor(sigma) > 0.3) is False  # so the host evaluates it
    assert branch_keys(0, [[entry]], torch.zeros(1), sigma, {})[0][2]


def test_a_sampler_that_asks_for_a_branch_before_its_first_evaluation_is_let_through(wan, patch):
    import comfy.sample
    import comfy.samplers

    def asks_first(model, x, sigmas, extra_args=None, callback=None, disable=None):
        inner, options = model.inner_model, extra_args["model_options"]
        at = sigmas[0] * x.new_ones([len(x)])
        comfy.samplers.calc_cond_batch(inner.inner_model, [inner.conds["positive"]], x, at, options)
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            denoised = model(x, sigma * x.new_ones([len(x)]), **extra_args)
            x = x + (x - denoised) * (following / sigma - 1)
        return x

    def run(model):
        sampler = comfy.samplers.KSAMPLER(asks_first)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 6)
        noise = comfy.sample.prepare_noise(empty_latent()["samples"], 3)
        given = (model, noise, 5.0, sampler, sigmas, conditioning(2), conditioning(0))
        return comfy.sample.sample_custom(*given, empty_latent()["samples"], seed=3)

    reference = run(wan)
    assert torch.equal(run(patch(wan, epsilon=0.0)), reference)
    assert distance(run(patch(wan, epsilon=0.05)), reference) < 0.2
