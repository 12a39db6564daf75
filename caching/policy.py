"""Whether to compute or to reuse an evaluation: plain floats in, a decision with its reason out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ..calibration.table import Sensitivity
from .config import SenCacheConfig, Zones
from .forecast import HISTORY


class Action(str, Enum):
    """What an evaluation does: run the network, or serve a prediction from earlier outputs."""

    COMPUTE = "compute"
    REUSE = "reuse"


class Reason(str, Enum):
    """Why; these words go over the wire, their sentences are in `locales/*/main.json`."""

    OFF = "off"
    FIRST = "first"
    NEW_SHAPE = "new_shape"
    OUTSIDE_RANGE = "outside_range"
    UNMEASURED = "unmeasured"
    MAX_REUSE = "max_reuse"
    PLANNED = "planned"
    OVER_LIMIT = "over_limit"
    NO_STORED_OUTPUT = "no_stored_output"
    WITHIN_LIMIT = "within_limit"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one evaluation does and why.

    `score` and `budget` are rms changes of the output, None where not needed.
    """

    action: Action
    reason: Reason
    score: float | None = None
    budget: float | None = None

    @property
    def reuse(self) -> bool:
        """Whether the network is left out."""
        return self.action is Action.REUSE


@dataclass(frozen=True, slots=True)
class Distance:
    """How far an evaluation lies from the last computed one.

    `latent` holds rms(x_j - x_i) of every sample of the batch, model-input space; `time` is |t_j - t_i| in
    model time.
    """

    latent: tuple[float, ...]
    time: float


def paper_score(sensitivity: Sensitivity, latent_distance: float, time_distance: float) -> float:
    """Predict the output's rms change as the sum of both norms (paper, eq. for the caching score)."""
    return sensitivity.latent_sensitivity * latent_distance + sensitivity.time_sensitivity * time_distance


def joint_score(sensitivity: Sensitivity, latent_distance: float, time_distance: float) -> float:
    """Predict the output's rms change as the length of both changes' sum, by their calibrated angle (ours).

    With an alignment of 1 this is the paper's score.
    """
    a = sensitivity.latent_sensitivity * latent_distance
    b = sensitivity.time_sensitivity * time_distance
    square = a * a + b * b + 2 * sensitivity.alignment * a * b
    return 0.0 if square < 0 else math.sqrt(square)  # not max(): it would turn a broken latent's NaN into 0


HOLDING_SHARE = 1 / 3

SCORES = {"paper": paper_score, "joint": joint_score}


def score(rule: str, sensitivity: Sensitivity, distance: Distance) -> float:
    """Return the predicted rms change of the output; in a batch the sample that changes most decides.

    A sample that is not a number decides before any other: nothing is known of its output.
    """
    scores = [SCORES[rule](sensitivity, latent, distance.time) for latent in distance.latent]
    return max(scores, key=lambda one: (math.isnan(one), one))


def decide(
    config: SenCacheConfig,
    zones: Zones,
    sigma: float,
    sensitivity: Sensitivity,
    distance: Distance,
    reuses_in_a_row: int,
    computed: int = 2,
) -> Decision:
    """Decide on one evaluation after the first, by the sensitivity at the last computed one.

    Reuse iff the evaluation lies in the range, its score is at most epsilon there, and fewer than n reuses
    came before it without a computed one (paper, algorithm 1). Ours: under the joint rule a third of epsilon
    counts until `computed` evaluations are as many as the forecast extends, for until then it can only hold.
    """
    if not config.reuses:
        return Decision(Action.COMPUTE, Reason.OFF)
    predicted = score(config.rule, sensitivity, distance)
    budget = zones.epsilon(config, sigma)
    if config.rule == "joint" and computed < HISTORY[config.forecast]:
        budget *= HOLDING_SHARE
    if not zones.allows_reuse(sigma):
        return Decision(Action.COMPUTE, Reason.OUTSIDE_RANGE, predicted, budget)
    if not predicted <= budget:
        return Decision(Action.COMPUTE, Reason.OVER_LIMIT, predicted, budget)
    if reuses_in_a_row >= config.max_reuse:
        return Decision(Action.COMPUTE, Reason.MAX_REUSE, predicted, budget)
    return Decision(Action.REUSE, Reason.WITHIN_LIMIT, predicted, budget)
