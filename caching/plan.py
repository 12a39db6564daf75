"""Simulates a sampling run from a table and its sigmas, before anything is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..calibration.table import SensitivityTable
from .config import SenCacheConfig, Zones
from .policy import Action, Decision, Distance, Reason, decide

EPSILON_LIMIT = 16.0
_BISECTIONS = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """The expected decisions of a run, one per evaluation."""

    config: SenCacheConfig
    decisions: tuple[Decision, ...]

    @property
    def nfe(self) -> int:
        """Expected network evaluations."""
        return sum(not decision.reuse for decision in self.decisions)

    @property
    def speed_up(self) -> float:
        """Expected evaluations per network evaluation."""
        return len(self.decisions) / max(1, self.nfe)


def simulate(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
) -> Plan:
    """Predict every decision of a run that evaluates at `sigmas`, model times `timesteps` (no final zero).

    How far the latent moves is taken from the table's `latent_drift`, summed over the steps since the last
    computed one: sampling trajectories are nearly straight over that distance. Raises ValueError where the
    table has no drift (one read from the authors' files).
    """
    if table.mean("latent_drift") is None:
        raise ValueError(
            "this table does not say how fast the latent moves, so nothing can be predicted from it"
        )
    decisions: list[Decision] = []
    reference, moved, in_a_row = 0, 0.0, 0
    for index, (sigma, timestep) in enumerate(zip(sigmas, timesteps, strict=True)):
        if index == 0:
            decision = Decision(Action.COMPUTE, Reason.FIRST if config.reuses else Reason.OFF)
        else:
            drift = table.at(timesteps[index - 1]).latent_drift or 0.0
            moved += drift * abs(timestep - timesteps[index - 1])
            distance = Distance((moved,), abs(timestep - timesteps[reference]))
            decision = decide(config, zones, sigma, table.at(timesteps[reference]), distance, in_a_row)
        in_a_row = in_a_row + 1 if decision.reuse else 0
        if not decision.reuse:
            reference, moved = index, 0.0
        decisions.append(decision)
    return Plan(config, tuple(decisions))


def plan_for_speed_up(
    speed_up: float,
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
) -> Plan:
    """Find the smallest epsilon whose expected speed-up reaches `speed_up`, and return its plan.

    The search bisects, although a larger epsilon may by chance compute once more: then a value a few per cent
    smaller can reach it too.
    Where no epsilon does (n, the range or the number of steps forbid it), the plan with the largest epsilon
    tried comes back: its `speed_up` tells. Raises ValueError for a speed-up below 1 and as `simulate` does.
    """
    if not speed_up >= 1:
        raise ValueError(f"the wished speed-up is {speed_up}; it must be 1 or more")

    def at(epsilon: float) -> Plan:
        return simulate(replace(config, epsilon=epsilon), zones, table, sigmas, timesteps)

    low, high = 0.0, EPSILON_LIMIT
    best = at(high)
    if best.speed_up < speed_up:
        return best
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        tried = at(middle)
        if tried.speed_up >= speed_up:
            high, best = middle, tried
        else:
            low = middle
    return best
