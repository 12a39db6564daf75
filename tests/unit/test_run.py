"""A sampling run from its first evaluation to its last: what it compares with, and what it serves."""

from __future__ import annotations

import math

import pytest
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.policy import Action, ComputeAll, Reason
from sencache.caching.run import SamplingRun
from sencache.tests.toy_plans import SIGMAS as PLANNED_SIGMAS
from sencache.tests.toy_plans import planned_run, table_of
from sencache.tests.toy_runs import EVERYWHERE, LinearNetwork, begin, euler, flat_table, run_of
from torch.overrides import TorchFunctionMode

UNIT = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0)  # a score is the latent's rms distance
ZEROS = torch.zeros(1, 4)
SYNCHRONISING = {"tolist", "item", "__bool__", "__float__", "__int__", "__index__", "numpy", "cpu", "nonzero"}
SIGMAS = [1 - step / 20 for step in range(20)] + [0.0]


def noise(seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 2, 3, generator=torch.Generator().manual_seed(seed))


def decided(run) -> list[bool]:
    return [one.decision.reuse for one in run.finish()]


def test_the_first_evaluation_is_computed():
    decision = begin(run_of(UNIT, epsilon=1e9), ZEROS, 1.0)
    assert (decision.action, decision.reason, decision.score) == (Action.COMPUTE, Reason.FIRST, None)


def test_distances_are_from_the_last_computed_evaluation_and_are_not_added_up():
    run = run_of(UNIT, rule="paper", epsilon=0.35, max_reuse=10)
    made = [begin(run, ZEROS + x, 1 - x) for x in (0.0, 0.25, 0.125, 0.25, 0.375, 0.5)]
    assert [one.score for one in made] == [None, 0.25, 0.125, 0.25, 0.375, 0.125]
    assert [one.reuse for one in made] == [False, True, True, True, False, True]


def test_the_latents_distance_is_a_root_mean_square_whatever_the_resolution():
    for shape in [(1, 4), (1, 16, 3, 8, 8)]:
        run = run_of(UNIT, rule="paper")
        begin(run, torch.zeros(shape), 1.0)
        assert begin(run, torch.full(shape, 0.0625), 0.9).score == pytest.approx(0.0625, rel=1e-6)


def test_the_time_distance_is_in_model_time():
    run = run_of(flat_table(latent_sensitivity=0.0, time_sensitivity=0.001), rule="paper", epsilon=0.2)
    made = [begin(run, ZEROS, sigma) for sigma in (1.0, 0.875, 0.75)]
    assert [one.score for one in made[1:]] == pytest.approx([0.125, 0.25], rel=1e-5)
    assert [one.reuse for one in made] == [False, True, False]


def test_the_table_row_is_that_of_the_last_computed_evaluation():
    table = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0)
    sloped = type(table)(
        table.timestep, table.sigma, table.rows | {"latent_sensitivity": torch.tensor([[1.0, 0.0]])}
    )
    run = run_of(sloped, rule="paper", epsilon=0.5, max_reuse=2)
    made = [begin(run, ZEROS + x, sigma) for x, sigma in [(0, 1.0), (0.25, 0.75), (0.5, 0.5), (1, 0.25)]]
    assert [one.score for one in made[1:]] == [0.25, 0.5, 1.0]
    assert begin(run, ZEROS + 2, 0.125).score == 0.25  # the row at 0.25, where the last one was computed


def test_of_a_batch_every_sample_is_measured_and_the_worst_decides():
    run = run_of(UNIT, rule="paper", epsilon=0.3)
    begin(run, torch.zeros(3, 4), 1.0)
    moved = torch.tensor([0.125, 0.5, 0.25])[:, None].expand(3, 4)
    decision = begin(run, moved, 0.9)
    assert decision.score == 0.5 and decision.reason is Reason.OVER_LIMIT


def test_the_reference_is_a_copy_so_a_sampler_may_go_on_in_place():
    run = run_of(UNIT, rule="paper")
    x = torch.zeros(1, 4)
    begin(run, x, 1.0)
    x += 0.0625
    assert begin(run, x, 0.9).score == 0.0625


def test_a_stored_output_is_a_copy_too():
    run = run_of(UNIT, forecast="hold")
    begin(run, ZEROS, 1.0)
    output = torch.ones(1, 4)
    run.store("cond", output)
    output += 5
    begin(run, ZEROS, 0.9)
    assert run.serve("cond", output.device).tolist() == [[1.0] * 4]


def test_neither_inputs_nor_outputs_are_changed():
    run = run_of(UNIT)
    given = [noise(seed) for seed in range(3)]
    before = [tensor.clone() for tensor in given]
    for index, sigma in enumerate((1.0, 0.9)):
        begin(run, given[0], sigma)
        if not index:
            run.store("cond", given[1])
    run.serve("cond", given[0].device).fill_(7.0)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given, before, strict=True))
    assert torch.equal(run.serve("cond", given[0].device), before[1])


def test_what_is_served_is_the_forecast_at_the_present_time():
    run = run_of(UNIT, forecast="linear", epsilon=0.1)
    for x, sigma, output in [(0.0, 1.0, 10.0), (1.0, 0.875, 12.0)]:
        assert not begin(run, ZEROS + x, sigma).reuse
        run.store("cond", ZEROS + output)
    assert begin(run, ZEROS + 1.0, 0.8125).reuse
    assert run.serve("cond", ZEROS.device).tolist() == [[13.0] * 4]
    assert begin(run, ZEROS + 1.0, 0.75).reuse
    assert run.serve("cond", ZEROS.device).tolist() == [[14.0] * 4]


def test_every_branch_is_served_its_own_output():
    run = run_of(UNIT, forecast="hold")
    begin(run, ZEROS, 1.0)
    run.store("cond", ZEROS + 1)
    run.store("uncond", ZEROS + 2)
    begin(run, ZEROS, 0.9)
    served = [run.serve(branch, ZEROS.device)[0, 0].item() for branch in ("uncond", "cond")]
    assert served == [2.0, 1.0]


def test_after_n_reuses_one_evaluation_is_computed_and_the_count_starts_again():
    run = run_of(UNIT, max_reuse=2)
    made = [begin(run, ZEROS, sigma) for sigma in SIGMAS[:8]]
    assert [one.reuse for one in made] == [False, True, True, False, True, True, False, True]


@pytest.mark.parametrize("forecast", ["hold", "linear"])
def test_a_linear_network_is_sampled_with_fewer_evaluations(forecast):
    network = LinearNetwork()
    run = run_of(flat_table(latent_sensitivity=0.5, time_sensitivity=0.001), forecast=forecast, epsilon=0.2)
    euler(network, noise(), SIGMAS, run)
    reuses = decided(run)
    assert network.evaluations == reuses.count(False) and 2 <= reuses.count(True) <= 15


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"max_reuse": 0}])
def test_with_an_epsilon_or_n_of_zero_the_result_is_bit_identical_and_nothing_is_held(off):
    run, network = run_of(UNIT, **off), LinearNetwork()
    assert torch.equal(euler(network, noise(), SIGMAS, run), euler(LinearNetwork(), noise(), SIGMAS))
    assert network.evaluations == 20 and run.stored_tensors == 0
    assert {one.decision.reason for one in run.finish()} == {Reason.OFF}


def test_two_runs_are_what_two_fresh_runs_are():
    table = flat_table(latent_sensitivity=0.5, time_sensitivity=0.001, alignment=-0.5)

    def sampled(seed: int) -> tuple[list[float], list[bool]]:
        run = run_of(table, epsilon=0.2)
        return euler(LinearNetwork(), noise(seed), SIGMAS, run).flatten().tolist(), decided(run)

    first, second = sampled(1), sampled(2)
    assert (sampled(2), sampled(1)) == (second, first)
    assert True in first[1] and first[0] != second[0]


def test_after_a_change_of_shape_one_evaluation_is_computed_and_then_reuse_goes_on():
    run = run_of(UNIT, forecast="linear", max_reuse=10)
    for sigma in (1.0, 0.9, 0.8):
        if not begin(run, ZEROS, sigma).reuse:
            run.store("cond", ZEROS + 1)
    larger = torch.zeros(1, 6)
    decision = begin(run, larger, 0.7)
    assert (decision.action, decision.reason) == (Action.COMPUTE, Reason.NEW_SHAPE)
    run.store("cond", larger + 3)
    assert [begin(run, larger, sigma).reuse for sigma in (0.6, 0.5)] == [True, True]
    assert run.serve("cond", larger.device).tolist() == [[3.0] * 6]
    assert begin(run, larger + 1, 0.4).reason is Reason.OVER_LIMIT


def test_a_changed_batch_size_is_a_new_shape_as_well():
    run = run_of(UNIT)
    begin(run, torch.zeros(2, 4), 1.0)
    assert begin(run, ZEROS, 0.9).reason is Reason.NEW_SHAPE
    assert not run.can_serve(["cond"])


def test_every_reason_there_is_comes_up_in_a_run():
    zones = Zones(start_sigma=math.inf, end_sigma=0.1, strict_sigma=math.inf)
    run = run_of(UNIT, zones, epsilon=0.5, max_reuse=1)
    begin(run, ZEROS, 1.0)
    for x, sigma in [(0.0, 0.9), (0.0, 0.8), (9.0, 0.7)]:
        begin(run, ZEROS + x, sigma)
    assert begin(run, ZEROS + 9, 0.6).reuse
    run.compute_instead()
    begin(run, torch.zeros(1, 6), 0.5)
    begin(run, torch.zeros(1, 6), 0.05)
    off = run_of(UNIT, epsilon=0.0)
    begin(off, ZEROS, 1.0)
    whole = (Reason.MEASURING, Reason.NO_TABLE, Reason.UNPLANNED)
    others = [SamplingRun(ComputeAll(SenCacheConfig(), reason)) for reason in whole]
    for one in others:
        begin(one, ZEROS, 1.0)
    overruled = run_of(UNIT, epsilon=0.5)
    begin(overruled, ZEROS, 1.0)
    assert begin(overruled, ZEROS, 0.9).reuse
    overruled.compute_instead(Reason.OTHER_RANK)
    found = [one.decision.reason for made in (run, off, *others, overruled) for one in made.finish()]
    assert found == [
        Reason.FIRST,
        Reason.WITHIN_LIMIT,
        Reason.MAX_REUSE,
        Reason.OVER_LIMIT,
        Reason.NO_STORED_OUTPUT,
        Reason.NEW_SHAPE,
        Reason.OUTSIDE_RANGE,
        Reason.OFF,
        *whole,
        Reason.FIRST,
        Reason.OTHER_RANK,
    ]
    assert set(found) == set(Reason) - {Reason.PLANNED, Reason.UNMEASURED}  # which are test_planned.py's


class CountSynchronisations(TorchFunctionMode):
    """Counts the calls that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in SYNCHRONISING:
            self.calls.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_the_counter_of_synchronisations_sees_them():
    with CountSynchronisations() as counter:
        value = torch.ones(1)
        float(value), int(value), bool(value), value.item(), value.tolist(), value.cpu(), value.numpy()
    assert len(counter.calls) >= 7


@pytest.mark.parametrize(
    "settings",
    [{}, {"epsilon": 0.0}, {"rule": "paper", "forecast": "hold"}, {"rule": "plan", "speed_up": 3.0}],
)
def test_an_evaluation_reads_the_device_exactly_once(settings):
    planned = settings.get("rule") == "plan"
    run = planned_run(table_of(), **settings) if planned else run_of(UNIT, EVERYWHERE, **settings)
    x = torch.zeros(2, 4)
    for sigma in PLANNED_SIGMAS[:6]:
        sigmas = torch.full((2,), sigma)
        with CountSynchronisations() as counter:
            decision = run.begin(x, sigmas, sigmas * 1000)
            if decision.reuse:
                run.serve("cond", x.device)
            else:
                run.store("cond", x)
        assert counter.calls == ["tolist"]
