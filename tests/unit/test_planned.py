"""The plan at work: what it serves and computes along a run, and what its guard compares and records."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sencache.caching import tuned
from sencache.caching.config import Zones
from sencache.caching.forecast import FORECASTS
from sencache.caching.planning.points import RunPoints
from sencache.caching.policy import Action, Arrival, Decision, Handling, Policy, Reason, Unit, decide
from sencache.caching.rules import RULES
from sencache.caching.simulate import simulate
from sencache.tests.toy_plans import POINTS, SIGMAS, STEPS, follow, planned_run, policy, table_of
from sencache.tests.toy_runs import EVERYWHERE, begin, points_at


def unusual(sigma: float) -> torch.Tensor:
    """A latent that moves far more than a table with a drift of 0.001 says."""
    return torch.full((1, 4), 1 - sigma + 0.15 * math.sin(40 * sigma))


@pytest.mark.parametrize("forecast", sorted(FORECASTS))
@pytest.mark.parametrize("speed_up", [1.1, 1.3, 1.5, 2.0, 3.0, 4.5, 9.0])
def test_a_run_computes_what_was_planned_and_serves_what_was_foreseen(forecast, speed_up):
    run = planned_run(table_of(), speed_up=speed_up, forecast=forecast)
    served = follow(run)
    decisions = [one.decision for one in run.finish()]
    assert STEPS - len(served) == run.policy.planned == max(2, math.floor(STEPS / speed_up))
    assert decisions[0].reason is Reason.FIRST
    rest = {one.reason for one in decisions[1:]}
    assert rest <= {Reason.PLANNED, Reason.WITHIN_LIMIT}
    assert {one.unit for one in decisions[1:]} == {Unit.RESULT_ERROR}


def test_a_wished_run_does_not_depend_on_epsilon():
    for latent in (unusual, lambda sigma: torch.zeros(1, 4)):
        made = []
        for epsilon in (0.0005, 0.01, 0.1):
            run = planned_run(table_of(latent_drift=0.001), speed_up=2.0, epsilon=epsilon)
            follow(run, latent=latent)
            made.append([one.decision for one in run.finish()])
        assert made[0] == made[1] == made[2]
    assert Reason.WITHIN_LIMIT in {one.reason for one in made[0]}


@pytest.mark.parametrize(
    "asked", [{"speed_up": 2.0}, {"speed_up": 4.5}, {"epsilon": 0.003}, {"epsilon": 0.5}], ids=str
)
@pytest.mark.parametrize("limit", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0])
def test_every_recorded_limit_is_the_number_that_was_compared(asked, limit, size, monkeypatch):
    monkeypatch.setattr(tuned, "WISHED_LIMIT", limit)
    run = planned_run(table_of(latent_drift=0.001), **asked)
    follow(run, latent=lambda sigma: size * unusual(sigma))
    decisions = [one.decision for one in run.finish()][1:]
    wished = max(limit, run.policy.predicted_error)
    assert {one.limit for one in decisions} == {wished if "speed_up" in asked else asked["epsilon"]}
    for one in decisions:
        assert not one.reuse or one.score <= one.limit
        assert one.reason is not Reason.OVER_LIMIT or not one.score <= one.limit


def test_every_recorded_limit_is_the_one_compared_under_every_rule_too():
    reasons = set()
    for rule in RULES:
        run = planned_run(table_of(latent_drift=0.001), rule=rule, epsilon=0.2)
        follow(run, latent=unusual)
        for decision in [one.decision for one in run.finish()][1:]:
            assert not decision.reuse or decision.score <= decision.limit
            assert decision.reason is not Reason.OVER_LIMIT or decision.score > decision.limit
            reasons.add(decision.reason)
    assert {Reason.OVER_LIMIT, Reason.WITHIN_LIMIT} <= reasons


def state(of: Policy) -> dict[str, object]:
    """Everything that a policy holds but what it shares with others."""
    return {name: copy.deepcopy(value) for name, value in vars(of).items() if name not in ("_plan", "_table")}


def same(one: object, other: object) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("settings", [{"epsilon": 0.0}, {"epsilon": 0.2}, {"speed_up": 3.0}], ids=str)
@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("forecast", sorted(FORECASTS))
def test_deciding_changes_no_state(rule, forecast, settings):
    made = policy(table_of(latent_drift=0.001), rule=rule, forecast=forecast, **settings)
    for index, sigma in enumerate(SIGMAS):
        arrival = Arrival(sigma, 1000 * sigma, (0.1 * index,) if index else None, 100.0 * (index % 3))
        before = state(made)
        first = decide(made, arrival)
        assert decide(made, arrival) == first
        decide(made, Arrival(sigma / 2, 500 * sigma, (99.0, math.nan), 7.0))  # nor asking of anything else
        assert same(state(made), before) and decide(made, arrival) == first
        made.take(arrival, first)


def test_what_was_not_measured_is_computed_with_its_reason():
    ends_early = table_of(sigmas=SIGMAS[2:-3])
    run = planned_run(ends_early, speed_up=9.0)
    follow(run)
    reasons = [one.decision.reason for one in run.finish()]
    assert reasons[0] is Reason.FIRST
    assert [reason is Reason.UNMEASURED for reason in reasons] == [False, True, *[False] * 4, *[True] * 3]
    expected = simulate(policy(ends_early, epsilon=2.0), ends_early, POINTS).decisions
    assert [one.reuse for one in expected[6:]] == [False] * 3


def test_an_evaluation_within_a_step_beyond_what_was_measured_or_the_range_is_computed():
    """A sampler's second evaluation may lie beyond an end that its step has not reached."""
    between = (SIGMAS[4] + SIGMAS[5]) / 2
    ended = Zones(start_sigma=math.inf, end_sigma=between + 0.01, strict_sigma=math.inf)
    for table, zones, reason in (
        (table_of(sigmas=SIGMAS[:5]), EVERYWHERE, Reason.UNMEASURED),
        (table_of(), ended, Reason.OUTSIDE_RANGE),
    ):
        run = planned_run(table, zones, speed_up=9.0)
        assert [begin(run, torch.zeros(1, 4), sigma).reuse for sigma in SIGMAS[:5]] == [False, *[True] * 4]
        decision = begin(run, torch.zeros(1, 4), between)
        assert (decision.action, decision.reason) == (Action.COMPUTE, reason)


def test_nothing_outside_the_range_is_reused():
    zones = Zones(start_sigma=0.8, end_sigma=0.3, strict_sigma=math.inf)
    run = planned_run(table_of(), zones, speed_up=9.0)
    served = follow(run)
    inside = [sigma for sigma in SIGMAS if zones.allows_reuse(sigma)]
    assert sorted(served) == sorted(inside)[: len(served)] and len(served) == len(inside)


def at(made: Policy, sigma: float) -> bool:
    return made.decide(Arrival(sigma, 1000 * sigma, (0.0,))).reuse


def compute(made: Policy, sigma: float) -> None:
    made.take(Arrival(sigma, 1000 * sigma), Decision(Action.COMPUTE, Reason.PLANNED))


def test_second_evaluations_of_a_step_and_looks_ahead_are_computed_where_the_plan_computes():
    everything = policy(table_of(), epsilon=1e-12)
    assert everything.planned == STEPS
    compute(everything, SIGMAS[0])
    between = (SIGMAS[0] + SIGMAS[1]) / 2
    assert [at(everything, sigma) for sigma in (SIGMAS[0], between, SIGMAS[1])] == [False] * 3
    fast = policy(table_of(), speed_up=9.0)
    assert not at(fast, SIGMAS[0])  # nothing computed yet
    compute(fast, SIGMAS[0])
    assert at(fast, SIGMAS[1]) and at(fast, between)
    compute(fast, SIGMAS[4])
    assert not at(fast, SIGMAS[2])  # the sampler went back
    fast.forget()
    assert not at(fast, SIGMAS[5])
    assert fast.decide(Arrival(SIGMAS[5], 1000 * SIGMAS[5], (0.0,))).score is None


def test_a_latent_that_moves_far_more_than_in_calibration_is_computed():
    table = table_of(latent_drift=0.001)

    def second(moved: torch.Tensor) -> Decision:
        run = planned_run(table, speed_up=4.0)
        begin(run, torch.zeros_like(moved), SIGMAS[0])
        return begin(run, moved, SIGMAS[1])

    assert second(torch.full((1, 4), 0.1)).reuse
    far = second(torch.full((1, 4), 9.0))
    assert far.reason is Reason.OVER_LIMIT and far.score > far.limit
    batch = torch.zeros(99, 4)
    batch[7] = 9.0
    assert second(batch) == far  # one sample is as much as all of them
    for good in (0.0, 0.1):
        broken = second(torch.tensor([[good] * 4, [math.nan] * 4]))
        assert broken.reason is Reason.OVER_LIMIT and broken.score == math.inf


def test_up_to_a_factor_more_than_in_calibration_is_usual_and_the_rest_counts(monkeypatch):
    monkeypatch.setattr(tuned, "UNUSUAL_MOVE", 3.0)
    made = policy(table_of(latent_drift=0.001, latent_sensitivity=0.5), speed_up=4.0)
    compute(made, SIGMAS[0])
    calm, moved = (made.decide(Arrival(SIGMAS[1], 1000 * SIGMAS[1], (far,), 100.0)) for far in (0.3, 0.7))
    effect = float(POINTS.effect[1])  # 0.4 more than three times 0.001 * 100, of it a half
    assert moved.score == pytest.approx(math.hypot(calm.score, 0.4 * 0.5 * effect), rel=1e-5)


def test_a_changed_shape_starts_the_plan_anew():
    run = planned_run(table_of(), speed_up=4.0)
    begin(run, torch.zeros(1, 4), SIGMAS[0])
    assert begin(run, torch.zeros(1, 4), SIGMAS[1]).reuse
    assert begin(run, torch.zeros(1, 6), SIGMAS[2]).reason is Reason.NEW_SHAPE
    assert begin(run, torch.zeros(1, 6), SIGMAS[3]).reuse


def handling(
    sigmas: list[float],
    action: Action = Action.COMPUTE,
    speed_up: float = 1.5,
    points: RunPoints = POINTS,
) -> Handling:
    """Compute at the first sigmas, and return how the evaluation at the last one would be handled."""
    made = policy(table_of(), points=points, speed_up=speed_up)
    for sigma in sigmas[:-1]:
        compute(made, sigma)
    return made.take(Arrival(sigmas[-1], 1000 * sigmas[-1]), Decision(action, Reason.PLANNED))


def test_a_sampler_that_evaluates_twice_a_step_is_not_corrected():
    once, twice = SIGMAS[:2], [*SIGMAS[:2], SIGMAS[1]]
    assert handling(once).corrects and not handling(twice).corrects
    after = [handling([*way, SIGMAS[2]], Action.REUSE, 4.0).weight_ahead for way in (once, twice)]
    assert after[0] > 0 and after[1] == 0


def corrects(gain: float, steps: int, part: slice = slice(None)) -> bool:
    """Tell whether a run of some steps, or a part of it, is corrected with a sampler of a gain."""
    sigmas = [1 - step / steps for step in range(steps)][part]
    points = points_at(sigmas, [1000 * sigma for sigma in sigmas])
    return handling(sigmas[:2], points=replace(points, error_gain=gain)).corrects


@pytest.mark.parametrize("gain", [1.0, 1.5])
@pytest.mark.parametrize("steps", [12, 20, 50])
def test_samplers_close_to_eulers_are_corrected(gain, steps):
    assert corrects(gain, steps)


@pytest.mark.parametrize(("gain", "fewest"), [(2.4, 24), (5.4, 74)])
def test_nothing_is_corrected_where_a_multistep_samplers_steps_are_long(gain, fewest):
    assert not corrects(gain, fewest - 1) and corrects(gain, fewest)


def test_a_part_of_a_run_is_corrected_where_the_whole_run_is():
    assert corrects(2.4, 50) and corrects(2.4, 50, slice(0, 20)) and not corrects(2.4, 20)


def test_late_errors_are_left_to_the_network(monkeypatch):
    monkeypatch.setattr(tuned, "MOSTLY_NOISE", POINTS.noise[3])
    assert [handling([SIGMAS[step]]).corrects for step in (0, 2, 3, 4, 8)] == [True] * 3 + [False] * 2


def test_a_reused_evaluation_knows_the_weight_of_its_whole_window(monkeypatch):
    monkeypatch.setattr(tuned, "UNRELIABLE", 9.0)
    made = policy(table_of(), speed_up=4.5)
    compute(made, SIGMAS[0])
    reused = [step for step in range(1, STEPS) if at(made, SIGMAS[step])]
    window = [step for step in reused if step == reused.index(step) + 1]
    handled = [
        made.take(Arrival(SIGMAS[step], 1000 * SIGMAS[step]), Decision(Action.REUSE, Reason.WITHIN_LIMIT))
        for step in window
    ]
    whole = sum(one.weight for one in handled)
    assert len(window) > 1
    assert [one.weight_ahead for one in handled] == pytest.approx([whole] * len(window))
