"""What a sampling run keeps: which outputs it may serve, how many tensors it holds, and that it lets go."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.policy import Action, Reason
from sencache.caching.run import SamplingRun
from sencache.caching.threshold import Threshold
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import LinearNetwork, begin, euler, flat_table, run_of

UNIT = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0)
ZEROS = torch.zeros(1, 4)
CPU = ZEROS.device


def computed(run: SamplingRun, sigma: float, x: float = 0.0, **outputs: float) -> None:
    """Compute one evaluation whose branches give these outputs."""
    assert not begin(run, ZEROS + x, sigma).reuse
    for branch, output in outputs.items():
        run.store(branch, ZEROS + output)


def reused(run: SamplingRun, sigma: float, x: float = 0.0) -> None:
    assert begin(run, ZEROS + x, sigma).reuse


def held_tensors(run: SamplingRun) -> list[torch.Tensor]:
    """Find every tensor that a run refers to, however deep, but its table's."""
    found, seen, waiting = {}, set(), [run]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (SensitivityTable, type)):
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            found[id(one)] = one
        elif isinstance(one, (list, tuple, dict)) or type(one).__module__.startswith("sencache"):
            waiting.extend(gc.get_referents(one))
    return list(found.values())


def test_a_branch_can_be_served_once_its_output_is_stored():
    run = run_of(UNIT)
    computed(run, 1.0, cond=1.0)
    reused(run, 0.9)
    assert run.can_serve(["cond"]) and run.can_serve([])
    assert not run.can_serve(["uncond"]) and not run.can_serve(["cond", "uncond"])


def test_a_branch_without_an_output_makes_the_evaluation_computed_with_its_reason():
    run = run_of(UNIT, rule="paper", epsilon=0.1, max_reuse=2)
    computed(run, 1.0, cond=1.0)
    reused(run, 0.9)
    reused(run, 0.8, x=0.0625)
    run.compute_instead()
    assert (run.decision.action, run.decision.reason) == (Action.COMPUTE, Reason.NO_STORED_OUTPUT)
    run.store("cond", ZEROS + 2)
    run.store("uncond", ZEROS + 3)
    reused(run, 0.7)
    assert run.decision.score == 0.0625  # from where it was computed instead, and the count started again
    assert run.can_serve(["cond", "uncond"])
    assert [one.decision.reuse for one in run.finish()] == [False, True, False, True]


def test_computing_instead_changes_nothing_about_a_computed_evaluation():
    run = run_of(UNIT)
    computed(run, 1.0, cond=1.0)
    run.compute_instead()
    assert run.decision.reason is Reason.FIRST
    assert [one.decision.reason for one in run.finish()] == [Reason.FIRST]


def test_an_output_older_than_the_last_computed_evaluation_is_not_served():
    run = run_of(UNIT, forecast="hold")
    computed(run, 1.0, cond=1.0, uncond=2.0)
    computed(run, 0.9, x=9.0, cond=3.0)
    reused(run, 0.8, x=9.0)
    assert run.can_serve(["cond"]) and not run.can_serve(["cond", "uncond"])


def test_an_output_computed_between_two_served_ones_is_new_enough():
    run = run_of(UNIT, forecast="hold", max_reuse=5)
    computed(run, 1.0, cond=1.0)
    reused(run, 0.9)
    run.store("window 2", ZEROS + 2)
    reused(run, 0.8)
    assert run.can_serve(["cond", "window 2"])


def test_branches_that_are_not_in_use_any_more_are_let_go():
    run = run_of(UNIT, forecast="linear")
    for step in range(20):
        computed(run, 1 - step / 40, x=9.0 * step, **{f"window {step}": 1.0})
    assert len(held_tensors(run)) == run.stored_tensors == 3  # x and the last two computed evaluations'


@pytest.mark.parametrize(
    ("forecast", "branches", "expected"),
    [("hold", 1, 2), ("hold", 2, 3), ("linear", 1, 3), ("linear", 2, 5)],
)
def test_the_tensors_held_are_one_latent_and_what_the_forecast_needs_of_every_branch(
    forecast, branches, expected
):
    run = run_of(UNIT, forecast=forecast, max_reuse=2)
    names = ["cond", "uncond"][:branches]
    most = 0
    for step in range(12):
        if begin(run, torch.full((1, 4), 0.01 * step), 1 - step / 20).reuse:
            [run.serve(name, CPU) for name in names]
        else:
            [run.store(name, ZEROS + step) for name in names]
        assert len(held_tensors(run)) == run.stored_tensors
        most = max(most, run.stored_tensors)
    assert most == expected


def test_with_reuse_off_nothing_is_held_even_if_outputs_are_given():
    run = run_of(UNIT, max_reuse=0)
    computed(run, 1.0, cond=1.0)
    assert held_tensors(run) == [] and run.stored_tensors == 0


def watched(run: SamplingRun) -> list[weakref.ref]:
    computed(run, 1.0, cond=1.0)
    computed(run, 0.9, x=9.0, cond=2.0)
    reused(run, 0.8, x=9.0)
    tensors = held_tensors(run)
    assert len(tensors) == 4  # the latent at hand is still there for compute_instead
    return [weakref.ref(tensor) for tensor in tensors]


def test_finishing_frees_every_tensor():
    run = run_of(UNIT)
    references = watched(run)
    assert len(run.finish()) == 3
    assert held_tensors(run) == [] and run.stored_tensors == 0
    assert [reference() for reference in references] == [None] * 4


def test_finishing_after_an_exception_frees_every_tensor_and_keeps_the_record():
    class CancelError(Exception):
        pass

    def network(x: torch.Tensor, timestep: float) -> torch.Tensor:
        if timestep < 700:
            raise CancelError
        return LinearNetwork()(x, timestep)

    run = run_of(UNIT, epsilon=0.001)
    with pytest.raises(CancelError):
        euler(network, torch.ones(1, 4), [1.0, 0.9, 0.8, 0.6, 0.4, 0.0], run)
    references = [weakref.ref(tensor) for tensor in held_tensors(run)]
    assert len(references) == 3
    assert [one.sigma for one in run.finish()] == pytest.approx([1.0, 0.9, 0.8, 0.6])
    gc.collect()  # the exception's traceback is a cycle of its own
    assert [reference() for reference in references] == [None] * 3


def test_a_run_without_any_evaluation_finishes_with_an_empty_record():
    assert run_of(UNIT).finish() == ()


def test_seconds_run_until_the_next_evaluation_begins_and_the_last_ones_to_the_end():
    times = iter([10.0, 12.5, 12.75, 20.75])
    run = run_of(UNIT, clock=lambda: next(times))
    for sigma in (1.0, 0.9, 0.8):
        begin(run, ZEROS, sigma)
    evaluations = run.finish()
    assert [one.seconds for one in evaluations] == [2.5, 0.25, 8.0]
    assert [one.decision.reuse for one in evaluations] == [False, True, True]


def test_the_record_tells_sigma_and_model_time_of_every_evaluation():
    run = run_of(UNIT)
    for sigma in (1.0, 0.75, 0.5):
        begin(run, ZEROS, sigma)
    assert [(one.sigma, one.timestep) for one in run.finish()] == [(1, 1000), (0.75, 750), (0.5, 500)]


def test_stored_tensors_on_the_cpu_serve_the_same():
    results = []
    for cache_device in ("model", "cpu"):
        run = run_of(
            flat_table(latent_sensitivity=0.5, time_sensitivity=0.001), epsilon=0.2, cache_device=cache_device
        )
        sigmas = [1 - step / 20 for step in range(21)]
        results.append(euler(LinearNetwork(), torch.ones(1, 4), sigmas, run))
        assert sum(one.decision.reuse for one in run.finish()) > 5
    assert torch.equal(*results)


def test_outputs_wait_on_their_own_device_unless_the_cpu_is_asked_for():
    elsewhere = torch.ones(1, 4, device="meta")  # a device without memory: nothing can be copied off it
    run = run_of(UNIT, cache_device="model")
    begin(run, ZEROS, 1.0)
    run.store("cond", elsewhere)
    assert run.serve("cond", elsewhere.device).device.type == "meta"
    run = run_of(UNIT, cache_device="cpu")
    begin(run, ZEROS, 1.0)
    with pytest.raises(NotImplementedError, match="meta"):
        run.store("cond", elsewhere)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_tensors_of_another_device_wait_on_the_cpu_and_are_served_there():
    run = run_of(UNIT, cache_device="cpu")
    x = torch.ones(1, 4, device="cuda")
    begin(run, x, 1.0)
    run.store("cond", x)
    assert {tensor.device.type for tensor in held_tensors(run)} == {"cpu"}
    assert begin(run, x, 0.9).reuse
    assert torch.equal(run.serve("cond", x.device), x)


def test_outputs_are_extended_along_the_axis_that_the_run_is_given():
    zones = Zones(start_sigma=0.75, end_sigma=-1.0, strict_sigma=math.inf)
    policy = Threshold(SenCacheConfig(rule="joint", epsilon=2.0), zones, UNIT)
    run = SamplingRun(policy, axis=lambda sigma: sigma**2)
    for sigma in (1.0, 0.8, 0.5):
        if begin(run, ZEROS, sigma).reuse:
            served = run.serve("cond", ZEROS.device)
        else:
            run.store("cond", ZEROS + sigma**2)  # a line in sigma squared
    assert torch.allclose(served, ZEROS + 0.25, atol=1e-6)
