"""Says before anything is sampled what a run will do: drives its own policy with predicted distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..calibration.table import SensitivityTable
from .notes import Note
from .planning.points import RunPoints
from .policy import Arrival, Decision, Foreseen, Policy, decide
from .sentences import NotedError

if TYPE_CHECKING:
    from .config import SenCacheConfig


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """The expected decisions of a run, one per evaluation.

    `config` are the settings in effect, `predicted_error` the rms error of the finished latent, None under
    the rules that don't predict it.
    """

    config: SenCacheConfig
    decisions: tuple[Decision, ...]
    predicted_error: float | None = None

    @property
    def nfe(self) -> int:
        """Expected network evaluations."""
        return sum(not decision.reuse for decision in self.decisions)

    @property
    def speed_up(self) -> float:
        """Expected evaluations per network evaluation."""
        return len(self.decisions) / max(1, self.nfe)


def simulate(policy: Policy, table: SensitivityTable, points: RunPoints) -> ExpectedRun:
    """Predict every decision of a run.

    Raises ValueError where the table does not hold what the prediction needs.
    """
    decisions = decisions_of(policy, table, points)
    return ExpectedRun(policy.config, tuple(decisions), policy.predicted_error)


def decisions_of(policy: Policy, table: SensitivityTable, points: RunPoints) -> list[Decision]:
    """Ask a fresh policy about every evaluation that the sampler will make.

    How far the latent moves is taken from the table's `latent_drift`, summed over the evaluations since the
    last computed one: sampling trajectories are nearly straight over that distance. Outputs are taken to be
    as the table says.
    """
    drifts = [table.at(timestep).latent_drift for _, timestep in points.arrivals]
    if policy.stores and policy.predicted_error is None and None in drifts:
        raise NotedError(Note("no_drift"))
    found: list[Decision] = []
    place, before = 0.0, points.arrivals[0][1]  # along the trajectory, in the latent's rms
    reference: tuple[int, float, float] | None = None
    foreseen: Foreseen | None = None
    for index, (sigma, timestep) in enumerate(points.arrivals):
        place += (drifts[index - 1] or 0.0) * (before - timestep)
        before, arrival = timestep, Arrival(sigma, timestep)
        if reference is not None:
            computed, start, time = reference
            noise = 0.0 if points.noise_moves is None else float(points.noise_moves[index][computed])
            arrival = Arrival(sigma, timestep, (math.hypot(place - start, noise),), abs(timestep - time))
        if foreseen is not None:
            expected = math.hypot(*foreseen.errors)
            policy.learn(expected, expected)
        decision = decide(policy, arrival)
        foreseen = policy.take(arrival, decision).foreseen
        if not decision.reuse:
            reference = (index, place, timestep)
        found.append(decision)
    return found
