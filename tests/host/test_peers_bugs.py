"""The bugs that were found in other caching packs: none of them is ours.

What they do with scores, counters and stored tensors is in `test_peers_scores.py`.

EC, LC: ComfyUI's EasyCache and LazyCache; MC: ComfyUI-MagCache; CD: cache-dit's node; TC: ComfyUI-TeaCache;
REF: the authors' research code; MD: MaxDiffusion's SenCache.
"""

from __future__ import annotations

import pytest
import torch
from host_inputs import conditioning, empty_latent, windowed
from judge import replaced
from watched_calls import raw_outputs, watched

STEPS = 16
EAGER = {"rule": "joint", "epsilon": 2.0, "n": 3}  # reuses whatever is allowed: three of four steps
PLANNED = {**EAGER, "rule": "plan"}  # the default rule, as eager
HOLDING = {**EAGER, "rule": "paper", "forecast": "hold"}
RULES = pytest.mark.parametrize("settings", [PLANNED, EAGER], ids=["plan", "joint"])


def custom(model, sigmas, sampler="euler", latent=None):
    """Sample over given sigmas."""
    import comfy.sample
    import comfy.samplers

    latent = empty_latent()["samples"] if latent is None else latent
    chosen = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    noise = comfy.sample.prepare_noise(latent, 3)
    return comfy.sample.sample_custom(
        model, noise, 4.0, chosen, sigmas, conditioning(2), conditioning(0), latent, disable_pbar=True, seed=3
    )


def planned_where(settings, record):
    """Tell whether a run followed a plan exactly where its settings ask for one, and fell back nowhere."""
    return (record.planned is not None) == (settings["rule"] == "plan") == (record.config.rule == "plan")


@RULES
def test_a_size_that_changes_midway_is_computed_and_reuse_goes_on(host, wan, patch, records, settings):
    """EC, LC: after it, everything was reused until the end."""
    import comfy.samplers

    @torch.no_grad()
    def growing(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
            if index == 6:
                x = torch.nn.functional.interpolate(x, scale_factor=(1, 1.5, 1.5))
            denoised = model(x, sigma * x.new_ones([len(x)]), **extra_args)
            x = x + (x - denoised) / sigma * (following - sigma)
        return x

    patched = patch(wan, **settings)
    result = custom(patched, torch.linspace(1, 0, STEPS + 1), comfy.samplers.KSAMPLER(growing))
    assert planned_where(settings, records(patched)[-1])
    reused = [one.decision.reuse for one in records(patched)[-1].evaluations]
    assert result.shape[-1] == 18 and torch.isfinite(result).all()
    assert not reused[6] and any(reused[7:]) and 2 <= reused[6:].count(False) < len(reused[6:])


@RULES
def test_the_models_input_is_not_written_to(wan, sample, patch, records, settings):
    """EC adds into it: with fp32 flow models the sampler's own latent is damaged."""
    model, calls = watched(wan)
    kept = []

    def keep(executor, x, *args, **kwargs):
        before = x.clone()
        result = executor(x, *args, **kwargs)
        kept.append(torch.equal(x, before))
        return result

    import comfy.patcher_extension

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "test_keep", keep)
    patched = patch(model, **settings)
    sample(patched, steps=STEPS)
    assert planned_where(settings, records(patched)[-1])
    assert records(patched)[-1].reused > 0 and len(kept) == STEPS and all(kept)


@pytest.mark.parametrize("peer", ["EasyCache", "LazyCache"])
@pytest.mark.parametrize("before", [True, False])
def test_another_accelerator_is_refused_by_name_on_either_side(host, wan, sample, patch, peer, before):
    """EC and LC together end in an AttributeError."""
    node = host.NODE_CLASS_MAPPINGS[peer]
    if before:
        with pytest.raises(ValueError, match=f"SenCache Model Patch: {peer} is already on this model"):
            patch(node.execute(wan, 0.2, 0.1, 0.9, False).args[0])
    else:
        later = node.execute(patch(wan), 0.2, 0.1, 0.9, False).args[0]
        with pytest.raises(ValueError, match=f"SenCache Model Patch: {peer} is already on this model"):
            sample(later, steps=2)


def test_every_context_window_is_served_from_its_own_outputs(host, wan, sample, patch, records):
    """EC compared windows with each other and served another window's output."""
    model, calls = watched(windowed(wan))
    patched = patch(model, **HOLDING)
    sample(patched, steps=STEPS)
    reused = [one.decision.reuse for one in records(patched)[-1].evaluations]
    outputs = raw_outputs(wan, calls)
    each = len(outputs) // STEPS
    assert each >= 3 and any(reused)
    last = {}
    for index, (frames, output) in enumerate(outputs):
        if reused[index // each]:
            assert torch.allclose(output, last[frames], atol=1e-4)
        else:
            last[frames] = output
    one, *others = last.values()
    assert all(not torch.allclose(one[:, :, :4], other[:, :, :4], atol=1e-2) for other in others)


@RULES
def test_reuse_goes_on_after_the_first_prompt_has_ended(host, wan, patch, records, settings):
    """EC stopped reusing for good."""
    set_range = host.NODE_CLASS_MAPPINGS["ConditioningSetTimestepRange"]().set_range
    positive = set_range(conditioning(2), 0.0, 0.3)[0] + set_range(conditioning(9), 0.3, 1.0)[0]
    patched = patch(wan, **settings)
    node = host.NODE_CLASS_MAPPINGS["KSampler"]()
    node.sample(patched, 3, STEPS, 5.0, "euler", "simple", positive, conditioning(0), empty_latent())
    switch = wan.get_model_object("model_sampling").percent_to_sigma(0.3)
    after = [one for one in records(patched)[-1].evaluations if one.sigma < switch]
    assert planned_where(settings, records(patched)[-1])
    assert not after[0].decision.reuse and sum(one.decision.reuse for one in after) > len(after) // 2


def test_what_is_reused_is_the_raw_output_rescaled_to_the_new_sigma(wan, sample, patch, records):
    """LC reuses x0 - x as it was, which is wrong by the quotient of the sigmas."""
    model, calls = watched(wan)
    patched = patch(model, **HOLDING)
    sample(patched, steps=STEPS)
    reused = [one.decision.reuse for one in records(patched)[-1].evaluations]
    outputs, quotients = [output for _, output in raw_outputs(wan, calls)], []
    for index, reuse in enumerate(reused):
        if reuse:
            assert torch.allclose(outputs[index], outputs[index - 1], atol=1e-4)
            before, now = (calls[at][3][0] - calls[at][1] for at in (index - 1, index))
            quotient = float(calls[index][2][0] / calls[index - 1][2][0])
            assert torch.allclose(now, before * quotient, atol=1e-4)
            quotients.append(quotient)
    assert quotients and min(quotients) < 0.9


@RULES
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_is_reused_before_anything_was_computed(wan, sample, patch, records, steps, batch, settings):
    """MC did with few steps, went by the place in the batch, and divided by zero at one step."""
    patched = patch(wan, **settings)
    result = sample(patched, steps=steps, latent=empty_latent(batch))
    record = records(patched)[-1]
    assert planned_where(settings, record)
    assert torch.isfinite(result).all() and len(record.evaluations) == steps
    assert not record.evaluations[0].decision.reuse


@RULES
def test_the_branches_of_unbatched_guidance_are_kept_apart(wan, sample, patch, records, settings):
    """CD kept one output for both, and so served the negative branch for the positive one."""
    together = patch(wan, **settings)
    expected = sample(together, steps=STEPS)
    with replaced(wan.model, "memory_required", lambda *args, **kwargs: 1e30):
        model, calls = watched(wan)
        apart = patch(model, **settings)
        result = sample(apart, steps=STEPS)
    decisions = [
        [one.decision.reuse for one in records(model)[-1].evaluations] for model in (together, apart)
    ]
    assert planned_where(settings, records(apart)[-1])
    assert decisions[0] == decisions[1] and any(decisions[0])
    assert (result - expected).abs().max() < 1e-2
    # what tells the branches apart stays what it was when they were computed: not nothing, not the reverse
    computed = None
    for reuse, (_, _, _, (positive, negative)) in zip(decisions[1], calls, strict=True):
        difference = (positive - negative).flatten()
        if reuse:
            assert torch.cosine_similarity(difference, computed, dim=0) > 0.5
        else:
            computed = difference


@RULES
def test_running_out_of_memory_is_told_and_the_network_not_called_again(
    wan, sample, patch, monkeypatch, settings
):
    """CD ran the whole sampling again in silence."""
    calls, apply_model = [], wan.model._apply_model

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("full")
        return apply_model(*args, **kwargs)

    monkeypatch.setattr(wan.model, "_apply_model", full)
    with pytest.raises(torch.OutOfMemoryError):
        sample(patch(wan, **settings), steps=STEPS)
    assert len(calls) == 3


def test_equal_sigmas_and_other_packs_functions_are_left_alone(wan, patch):
    """TC crashed on the first and overwrote the second."""
    import comfy.patcher_extension

    seen = {"wrapper": 0, "function": 0}
    model = wan.clone()

    def wrapper(executor, *args, **kwargs):
        seen["wrapper"] += 1
        return executor(*args, **kwargs)

    def function(apply, arguments):
        seen["function"] += 1
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "another_pack", wrapper)
    model.set_model_unet_function_wrapper(function)
    sigmas = torch.tensor([1.0, 0.8, 0.8, 0.6, 0.6, 0.3, 0.0])
    assert torch.equal(custom(patch(model, epsilon=0.0), sigmas), custom(model, sigmas))
    assert seen == {"wrapper": 12, "function": 12}
    assert torch.isfinite(custom(patch(model, **EAGER), sigmas)).all()


def test_an_unpatched_clone_sampled_afterwards_is_the_unpatched_model(wan, sample, patch, records):
    """Spectrum for Wan stayed on the shared model after its run."""
    before = sample(wan, steps=STEPS)
    patched = patch(wan, **EAGER)
    accelerated = sample(patched, steps=STEPS)
    assert records(patched)[-1].reused > 0 and not torch.equal(accelerated, before)
    assert torch.equal(sample(wan.clone(), steps=STEPS), before)
