"""Simulates a sampling run from a table and its sigmas, before anything is sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..calibration.table import SensitivityTable
from .config import SenCacheConfig, Zones
from .policy import HOLDING_SHARE, Action, Decision, Distance, Reason, decide


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
    reference, moved, in_a_row, computed = 0, 0.0, 0, 0
    for index, (sigma, timestep) in enumerate(zip(sigmas, timesteps, strict=True)):
        if index == 0:
            decision = Decision(Action.COMPUTE, Reason.FIRST if config.reuses else Reason.OFF)
        else:
            drift = table.at(timesteps[index - 1]).latent_drift or 0.0
            moved += drift * abs(timestep - timesteps[index - 1])
            distance = Distance((moved,), abs(timestep - timesteps[reference]))
            row = table.at(timesteps[reference])
            decision = decide(config, zones, sigma, row, distance, in_a_row, computed)
        in_a_row = in_a_row + 1 if decision.reuse else 0
        if not decision.reuse:
            reference, moved, computed = index, 0.0, computed + 1
        decisions.append(decision)
    return Plan(config, tuple(decisions))


def _epsilon_needed(decision: Decision, epsilon: float) -> float | None:
    """Return the epsilon at which a computed evaluation would be reused, None where another cause stands."""
    if decision.reason is not Reason.OVER_BUDGET or decision.score is None:
        return None
    shares = [share for share in (1.0, HOLDING_SHARE) if decision.budget == epsilon * share]
    if not shares:  # the strict zone has an epsilon of its own
        return None
    needed = decision.score / shares[0]
    return needed if needed * shares[0] >= decision.score else math.nextafter(needed, math.inf)


def plan_for_speed_up(
    speed_up: float,
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
) -> Plan:
    """Find the smallest epsilon whose expected speed-up reaches `speed_up`, and return its plan.

    Goes up through every epsilon at which a decision changes, since a larger one may by chance compute once
    more. Where none reaches it (n, the range or the number of steps forbid it), the fastest plan there is
    comes back: its `speed_up` tells. Raises ValueError for a speed-up below 1 and as `simulate` does.
    """
    if not speed_up >= 1:
        raise ValueError(f"the wished speed-up is {speed_up}; it must be 1 or more")
    epsilon, fastest = math.ulp(0.0), None
    while True:
        plan = simulate(replace(config, epsilon=epsilon), zones, table, sigmas, timesteps)
        if fastest is None or plan.speed_up > fastest.speed_up:
            fastest = plan
        over = [needed for one in plan.decisions if (needed := _epsilon_needed(one, epsilon)) is not None]
        if fastest.speed_up >= speed_up or not over:
            return fastest
        epsilon = min(over)
