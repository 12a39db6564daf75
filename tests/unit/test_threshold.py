"""The rules that compare with epsilon, one decision at a time: scores by their formulas, and every reason."""

from __future__ import annotations

import math

import pytest
from sencache.caching import tuned
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.policy import Action, Arrival, Decision, Reason, Unit, decide
from sencache.caching.threshold import SCORES, Threshold, joint_score, paper_score, score
from sencache.calibration.table import Sensitivity
from sencache.tests.toy_runs import EVERYWHERE, flat_table

ROW = Sensitivity(latent_sensitivity=0.5, time_sensitivity=0.25, alignment=-0.5)
NEAR = {"moved": (1.0,), "elapsed": 2.0}  # by latent 0.5, by time 0.5: 1 by the paper's rule, 0.5 jointly


def threshold(zones=EVERYWHERE, in_a_row=0, **settings) -> Threshold:
    """Return a policy that has computed once and then reused some times."""
    usual = {"rule": "paper", "forecast": "hold", "epsilon": 1.0, "max_reuse": 3}
    table = flat_table(latent_sensitivity=0.5, time_sensitivity=0.25, alignment=-0.5)
    policy = Threshold(SenCacheConfig(**usual | settings), zones, table)
    policy.take(Arrival(1.0, 1000.0), Decision(Action.COMPUTE, Reason.FIRST))
    for _ in range(in_a_row):
        policy.take(Arrival(0.9, 900.0, (0.0,)), Decision(Action.REUSE, Reason.WITHIN_LIMIT, 0.0, 1.0))
    return policy


def decision(sigma=0.5, zones=EVERYWHERE, distance=NEAR, in_a_row=0, **settings) -> Decision:
    arrival = Arrival(sigma, 1000 * sigma, **distance)
    return decide(threshold(zones, in_a_row, **settings), arrival)


def aligned(alignment, latent=3.0, time=4.0):
    return Sensitivity(latent, time, alignment)


def test_the_papers_score_weighs_both_distances_with_their_sensitivities():
    assert paper_score(ROW, latent_distance=3.0, time_distance=10.0) == 0.5 * 3.0 + 0.25 * 10.0


def test_the_papers_score_does_not_look_at_the_alignment():
    assert {paper_score(aligned(rho), 1.0, 1.0) for rho in (-1.0, 0.0, 1.0)} == {7.0}


@pytest.mark.parametrize(("alignment", "expected"), [(1, 7.0), (0, 5.0), (-1, 1.0), (0.5, math.sqrt(37))])
def test_the_joint_score_is_the_length_of_both_changes_at_their_angle(alignment, expected):
    assert joint_score(aligned(alignment), 1.0, 1.0) == expected


def test_the_joint_score_is_the_papers_where_the_alignment_was_not_measured():
    unmeasured = Sensitivity(0.3, 0.7)
    assert joint_score(unmeasured, 2.0, 5.0) == pytest.approx(paper_score(unmeasured, 2.0, 5.0), rel=1e-12)


def test_changes_that_cancel_exactly_score_zero_however_they_are_rounded():
    a, b = 0.19 * 0.7, 0.1 * 1.33
    assert a * a + b * b - 2 * a * b < 0  # a rounding error that no square root takes
    assert joint_score(Sensitivity(0.19, 0.1, -1.0), 0.7, 1.33) == 0.0


def test_in_a_batch_the_sample_that_changes_most_decides():
    calm, wild = {"moved": (1.0, 0.1), "elapsed": 2.0}, {"moved": (0.1, 5.0, 1.0), "elapsed": 2.0}
    assert score(SCORES["paper"], ROW, **calm) == 1.0
    assert score(SCORES["paper"], ROW, **wild) == 3.0
    assert decision(distance=calm).reuse and not decision(distance=wild).reuse


def test_in_a_batch_the_largest_joint_score_may_belong_to_the_smallest_distance():
    cancelling = Sensitivity(1.0, 1.0, -1.0)
    assert score(SCORES["joint"], cancelling, (4.0, 1.0), 4.0) == 3.0


@pytest.mark.parametrize("rule", ["paper", "joint"])
@pytest.mark.parametrize(
    "broken", [(math.nan,), (0.0, math.nan), (math.nan, 0.0), (math.inf,), (0.0, math.inf)]
)
def test_a_latent_that_is_not_finite_is_never_reused(rule, broken):
    distance = {"moved": broken, "elapsed": 1.0}
    assert decision(rule=rule, distance=distance, epsilon=1e9).reason is Reason.OVER_LIMIT


def test_within_the_limit_an_evaluation_is_reused_and_says_by_how_much():
    made = decision(epsilon=1.5)
    assert (made.action, made.reason) == (Action.REUSE, Reason.WITHIN_LIMIT)
    assert (made.score, made.limit) == (1.0, 1.5) and made.reuse


def test_a_score_of_exactly_epsilon_is_within_the_limit():
    assert decision(epsilon=1.0).reuse
    assert not decision(epsilon=math.nextafter(1.0, 0.0)).reuse


def test_reuse_stops_when_the_limit_is_exceeded():
    made = decision(epsilon=0.75)
    assert (made.action, made.reason) == (Action.COMPUTE, Reason.OVER_LIMIT)
    assert (made.score, made.limit) == (1.0, 0.75) and not made.reuse


def test_the_rule_chooses_the_score():
    assert decision(rule="paper", epsilon=0.75).score == 1.0
    assert decision(rule="joint", epsilon=0.75).score == 0.5
    assert decision(rule="joint", epsilon=0.75).reuse


@pytest.mark.parametrize(("max_reuse", "reused"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3])])
def test_after_n_reuses_in_a_row_an_evaluation_is_computed(max_reuse, reused):
    made = [decision(max_reuse=max_reuse, in_a_row=in_a_row) for in_a_row in range(6)]
    assert [in_a_row for in_a_row, one in enumerate(made) if one.reuse] == reused
    assert {one.reason for one in made if not one.reuse} == {Reason.MAX_REUSE}
    assert made[-1].score == 1.0


def test_over_the_limit_is_the_reason_even_where_n_is_reached_too():
    assert decision(epsilon=0.5, in_a_row=3).reason is Reason.OVER_LIMIT


@pytest.mark.parametrize(
    ("sigma", "inside"), [(0.95, False), (0.8, True), (0.5, True), (0.21, True), (0.2, False), (0.1, False)]
)
def test_reuse_is_allowed_from_start_on_and_before_end(sigma, inside):
    made = decision(sigma=sigma, zones=Zones(start_sigma=0.8, end_sigma=0.2, strict_sigma=math.inf))
    assert made.reuse is inside
    assert (made.reason is Reason.OUTSIDE_RANGE) is not inside
    assert made.score == 1.0


def test_before_the_strict_zones_end_the_strict_epsilon_is_the_limit():
    zones = Zones(start_sigma=math.inf, end_sigma=-1.0, strict_sigma=0.8)
    made = {sigma: decision(sigma, zones, strict_epsilon=0.1) for sigma in (1.0, 0.81, 0.8, 0.3)}
    assert [one.limit for one in made.values()] == [0.1, 0.1, 1.0, 1.0]
    assert [one.reuse for one in made.values()] == [False, False, True, True]


@pytest.mark.parametrize("rule", ["joint", "paper"])
def test_until_there_is_a_line_a_share_of_epsilon_counts_under_the_joint_rule_alone(rule, monkeypatch):
    monkeypatch.setattr(tuned, "UNSETTLED_SHARE", 0.25)
    policy = threshold(rule=rule, forecast="linear", epsilon=1.5)
    arrival = Arrival(0.5, 500.0, **NEAR)
    assert decide(policy, arrival).limit == (0.375 if rule == "joint" else 1.5)
    policy.take(arrival, decide(policy, arrival))
    policy.take(arrival, Decision(Action.COMPUTE, Reason.NO_STORED_OUTPUT))
    assert decide(policy, arrival).limit == 1.5
    policy.forget()  # all stored outputs are gone: the line has to be found anew
    assert decide(policy, arrival).limit == (0.375 if rule == "joint" else 1.5)


def test_a_score_is_an_outputs_change():
    assert {decision(epsilon=epsilon).unit for epsilon in (0.5, 1.5)} == {Unit.OUTPUT_CHANGE}
