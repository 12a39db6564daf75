"""ComfyUI's own MultiGPU node: each branch in a thread and a network of its own, on one CPU by two names."""

from __future__ import annotations

import gc
import threading
from collections import Counter

import pytest
import torch
from two_devices import is_there, split


@pytest.fixture
def watched(host, wan):
    """The tiny Wan, and the thread, network and batch of each evaluation by either network."""
    import comfy.patcher_extension

    if not is_there(host):
        pytest.skip("this host has no MultiGPU_WorkUnits")
    seen = []

    def network(executor, *args, **kwargs):
        seen.append((threading.get_ident(), id(executor.class_obj), len(args[0])))
        return executor(*args, **kwargs)

    wrapper_type = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    wan.add_wrapper_with_key(wrapper_type, "test_watch", network)
    return wan, seen


@pytest.fixture(params=["patched, then split", "split, then patched"])
def make(request, host, watched, patch):
    """Patch and split a model, in either order."""
    model, seen = watched

    def run(**inputs):
        given = {"table": "tiny_wan.safetensors", **inputs}
        first = request.param.startswith("patched")
        made = split(host, patch(model, **given)) if first else patch(split(host, model), **given)
        seen.clear()
        return made

    return run


def test_with_reuse_off_the_result_is_the_split_models_bit_for_bit(host, watched, make, sample):
    plain = sample(split(host, watched[0]), steps=8)
    for off in ({"epsilon": 0.0}, {"n": 0}, {"exact": True}, {"speed_up": 1.0}):
        assert torch.equal(sample(make(**off), steps=8), plain)


@pytest.mark.parametrize("speed_up", [2.0, 3.0])
def test_both_networks_run_in_every_computed_step_and_in_no_other(watched, make, sample, records, speed_up):
    model, (_, seen) = make(speed_up=speed_up), watched
    result = sample(model, steps=12)
    (record,) = records(model)
    assert record.nfe == 12 / speed_up and torch.isfinite(result).all()
    assert {batch for _, _, batch in seen} == {1}  # one branch each
    threads, networks = Counter(one for one, _, _ in seen), Counter(one for _, one, _ in seen)
    assert sorted(threads.values()) == sorted(networks.values()) == [record.nfe, record.nfe]
    assert threading.get_ident() not in threads


def test_two_networks_decide_and_give_what_one_gives(host, wan, make, patch, sample, records):
    one, two = patch(wan, table="tiny_wan.safetensors", epsilon=0.05), make(epsilon=0.05)
    alone, result = sample(one, steps=12), sample(two, steps=12)
    decisions = [[step.decision.reuse for step in records(model)[-1].evaluations] for model in (one, two)]
    assert decisions[0] == decisions[1] and any(decisions[0])
    assert (result - alone).abs().max() < 1e-3  # two threads round otherwise


def test_the_first_run_is_measured_and_the_next_one_reuses(unknown, make, sample, records):
    model = make(table="automatic", speed_up=2.0)
    sample(model, steps=12)
    sample(model, steps=12, seed=2)
    first, second = records(model)
    assert [note.code for note in first.notes] == ["measured"]
    assert (first.nfe, second.nfe) == (12, 6)
    assert len(list(unknown.glob("*.safetensors"))) == 1


def test_cancel_in_the_middle_leaves_nothing_and_the_next_run_is_whole(
    host, watched, make, sample, records, monkeypatch
):
    import comfy.model_management as management

    whole = sample(make(speed_up=2.0), steps=12)
    model, seen = make(speed_up=2.0), watched[1]
    check = management.throw_exception_if_processing_interrupted

    def cancel():
        if len(seen) >= 5:  # the third computed step: one network has just run
            management.interrupt_current_processing()
        check()

    gc.collect()
    held = sum(isinstance(one, torch.Tensor) for one in gc.get_objects())
    with monkeypatch.context() as patched:
        patched.setattr(management, "throw_exception_if_processing_interrupted", cancel)
        with pytest.raises(management.InterruptProcessingException):
            sample(model, steps=12)
    (record,) = records(model)
    assert not record.complete and 0 < record.nfe < 6
    gc.collect()
    assert sum(isinstance(one, torch.Tensor) for one in gc.get_objects()) <= held + 2
    assert "sencache" not in model.model_options.get("transformer_options", {})
    assert torch.equal(sample(model, steps=12), whole)
