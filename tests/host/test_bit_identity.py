"""Where reuse is off a patched model gives exactly what the unpatched one gives."""

from __future__ import annotations

import pytest
import torch

NOISY = {"dpmpp_sde"}  # noise at every step moves the latent far: little is reused below a large epsilon
SAMPLERS = ("euler", "uni_pc", "dpmpp_2m", "heun", "dpmpp_sde")


@pytest.fixture(params=["batched", "unbatched"])
def cfg_batching(request, wan, monkeypatch):
    """Let CFG's two branches share one evaluation, or force one each, as the host does in short memory."""
    if request.param == "unbatched":
        monkeypatch.setattr(wan.model, "memory_required", lambda *args, **kwargs: 1e30)
    return request.param


def chunk_counter(model):
    """Count how many branches each evaluation of the network holds."""
    import comfy.patcher_extension

    counted = model.clone()
    chunks = []

    def wrapper(executor, x, *args, **kwargs):
        chunks.append(len(x))
        return executor(x, *args, **kwargs)

    counted.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "test_counter", wrapper)
    return counted, chunks


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_budget_gives_the_unpatched_result(wan, sample, patch, cfg_batching, sampler, cfg):
    expected = sample(wan, sampler=sampler, cfg=cfg, steps=4)
    for inputs in ({"epsilon": 0.0}, {"n": 0}, {"speed_up": 1.0}, {"exact": True, "speed_up": 3.0}):
        assert torch.equal(sample(patch(wan, **inputs), sampler=sampler, cfg=cfg, steps=4), expected), inputs


def test_a_final_render_is_exact_and_keeps_the_speed_for_the_next_draft(wan, sample, patch, records):
    final, draft = (patch(wan, speed_up=3.0, exact=exact) for exact in (True, False))
    assert torch.equal(sample(final, steps=12), sample(wan, steps=12))
    sample(draft, steps=12)
    exact, fast = records(final)[-1], records(draft)[-1]
    assert (exact.config.speed_up, exact.config.epsilon, exact.nfe) == (3.0, 0.0, 12)
    assert {one.decision.reason.value for one in exact.evaluations} == {"off"}
    assert (fast.config.speed_up, fast.nfe) == (3.0, 4)


def test_a_range_that_never_opens_gives_the_unpatched_result(wan, sample, patch, records):
    patched = patch(wan, epsilon=2.0, start_percent=1.0, end_percent=1.0)
    assert torch.equal(sample(patched), sample(wan))
    assert records(patched)[-1].reused == 0


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_budget_reuses_counts_honestly_and_stays_near_the_unpatched_result(
    wan, sample, patch, records, cfg_batching, sampler, cfg
):
    counted, chunks = chunk_counter(wan)
    expected = sample(counted, sampler=sampler, cfg=cfg, steps=16)
    full = len(chunks)
    branches_at_once = 2 if cfg > 1 and cfg_batching == "batched" else 1
    assert set(chunks) == {branches_at_once}
    chunks.clear()
    patched = patch(counted, epsilon=1.0 if sampler in NOISY else 0.05)
    result = sample(patched, sampler=sampler, cfg=cfg, steps=16)
    record = records(patched)[-1]
    per_evaluation = 2 if cfg > 1 and cfg_batching == "unbatched" else 1
    assert len(record.evaluations) * per_evaluation == full
    assert record.nfe * per_evaluation == len(chunks)
    assert 0 < record.reused < len(record.evaluations)
    assert torch.isfinite(result).all()
    if sampler not in NOISY:
        # real errors are 2.7 to 5 times the predicted ones; of uni_pc, with few guided steps, more
        bound = 0.35 if sampler == "uni_pc" else 5 * 0.05
        assert (result - expected).norm() < bound * expected.norm()
