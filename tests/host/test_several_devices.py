"""ComfyUI's several cards, simulated by two threads: each branch runs in its own, on a model of its own."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
import torch
from handling import cases

NAME = "two devices (simulated by two threads)"


@pytest.fixture
def simulated(host):
    """Return the simulation: its model, and how it samples that."""
    try:
        import comfy.multigpu
    except ImportError:
        pytest.skip("this host has no MultiGPUThreadPool")
    if not hasattr(comfy.multigpu, "MultiGPUThreadPool"):
        pytest.skip("this host has no MultiGPUThreadPool")
    (case,) = (case for case in cases() if case.name == NAME)
    return case.make(host)


@pytest.fixture
def submissions(simulated, monkeypatch):
    """Note each submission's device, and in which thread it was then run to its end."""
    import comfy.multigpu

    pool, noted = comfy.multigpu.MultiGPUThreadPool, []

    class Watched(pool):
        def submit(self, device, function, *args, **kwargs):
            def run(*args, **kwargs):
                result = function(*args, **kwargs)
                noted.append((device, threading.get_ident()))
                return result

            super().submit(device, run, *args, **kwargs)

    monkeypatch.setattr(comfy.multigpu, "MultiGPUThreadPool", Watched)
    return noted


def watched(model):
    """Return a clone, and the thread and the network of each of its evaluations."""
    import comfy.patcher_extension

    clone, seen = model.clone(), []

    def network(executor, *args, **kwargs):
        seen.append((threading.get_ident(), id(executor.class_obj), len(args[0])))
        return executor(*args, **kwargs)

    wrapper_type = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    clone.add_wrapper_with_key(wrapper_type, "test_watch", network)
    return clone, seen


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_both_workers_run_in_every_computed_evaluation_and_in_no_other(
    simulated, submissions, patch, records, epsilon
):
    model, seen = watched(simulated.models[0])
    patched = patch(model, epsilon=epsilon)
    result = simulated.sample(patched)
    record = records(patched)[-1]
    assert record.complete and torch.isfinite(result).all()
    assert (record.reused == 0) if epsilon == 0 else (0 < record.nfe < len(record.evaluations))
    devices = Counter(str(device) for device, _ in submissions)
    assert devices == {"cpu": record.nfe, "cpu:0": record.nfe}
    pairs = {(str(device), thread) for device, thread in submissions}
    assert len(pairs) == len({thread for _, thread in pairs}) == 2
    assert threading.get_ident() not in {thread for _, thread in pairs}
    # the network's own calls: one branch each, always the same model in the same thread
    assert {batch for _, _, batch in seen} == {1}
    assert Counter(thread for thread, _, _ in seen) == Counter(thread for _, thread in submissions)
    assert len({(thread, network) for thread, network, _ in seen}) == 2
    assert len({network for _, network, _ in seen}) == 2


def test_the_two_threads_decide_and_give_what_one_gives(host, simulated, submissions, patch, records):
    from scenes import ksample

    model = simulated.models[0]
    one, two = patch(model, epsilon=0.05), patch(model, epsilon=0.05)
    alone, result = ksample(host, one), simulated.sample(two)
    decisions = [
        [evaluation.decision.reuse for evaluation in records(patched)[-1].evaluations]
        for patched in (one, two)
    ]
    assert submissions and decisions[0] == decisions[1] and any(decisions[0])
    assert (result - alone).abs().max() < 1e-4
