"""Runs expected from a table: against real runs along the same points, and from a wished speed-up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sencache.caching import tuned
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.forecast import FORECASTS
from sencache.caching.policy import Reason
from sencache.caching.rules import RULES, policy_for
from sencache.caching.simulate import ExpectedRun
from sencache.caching.simulate import simulate as simulate_policy
from sencache.caching.threshold import EPSILON_PRECISION
from sencache.calibration.estimator import TrajectoryProbe
from sencache.calibration.table import SensitivityTable
from sencache.tests import toy_plans
from sencache.tests.toy_runs import EVERYWHERE, JOINT, LinearNetwork, euler, flat_table, points_at, run_of

STEPS = 16
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
TIMESTEPS = [1000 * sigma for sigma in SIGMAS]
CALM = flat_table(latent_sensitivity=1.0, time_sensitivity=0.0, latent_drift=1 / 1024)
CALM_TIMESTEPS = [1024 * sigma for sigma in SIGMAS]  # so that every step's score is 1/16, without rounding


def simulate(config, zones, table, sigmas, timesteps) -> ExpectedRun:
    points = points_at(sigmas, timesteps)
    return simulate_policy(policy_for(config, zones, table, points), table, points)


def plan_for_speed_up(speed_up, config, zones, table, sigmas, timesteps) -> ExpectedRun:
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


def expected(table: SensitivityTable = CALM, zones: Zones = EVERYWHERE, **settings):
    timesteps = CALM_TIMESTEPS if table is CALM else TIMESTEPS
    config = SenCacheConfig(**{**JOINT, "forecast": "hold", **settings})
    return simulate(config, zones, table, SIGMAS, timesteps)


@pytest.mark.parametrize("rule", ["paper", "joint"])
@pytest.mark.parametrize(("epsilon", "max_reuse"), [(0.1, 10), (0.2, 10), (0.2, 2), (0.4, 4), (9.0, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_simulation_expects_the_evaluations_of_a_real_run(rule, epsilon, max_reuse, seed):
    table = calibrated(seed)
    settings = {"rule": rule, "forecast": "linear", "epsilon": epsilon, "max_reuse": max_reuse}
    network, run = LinearNetwork(), run_of(table, **settings)
    euler(network, noise(seed), [*SIGMAS, 0.0], run)
    plan = expected(table, **settings)
    assert 2 <= network.evaluations < STEPS
    assert abs(plan.nfe - network.evaluations) <= 1
    assert len(plan.decisions) == len(run.finish()) == STEPS


def test_where_the_latent_moves_straight_every_decision_is_expected_exactly():
    zones = Zones(start_sigma=math.inf, end_sigma=0.22, strict_sigma=0.7)
    settings = {"forecast": "hold", "epsilon": 0.25, "strict_epsilon": 0.125, "max_reuse": 3}
    run = run_of(CALM, zones, **settings)
    for sigma in SIGMAS:
        run.begin(torch.full((1, 4), sigma), torch.tensor([sigma]), torch.tensor([1024 * sigma]))
    real = [one.decision for one in run.finish()]
    plan = expected(zones=zones, **settings)
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


def test_before_there_is_a_line_a_share_of_epsilon_counts(monkeypatch):
    monkeypatch.setattr(tuned, "UNSETTLED_SHARE", 0.25)
    plan = expected(forecast="linear", epsilon=0.15, max_reuse=10)  # steps of 0.0625; a quarter is 0.0375
    assert [one.reuse for one in plan.decisions[:6]] == [False, False, True, True, False, True]
    assert [one.limit for one in plan.decisions[:3]] == [None, 0.0375, 0.15]
    assert expected(forecast="linear", rule="paper", epsilon=0.15, max_reuse=10).decisions[1].reuse


def test_a_plan_counts_its_evaluations():
    plan = expected(epsilon=0.125, max_reuse=10)  # steps of 0.0625: two fit, the third would not
    assert [one.reuse for one in plan.decisions[:7]] == [False, True, True, False, True, True, False]
    assert plan.nfe == 6 and plan.speed_up == 16 / 6
    assert plan.config.epsilon == 0.125


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"max_reuse": 0}])
def test_with_reuse_off_every_evaluation_is_computed(off):
    plan = expected(**off)
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
    assert expected(**{"max_reuse": 10, "epsilon": epsilon * 0.9999}).speed_up < speed_up
    assert replace(plan.config, epsilon=config.epsilon, speed_up=0.0) == config


@pytest.mark.parametrize("speed_up", [1.5, 2.0, 2.5, 3.0])
def test_no_epsilon_a_little_smaller_does_where_the_count_jumps_up_and_down(speed_up):
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
    plan = plan_for_speed_up(speed_up, config, EVERYWHERE, table, sigmas, timesteps)
    assert plan.speed_up >= speed_up
    for less in (EPSILON_PRECISION * 1.01, 1e-6, 1e-4):
        smaller = replace(config, epsilon=plan.config.epsilon * (1 - less))
        assert simulate(smaller, EVERYWHERE, table, sigmas, timesteps).speed_up < speed_up


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
        expected(without)
    with pytest.raises(ValueError, match="does not say how fast the latent moves"):
        plan_for_speed_up(2.0, SenCacheConfig(rule="joint"), EVERYWHERE, without, SIGMAS, TIMESTEPS)


def test_sigmas_and_model_times_of_different_number_are_refused():
    with pytest.raises(ValueError):
        simulate(SenCacheConfig(rule="joint"), EVERYWHERE, CALM, SIGMAS, TIMESTEPS[:-1])


DRIFT = 1 / 1024  # so that no distance is rounded
POINTS = points_at(SIGMAS, TIMESTEPS)


def drifting(sigma: float) -> torch.Tensor:
    """A latent that moves exactly as a table with this drift says."""
    return torch.full((1, 4), 1000 * DRIFT * (1 - sigma))


LATE_START = Zones(start_sigma=0.7, end_sigma=-1.0, strict_sigma=math.inf)  # as start_percent 0.3
EARLY_END = Zones(start_sigma=math.inf, end_sigma=0.3, strict_sigma=math.inf)  # as end_percent 0.7
ENDS_EARLY = SIGMAS[:-2]  # measured down to here only


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("forecast", sorted(FORECASTS))
@pytest.mark.parametrize(
    ("settings", "zones", "measured", "reason"),
    [
        ({"epsilon": 0.0}, EVERYWHERE, SIGMAS, Reason.OFF),
        ({"max_reuse": 0}, EVERYWHERE, SIGMAS, Reason.OFF),
        ({"epsilon": 0.2}, EVERYWHERE, SIGMAS, Reason.WITHIN_LIMIT),
        ({"speed_up": 3.0}, EVERYWHERE, SIGMAS, Reason.WITHIN_LIMIT),
        ({"speed_up": 3.0, "max_reuse": 1}, EVERYWHERE, SIGMAS, Reason.WITHIN_LIMIT),
        ({"epsilon": 0.5}, LATE_START, SIGMAS, Reason.OUTSIDE_RANGE),
        ({"speed_up": 3.0}, EARLY_END, SIGMAS, Reason.OUTSIDE_RANGE),
        ({"speed_up": 3.0}, EVERYWHERE, ENDS_EARLY, Reason.UNMEASURED),
        ({"epsilon": 0.5}, EVERYWHERE, ENDS_EARLY, Reason.UNMEASURED),
    ],
)
def test_expected_and_real_runs_agree_in_action_and_reason(rule, forecast, settings, zones, measured, reason):
    table = toy_plans.table_of(sigmas=measured, latent_drift=DRIFT)
    asked = {"rule": rule, "forecast": forecast, **settings}
    run = toy_plans.planned_run(table, zones, POINTS, **asked)
    toy_plans.follow(run, sigmas=SIGMAS, latent=drifting)
    real = [one.decision for one in run.finish()]
    made = simulate_policy(toy_plans.policy(table, zones, POINTS, **asked), table, POINTS).decisions
    assert [(one.action, one.reason, one.unit) for one in made] == [
        (one.action, one.reason, one.unit) for one in real
    ]
    assert [one.limit for one in made] == [one.limit for one in real]
    scores = [[-1.0 if one.score is None else one.score for one in decisions] for decisions in (made, real)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4, abs=1e-6)
    if reason is not Reason.UNMEASURED or rule == "plan":
        assert reason in {one.reason for one in real}
