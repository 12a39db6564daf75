"""What a sampling run leaves behind: one entry per evaluation, plain values only."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from .config import SenCacheConfig
from .notes import Note
from .policy import Decision


@dataclass(frozen=True, slots=True)
class ForecastCheck:
    """How far a forecast in a computed evaluation's place would have been from its outputs, and how far the
    table expected: rms over both branches of the guidance."""

    missed: float
    expected: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: its sigma and model time, what was decided, the seconds until the next one began.

    `forecast` is the check of a computed one, None where there was nothing to forecast with.
    """

    sigma: float
    timestep: float
    decision: Decision
    seconds: float
    forecast: ForecastCheck | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All evaluations of one run and its settings; `node_id` and `prompt_id` say who sampled, where known.

    `steps` are the sampler's, in each of which it may evaluate the model more than once. With a `foreign`
    table, of another model, the scores say nothing.

    Under the rule "plan" `planned` is how many evaluations it meant to compute, and `predicted_error` the rms
    error of the finished latent that it expected.
    """

    config: SenCacheConfig
    evaluations: tuple[Evaluation, ...]
    complete: bool = True
    node_id: str | None = None
    prompt_id: str | None = None
    origin: str | None = None
    table_name: str = ""
    notes: tuple[Note, ...] = ()
    planned: int | None = None
    predicted_error: float | None = None
    steps: int | None = None
    foreign: bool = False

    @property
    def reused(self) -> int:
        """How many evaluations were served without the network."""
        return sum(evaluation.decision.reuse for evaluation in self.evaluations)

    @property
    def nfe(self) -> int:
        """How many evaluations ran the network."""
        return len(self.evaluations) - self.reused

    @property
    def speed_up(self) -> float:
        """Evaluations per network evaluation: the speed-up if a reused step cost nothing."""
        return len(self.evaluations) / max(1, self.nfe)

    @property
    def surprise(self) -> float | None:
        """How many times further the forecasts of computed evaluations were off than the table expected.

        None where fewer than two could be compared; every check counts by its size.
        """
        checks = [one.forecast for one in self.evaluations if one.forecast is not None]
        missed, expected = sum(one.missed**2 for one in checks), sum(one.expected**2 for one in checks)
        told = len(checks) > 1 and expected > 0 and math.isfinite(missed)  # a broken latent tells nothing
        return math.sqrt(missed / expected) if told else None

    @property
    def times_fewer(self) -> str:
        """The speed-up with two digits, a half rounded up as the browser rounds it."""
        return f"{math.floor(100 * self.speed_up + 0.5) / 100:.2f}"

    @property
    def scores(self) -> list[float]:
        """The predicted errors, without those that a broken latent made infinite or not a number."""
        scores = [one.decision.score for one in self.evaluations]
        return [score for score in scores if score is not None and math.isfinite(score)]

    def median_seconds(self, reused: bool) -> float | None:
        """Return the median seconds of the computed or the reused evaluations, None where there were none."""
        seconds = [one.seconds for one in self.evaluations if one.decision.reuse is reused]
        return statistics.median(seconds) if seconds else None

    @property
    def seconds_saved(self) -> float:
        """Estimate the seconds saved: every reused evaluation against the median computed one."""
        computed = self.median_seconds(reused=False)
        if computed is None:
            return 0.0
        return sum(computed - one.seconds for one in self.evaluations if one.decision.reuse)
