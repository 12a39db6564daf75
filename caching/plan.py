"""Says before anything is sampled what a run will compute, and finds the settings for a wished speed-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..calibration.table import SensitivityTable
from .config import SenCacheConfig, Zones
from .follower import PlanFollower
from .optimal import OptimalPlans, at_even_distances, solve
from .points import RunPoints
from .policy import HOLDING_SHARE, Action, Decision, Distance, Reason, decide

UNRELIABLE = 0.08
UNFORESEEABLE = 0.5

@dataclass(frozen=True, slots=True)
class Plan:
    """The expected decisions of a run, one per evaluation.

    `predicted_error` is the rms error of the finished latent, None under the rules that don't predict it.
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


def effective(config: SenCacheConfig, table: SensitivityTable, progress: Sequence[float]) -> SenCacheConfig:
    """Return the settings that a table and a run allow.

    `progress [K]` is that of every step. Without modes, or where it does not rise from step to step (sigma
    goes up, or lies above all that the model knows), nothing can be planned: the joint rule takes over.
    """
    rises = all(after > before for before, after in zip(progress, progress[1:], strict=False))
    possible = table.modes is not None and rises and len(progress) > 0
    return config if possible or config.rule != "plan" else replace(config, rule="joint")


def optimal_plans(
    config: SenCacheConfig, zones: Zones, table: SensitivityTable, points: RunPoints
) -> OptimalPlans:
    """Find every best plan of a run; raises ValueError for a table without modes."""
    if table.modes is None:
        raise ValueError("this table was measured without output modes, so nothing can be planned with it")
    columns = table.modes.guided(points.timesteps, points.cfg).numpy()
    return solve(columns, points, config.max_reuse, config.forecast == "linear", zones.allows_reuse)


Solver = Callable[[SenCacheConfig, Zones, SensitivityTable, RunPoints], OptimalPlans]


def follower(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    points: RunPoints,
    solver: Solver = optimal_plans,
) -> PlanFollower:
    """Choose the plan that the settings ask for: of least error at a speed-up, or the fastest at an error.

    Where that plan is predicted to err by more than `UNRELIABLE`, the outputs that a line would be drawn
    through are themselves too far off, and as many evaluations are planned for holding the last output.
    Past `UNFORESEEABLE` not even that is known, and they are spread evenly: no worse than fewer steps.
    `solver` finds the plans, for who remembers them: epsilon and speed-up change none.
    """
    plans = solver(config, zones, table, points)
    if config.speed_up > 0:
        price = plans.within_evaluations(len(points.sigmas) / config.speed_up)
    else:
        price = plans.within_error(config.epsilon / points.swing)
    follow = PlanFollower(plans, points, price, config.forecast)
    if config.forecast == "linear" and follow.tolerance > UNRELIABLE * points.swing:
        holding = replace(config, forecast="hold", speed_up=len(points.sigmas) / follow.planned)
        return follower(holding, zones, table, points, solver)
    if follow.forecast == "hold" and follow.tolerance > UNFORESEEABLE * points.swing:
        return PlanFollower(at_even_distances(plans, follow.planned), points, 0, "hold")
    return follow


def epsilon_for(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    points: RunPoints,
    solver: Solver = optimal_plans,
) -> float:
    """Return the epsilon that asks for what the wished speed-up asks for; 0 where that reuses nothing.

    Raises ValueError where the table does not hold what the prediction needs.
    """
    config = effective(config, table, points.progress)
    if config.rule != "plan":
        plan = _plan_for_speed_up(config, zones, table, points)
        return plan.config.epsilon if plan.nfe < len(plan.decisions) else 0.0
    plans = solver(config, zones, table, points)
    price = plans.within_evaluations(len(points.sigmas) / config.speed_up)
    if plans.evaluations[price, 0, 0] >= len(points.sigmas):
        return 0.0
    return float(points.swing * math.sqrt(plans.errors[price, 0, 0]))


def doubts(config: SenCacheConfig, table: SensitivityTable, cfg: float) -> tuple[str, ...]:
    """Say so where guidance was not measured: a guided run then ends much further off than predicted."""
    planned = config.reuses and config.rule == "plan" and table.modes is not None
    if not planned or table.guided or cfg == 1.0:
        return ()
    return (
        f"The table was measured without guidance and this run has cfg {cfg:g}: the result may end many "
        "times further off than predicted. Measure again with the negative prompt and the cfg that you use.",
    )


def simulate(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    points: RunPoints,
    solver: Solver = optimal_plans,
) -> Plan:
    """Predict every decision of a run, with epsilon solved for where the settings wish for a speed-up.

    Raises ValueError where the table does not hold what the prediction needs.
    """
    config = effective(config, table, points.progress)
    if config.rule != "plan":
        return _plan_for_speed_up(config, zones, table, points)
    follow = follower(config, zones, table, points, solver)
    decisions = []
    for index, sigma in enumerate(points.sigmas):
        reuse = config.reuses and follow.reuses(sigma)
        score = follow.error(sigma)
        if not reuse:
            follow.computed(sigma)
        reason = Reason.WITHIN_LIMIT if reuse else Reason.PLANNED if index else Reason.FIRST
        decisions.append(Decision(Action.REUSE if reuse else Action.COMPUTE, reason, score))
    return Plan(config, tuple(decisions), follow.tolerance if config.reuses else 0.0)


def _simulate_scores(
    config: SenCacheConfig, zones: Zones, table: SensitivityTable, points: RunPoints
) -> Plan:
    """Predict the decisions of the rules that compare a score with epsilon.

    How far the latent moves is taken from the table's `latent_drift`, summed over the steps since the last
    computed one: sampling trajectories are nearly straight over that distance.
    """
    if table.mean("latent_drift") is None:
        raise ValueError(
            "this table does not say how fast the latent moves, so nothing can be predicted from it"
        )
    decisions: list[Decision] = []
    reference, moved, in_a_row, computed = 0, 0.0, 0, 0
    times = points.timesteps
    for index, (sigma, timestep) in enumerate(zip(points.sigmas, times, strict=True)):
        if index == 0:
            decision = Decision(Action.COMPUTE, Reason.FIRST if config.reuses else Reason.OFF)
        else:
            drift = table.at(times[index - 1]).latent_drift or 0.0
            moved += drift * abs(timestep - times[index - 1])
            distance = Distance((moved,), abs(timestep - times[reference]))
            row = table.at(times[reference])
            decision = decide(config, zones, sigma, row, distance, in_a_row, computed)
        in_a_row = in_a_row + 1 if decision.reuse else 0
        if not decision.reuse:
            reference, moved, computed = index, 0.0, computed + 1
        decisions.append(decision)
    return Plan(config, tuple(decisions))


def _epsilon_needed(decision: Decision, epsilon: float) -> float | None:
    """Return the epsilon at which a computed evaluation would be reused, None where another cause stands."""
    if decision.reason is not Reason.OVER_LIMIT or decision.score is None:
        return None
    shares = [share for share in (1.0, HOLDING_SHARE) if decision.budget == epsilon * share]
    if not shares:  # the strict zone has an epsilon of its own
        return None
    needed = decision.score / shares[0]
    return needed if needed * shares[0] >= decision.score else math.nextafter(needed, math.inf)


def _plan_for_speed_up(
    config: SenCacheConfig, zones: Zones, table: SensitivityTable, points: RunPoints
) -> Plan:
    """Find the smallest epsilon whose expected speed-up reaches the wished one; without a wish, keep epsilon.

    Goes up through every epsilon at which a decision changes, since a larger one may by chance compute once
    more. Where none reaches it (n, the range or the number of steps forbid it), the fastest plan there is
    comes back: its `speed_up` tells.
    """
    if config.speed_up == 0:
        return _simulate_scores(config, zones, table, points)
    epsilon, fastest = math.ulp(0.0), None
    while True:
        plan = _simulate_scores(replace(config, epsilon=epsilon), zones, table, points)
        if fastest is None or plan.speed_up > fastest.speed_up:
            fastest = plan
        over = [needed for one in plan.decisions if (needed := _epsilon_needed(one, epsilon)) is not None]
        if fastest.speed_up >= config.speed_up or not over:
            return fastest
        epsilon = min(over)
