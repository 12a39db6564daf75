"""One decision at a time: the scores against the method's formulas, and every reason with its action."""

from __future__ import annotations

import math

import pytest
from sencache.caching.config import SenCacheConfig, Zones
from sencache.caching.policy import Action, Distance, Reason, decide, joint_score, paper_score, score
from sencache.calibration.table import Sensitivity
from sencache.tests.toy_runs import EVERYWHERE

ROW = Sensitivity(latent_sensitivity=0.5, time_sensitivity=0.25, alignment=-0.5)
NEAR = Distance(latent=(1.0,), time=2.0)  # by latent 0.5, by time 0.5: 1 by the paper's rule, 0.5 jointly


def decision(sigma=0.5, zones=EVERYWHERE, row=ROW, distance=NEAR, in_a_row=0, **settings):
    config = SenCacheConfig(**{"rule": "paper", "epsilon": 1.0, "max_reuse": 3} | settings)
    return decide(config, zones, sigma, row, distance, in_a_row)


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
    calm, wild = Distance((1.0, 0.1), 2.0), Distance((0.1, 5.0, 1.0), 2.0)
    assert score("paper", ROW, calm) == 1.0
    assert score("paper", ROW, wild) == 3.0
    assert decision(distance=calm).reuse and not decision(distance=wild).reuse


def test_in_a_batch_the_largest_joint_score_may_belong_to_the_smallest_distance():
    cancelling = Sensitivity(1.0, 1.0, -1.0)
    assert score("joint", cancelling, Distance((4.0, 1.0), 4.0)) == 3.0


@pytest.mark.parametrize("rule", ["paper", "joint"])
@pytest.mark.parametrize(
    "broken", [(math.nan,), (0.0, math.nan), (math.nan, 0.0), (math.inf,), (0.0, math.inf)]
)
def test_a_latent_that_is_not_finite_is_never_reused(rule, broken):
    assert decision(rule=rule, distance=Distance(broken, 1.0), epsilon=1e9).reason is Reason.OVER_LIMIT


def test_within_the_budget_an_evaluation_is_reused_and_says_by_how_much():
    made = decision(epsilon=1.5)
    assert (made.action, made.reason) == (Action.REUSE, Reason.WITHIN_LIMIT)
    assert (made.score, made.budget) == (1.0, 1.5) and made.reuse


def test_a_score_of_exactly_epsilon_is_within_the_budget():
    assert decision(epsilon=1.0).reuse
    assert not decision(epsilon=math.nextafter(1.0, 0.0)).reuse


def test_reuse_stops_when_the_error_budget_is_spent():
    made = decision(epsilon=0.75)
    assert (made.action, made.reason) == (Action.COMPUTE, Reason.OVER_LIMIT)
    assert (made.score, made.budget) == (1.0, 0.75) and not made.reuse


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


def test_over_the_budget_is_the_reason_even_where_n_is_reached_too():
    assert decision(epsilon=0.5, in_a_row=3).reason is Reason.OVER_LIMIT


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"max_reuse": 0}])
def test_an_epsilon_or_n_of_zero_computes_even_where_nothing_changes(off):
    nowhere = Distance((0.0,), 0.0)
    made = decision(distance=nowhere, **off)
    assert (made.action, made.reason, made.score) == (Action.COMPUTE, Reason.OFF, None)
    assert decision(distance=nowhere).reuse


@pytest.mark.parametrize(
    ("sigma", "inside"), [(0.95, False), (0.8, True), (0.5, True), (0.21, True), (0.2, False), (0.1, False)]
)
def test_reuse_is_allowed_from_start_on_and_before_end(sigma, inside):
    made = decision(sigma=sigma, zones=Zones(start_sigma=0.8, end_sigma=0.2, strict_sigma=math.inf))
    assert made.reuse is inside
    assert (made.reason is Reason.OUTSIDE_RANGE) is not inside
    assert made.score == 1.0


def test_before_the_strict_zones_end_the_strict_epsilon_is_the_budget():
    zones = Zones(start_sigma=math.inf, end_sigma=-1.0, strict_sigma=0.8)
    made = {sigma: decision(sigma, zones, strict_epsilon=0.1) for sigma in (1.0, 0.81, 0.8, 0.3)}
    assert [one.budget for one in made.values()] == [0.1, 0.1, 1.0, 1.0]
    assert [one.reuse for one in made.values()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "sum"}, "rule is 'sum'; it must be one of plan, joint, paper"),
        ({"forecast": "cubic"}, "forecast is 'cubic'; it must be one of linear, hold"),
        ({"cache_device": "cuda"}, "cache_device is 'cuda'; it must be one of model, cpu"),
        ({"epsilon": -0.1}, "epsilon is -0.1; it must be a finite number from 0 up"),
        ({"epsilon": math.nan}, "epsilon is nan; it must be a finite number from 0 up"),
        ({"strict_epsilon": math.inf}, "strict_epsilon is inf; it must be a finite number from 0 up"),
        ({"max_reuse": -1}, "max_reuse is -1; it must be a whole number from 0 up"),
        ({"max_reuse": 2.5}, "max_reuse is 2.5; it must be a whole number from 0 up"),
        ({"start_percent": 1.5}, "start_percent is 1.5; it must lie between 0 and 1"),
        ({"end_percent": -0.5}, "end_percent is -0.5; it must lie between 0 and 1"),
        ({"strict_percent": math.nan}, "strict_percent is nan; it must lie between 0 and 1"),
        ({"epsilon": "0.5"}, "epsilon is '0.5'; it must be a finite number from 0 up"),
        ({"epsilon": None}, "epsilon is None; it must be a finite number from 0 up"),
        ({"speed_up": [2.0]}, "speed_up is [2.0]; it must be 0 (by epsilon) or from 1 up"),
        ({"speed_up": 0.5}, "speed_up is 0.5; it must be 0 (by epsilon) or from 1 up"),
        ({"end_percent": {}}, "end_percent is {}; it must lie between 0 and 1"),
        ({"rule": ["plan"]}, "rule is ['plan']; it must be one of plan, joint, paper"),
        (
            {"strict_epsilon": -(10**5000)},
            "strict_epsilon is a number of thousands of digits; it must be a finite number from 0 up",
        ),
        ({"rule": "x" * 10**6}, f"rule is '{'x' * 59} ...; it must be one of plan, joint, paper"),
    ],
)
def test_settings_out_of_bounds_are_refused_with_the_value_and_what_is_allowed(settings, message):
    with pytest.raises(ValueError) as caught:
        SenCacheConfig(**settings)
    assert str(caught.value) == message


def test_settings_can_not_be_changed_after_they_were_checked():
    with pytest.raises(AttributeError):
        SenCacheConfig().epsilon = -1.0
