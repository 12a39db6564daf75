"""Runs foreseen from a table: against real runs of a linear network, and from a wished speed-up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.plan import Plan
from sencache.caching.plan import simulate as simulate_points
from sencache.caching.policy import Reason
from sencache.calibration.estimator import TrajectoryProbe
from sencache.calibration.table import SensitivityTable
from sencache.tests.toy_runs import EVERYWHERE, JOINT, LinearNetwork, euler, flat_table, points_at, run_of

STEPS = 16
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
TIMESTEPS = [1000 * sigma for sigma in SIGMAS]
CALM = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0, latent_drift=1 / 1024)
CALM_TIMESTEPS = [1024 * sigma for sigma in SIGMAS]  # so that every step's score is 1/16, without rounding


def simulate(config, zones, table, sigmas, timesteps) -> Plan:
    return simulate_points(config, zones, table, points_at(sigmas, timesteps))


def plan_for_speed_up(speed_up, config, zones, table, sigmas, timesteps) -> Plan:
    return simulate(replace(config, speed_up=speed_up), zones, table, sigmas, timesteps)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(seed))


def calibrated(seed: int) -> SensitivityTable:
    """Measure the linear network along the very trajectory that the seed samples."""
    network = LinearNetwork()
    probe = TrajectoryProbe(network)

    def watched(x: torch.Tensor, timestep: float) -> torch.Tensor:
        output = network(x, timestep)
        probe.observe(x, timestep / 1000, timestep, output)
        return output

    euler(watched, noise(seed), [*SIGMAS, 0.0])
    return probe.table({})


def foreseen(table: SensitivityTable = CALM, zones: Zones = EVERYWHERE, **settings):
    timesteps = CALM_TIMESTEPS if table is CALM else TIMESTEPS
    config = SenCacheConfig(**{**JOINT, "forecast": "hold", **settings})
    return simulate(config, zones, table, SIGMAS, timesteps)


@pytest.mark.parametrize("rule", ["paper", "joint"])
@pytest.mark.parametrize(("epsilon", "max_reuse"), [(0.1, 10), (0.2, 10), (0.2, 2), (0.4, 4), (9.0, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_simulation_foresees_the_evaluations_of_a_real_run(rule, epsilon, max_reuse, seed):
    table = calibrated(seed)
    settings = {"rule": rule, "forecast": "linear", "epsilon": epsilon, "max_reuse": max_reuse}
    network, run = LinearNetwork(), run_of(table, **settings)
    euler(network, noise(seed), [*SIGMAS, 0.0], run)
    plan = foreseen(table, **settings)
    assert 2 <= network.evaluations < STEPS
    assert abs(plan.nfe - network.evaluations) <= 1
    assert len(plan.decisions) == len(run.finish()) == STEPS


def test_where_the_latent_moves_straight_every_decision_is_foreseen_exactly():
    zones = Zones(start_sigma=math.inf, end_sigma=0.22, strict_sigma=0.7)
    settings = {"forecast": "hold", "epsilon": 0.25, "strict_epsilon": 0.125, "max_reuse": 3}
    run = run_of(CALM, zones, **settings)
    for sigma in SIGMAS:
        run.begin(torch.full((1, 4), sigma), torch.tensor([sigma]), torch.tensor([1024 * sigma]))
    real = [one.decision for one in run.finish()]
    plan = foreseen(zones=zones, **settings)
    assert [(one.action, one.reason) for one in plan.decisions] == [(one.action, one.reason) for one in real]
    scores = [one.score for one in real[1:]]
    assert [one.score for one in plan.decisions[1:]] == scores
    assert {one.reason for one in real} >= {Reason.OVER_LIMIT, Reason.MAX_REUSE, Reason.OUTSIDE_RANGE}


def test_the_latent_moves_on_from_step_to_step_and_is_weighed_where_it_was_computed_last():
    knots = torch.tensor([1000.0, 0.0])
    rows = {
        "latent_sensitivity": torch.tensor([[2.0, 0.0]]),
        "time_sensitivity": torch.tensor([[0.0, 0.0]]),
        "latent_drift": torch.tensor([[0.004, 0.0]]),
    }
    table = SensitivityTable(knots, knots / 1000, rows)
    config = SenCacheConfig(rule="joint", forecast="hold", epsilon=3.0)
    plan = simulate(config, EVERYWHERE, table, [1, 0.75, 0.5, 0.25], [1000, 750, 500, 250])
    scores = [2 * 0.004 * 250, 2 * (0.004 + 0.003) * 250, 1 * 0.002 * 250]
    assert [one.score for one in plan.decisions[1:]] == pytest.approx(scores, rel=1e-6)
    assert [one.reuse for one in plan.decisions] == [False, True, False, True]


def test_before_there_is_a_line_a_third_of_epsilon_counts():
    plan = foreseen(forecast="linear", epsilon=0.15, max_reuse=10)  # steps of 0.0625; a third is 0.05
    assert [one.reuse for one in plan.decisions[:6]] == [False, False, True, True, False, True]
    assert plan.decisions[1].budget == pytest.approx(0.05) and plan.decisions[2].budget == 0.15
    assert foreseen(forecast="linear", rule="paper", epsilon=0.15, max_reuse=10).decisions[1].reuse


def test_a_plan_counts_its_evaluations():
    plan = foreseen(epsilon=0.125, max_reuse=10)  # steps of 0.0625: two fit, the third would not
    assert [one.reuse for one in plan.decisions[:7]] == [False, True, True, False, True, True, False]
    assert plan.nfe == 6 and plan.speed_up == 16 / 6
    assert plan.config.epsilon == 0.125


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"max_reuse": 0}])
def test_with_reuse_off_every_evaluation_is_computed(off):
    plan = foreseen(**off)
    assert {one.reason for one in plan.decisions} == {Reason.OFF} and plan.speed_up == 1.0


@pytest.mark.parametrize(
    ("speed_up", "epsilon", "nfe"),
    [(1.9, 0.0625, 8), (2.0, 0.0625, 8), (2.5, 0.125, 6), (4.0, 0.1875, 4), (5.0, 0.3125, 3)],
)
def test_the_smallest_epsilon_for_a_speed_up_is_found(speed_up, epsilon, nfe):
    config = SenCacheConfig(rule="joint", forecast="hold", max_reuse=10)
    plan = plan_for_speed_up(speed_up, config, EVERYWHERE, CALM, SIGMAS, CALM_TIMESTEPS)
    assert plan.config.epsilon == pytest.approx(epsilon, rel=1e-9)
    assert plan.nfe == nfe and plan.speed_up >= speed_up
    assert foreseen(**{"max_reuse": 10, "epsilon": epsilon * 0.9999}).speed_up < speed_up
    assert replace(plan.config, epsilon=config.epsilon, speed_up=0.0) == config


@pytest.mark.parametrize("speed_up", [1.5, 2.0, 2.5, 3.0])
def test_no_smaller_epsilon_does_where_the_count_jumps_up_and_down(speed_up):
    timesteps = [1000.0 - 20 * index for index in range(50)]
    rough = torch.tensor([[1.0 + 0.8 * math.sin(1.7 * index) for index in range(50)]])
    rows = {
        "latent_sensitivity": rough,
        "time_sensitivity": 0.001 * rough,
        "latent_drift": torch.full_like(rough, 0.001),
    }
    sigmas = [timestep / 1000 for timestep in timesteps]
    table = SensitivityTable(torch.tensor(timesteps), torch.tensor(sigmas), rows)
    config = SenCacheConfig(rule="joint", max_reuse=6)
    found = plan_for_speed_up(speed_up, config, EVERYWHERE, table, sigmas, timesteps).config.epsilon
    smaller = [found * (0.999 - 0.001 * index) for index in range(600)]
    plans = [simulate(replace(config, epsilon=one), EVERYWHERE, table, sigmas, timesteps) for one in smaller]
    assert all(plan.speed_up < speed_up for plan in plans)


def test_a_speed_up_that_n_forbids_gives_the_best_there_is():
    config = SenCacheConfig(rule="joint", forecast="hold", max_reuse=1)
    plan = plan_for_speed_up(3.0, config, EVERYWHERE, CALM, SIGMAS, CALM_TIMESTEPS)
    assert plan.speed_up == 2.0 and plan.config.epsilon == pytest.approx(0.0625)


def test_a_speed_up_that_the_range_forbids_gives_the_best_there_is():
    second_half = Zones(start_sigma=0.5, end_sigma=-1.0, strict_sigma=math.inf)
    config = SenCacheConfig(rule="joint", forecast="hold", max_reuse=10)
    plan = plan_for_speed_up(3.0, config, second_half, CALM, SIGMAS, CALM_TIMESTEPS)
    assert plan.nfe == 8 and plan.speed_up == 2.0


def test_a_speed_up_of_one_reuses_nothing():
    plan = plan_for_speed_up(1.0, SenCacheConfig(rule="joint"), EVERYWHERE, CALM, SIGMAS, CALM_TIMESTEPS)
    assert plan.nfe == STEPS


@pytest.mark.parametrize("speed_up", [0.99, -2.0, math.nan])
def test_a_speed_up_below_one_is_refused(speed_up):
    with pytest.raises(ValueError, match=f"speed_up is {speed_up}; it must be 0 .by epsilon. or from 1 up"):
        plan_for_speed_up(speed_up, SenCacheConfig(rule="joint"), EVERYWHERE, CALM, SIGMAS, CALM_TIMESTEPS)


def test_a_table_without_drift_is_refused():
    without = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0)
    with pytest.raises(ValueError, match="does not say how fast the latent moves"):
        foreseen(without)
    with pytest.raises(ValueError, match="does not say how fast the latent moves"):
        plan_for_speed_up(2.0, SenCacheConfig(rule="joint"), EVERYWHERE, without, SIGMAS, TIMESTEPS)


def test_sigmas_and_model_times_of_different_number_are_refused():
    with pytest.raises(ValueError):
        simulate(SenCacheConfig(rule="joint"), EVERYWHERE, CALM, SIGMAS, TIMESTEPS[:-1])
