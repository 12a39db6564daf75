"""The rules that compare an output's predicted change with epsilon: the paper's, and the joint one (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..calibration.table import Sensitivity, SensitivityTable
from . import tuned
from .forecast import FORECASTS
from .planning.points import RunPoints
from .policy import Action, Arrival, Decision, Handling, Reason
from .simulate import decisions_of

if TYPE_CHECKING:
    from .config import SenCacheConfig, Zones

LEAST_EPSILON, MOST_EPSILON, EPSILON_PRECISION = 1e-9, 1e9, 1e-9  # of the search for a wished speed-up
Score = Callable[[Sensitivity, float, float], float]


def paper_score(sensitivity: Sensitivity, latent_distance: float, time_distance: float) -> float:
    """Predict the output's rms change as the sum of both norms (paper, eq. for the caching score)."""
    a, b = _changes(sensitivity, latent_distance, time_distance)
    return a + b


def joint_score(sensitivity: Sensitivity, latent_distance: float, time_distance: float) -> float:
    """Predict the output's rms change as the length of both changes' sum, by their calibrated angle (ours).

    With an alignment of 1 this is the paper's score.
    """
    a, b = _changes(sensitivity, latent_distance, time_distance)
    square = a * a + b * b + 2 * sensitivity.alignment * a * b
    return 0.0 if square < 0 else math.sqrt(square)  # not max(): it would turn a broken latent's NaN into 0


def _changes(
    sensitivity: Sensitivity, latent_distance: float, time_distance: float
) -> tuple[float, float]:
    """Return the output's rms change by the latent, and that by time."""
    by_latent, by_time = sensitivity.latent_sensitivity, sensitivity.time_sensitivity
    assert by_latent is not None and by_time is not None, "these rules get no table without them"
    return by_latent * latent_distance, by_time * time_distance


SCORES: Mapping[str, Score] = {"joint": joint_score, "paper": paper_score}


def score(rule: Score, sensitivity: Sensitivity, moved: tuple[float, ...], elapsed: float) -> float:
    """Return the predicted rms change of the output; in a batch the sample that changes most decides.

    A sample that is not a number decides before any other: nothing is known of its output.
    """
    scores = [rule(sensitivity, latent, elapsed) for latent in moved]
    return max(scores, key=lambda one: (math.isnan(one), one))


class Threshold:
    """Reuses while the predicted change since the last computed evaluation is at most epsilon.

    Reuse iff the evaluation lies in the range, its score is at most epsilon there, and fewer than n reuses
    came before it without a computed one (paper, algorithm 1). Ours: under the joint rule a share of epsilon
    counts until as many evaluations are computed as the forecast extends, for until then it can only hold.
    """

    stores = True
    planned: int | None = None
    predicted_error: float | None = None

    def __init__(self, config: SenCacheConfig, zones: Zones, table: SensitivityTable) -> None:
        self.config, self.forecast = config, FORECASTS[config.forecast]
        self._zones, self._table = zones, table
        self._score = SCORES[config.rule]
        self._sensitivity = table.at(0.0)
        self._reuses_in_a_row = self._computed = 0

    def decide(self, arrival: Arrival) -> Decision:
        """Compare the predicted change with epsilon, by the sensitivity at the last computed evaluation."""
        predicted = score(self._score, self._sensitivity, arrival.moved or (), arrival.elapsed)
        limit = self._zones.epsilon(self.config, arrival.sigma)
        if self.config.rule == "joint" and self._computed < self.forecast.history:
            limit *= tuned.UNSETTLED_SHARE
        reason = Reason.WITHIN_LIMIT
        if not self._zones.allows_reuse(arrival.sigma):
            reason = Reason.OUTSIDE_RANGE
        elif not predicted <= limit:
            reason = Reason.OVER_LIMIT
        elif self._reuses_in_a_row >= self.config.max_reuse:
            reason = Reason.MAX_REUSE
        action = Action.REUSE if reason is Reason.WITHIN_LIMIT else Action.COMPUTE
        return Decision(action, reason, predicted, limit)

    def take(self, arrival: Arrival, decision: Decision) -> Handling:
        """Count reuses in a row; a computed evaluation is the new reference."""
        if decision.reuse:
            self._reuses_in_a_row += 1
        else:
            self._reuses_in_a_row = 0
            self._computed += 1
            self._sensitivity = self._table.at(arrival.timestep)
        return Handling()

    def learn(self, missed: float, expected: float) -> None:
        """Have nothing to learn."""

    def forget(self) -> None:
        """Start counting computed evaluations anew."""
        self._computed = 0


def make_policy(
    config: SenCacheConfig, zones: Zones, table: SensitivityTable, points: RunPoints
) -> Threshold:
    """Decide by epsilon; with a wished speed-up, by an epsilon at which it is expected to be reached.

    Decisions change with epsilon at single values, and a larger one may by chance compute once more. The
    epsilon found is such a value: with any smaller one nearby, more is computed than wished for. Where none
    reaches the wish (n, the range or the number of steps forbid it), it is one of the fastest there are.
    """
    if config.speed_up == 0:
        return Threshold(config, zones, table)

    def computed(epsilon: float) -> int:
        policy = Threshold(replace(config, epsilon=epsilon), zones, table)
        return sum(not one.reuse for one in decisions_of(policy, table, points))

    low, high = LEAST_EPSILON, MOST_EPSILON
    wished = max(len(points.arrivals) / config.speed_up, computed(high)) + 1e-9  # the quotient may be rounded
    while high > low * (1 + EPSILON_PRECISION):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if computed(middle) <= wished else (middle, high)
    return Threshold(replace(config, epsilon=high), zones, table)
