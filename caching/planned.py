"""The rule "plan" (ours): follows a plan made before the run, and guards against unexpected moves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import einops
import numpy as np

from ..calibration.table import Sensitivity, SensitivityTable
from . import tuned
from .forecast import HOLD_DENOISED, Space, weights
from .planner import Planner, Solver, evaluations_for, learns, solve
from .planning.outlook import Outlook
from .planning.points import RunPoints
from .planning.search import Plan
from .policy import Action, Arrival, Decision, Foreseen, Handling, Reason, Unit
from .simulate import decisions_of

if TYPE_CHECKING:
    from .config import SenCacheConfig, Zones


class Planned:
    """Follows one plan along a run's real evaluations, whose number and sigmas are the sampler's.

    An evaluation belongs to the planned step in which its sigma lies. One in a step that the plan computes,
    or before the last computed one (some samplers go back), is computed; so is a second one in a step after
    which the plan computes again. What is reused is compared with `limit`, because the latent may move
    further than the plan has foreseen.
    """

    stores = True

    def __init__(
        self,
        config: SenCacheConfig,
        plan: Plan,
        points: RunPoints,
        zones: Zones,
        table: SensitivityTable,
        limit: float,
    ) -> None:
        self.forecast = plan.forecast
        self.config = replace(config, forecast="hold") if plan.forecast is HOLD_DENOISED else config
        self.planned: int | None = plan.count
        self.predicted_error: float | None = points.amplified(plan.predicted)
        self._plan, self._points, self._zones, self._table = plan, points, zones, table
        self._limit = max(limit, self.predicted_error)
        assert table.modes is not None, "a plan was made of them"
        # [B, K, R]: what each branch of the guidance is expected to give
        self._columns = einops.rearrange(table.modes.at(points.timesteps).numpy(), "r b k -> b k r")
        self._measured: list[bool] = table.modes.covers(points.timesteps).tolist()
        self._span = table.modes.span
        self._sigmas = -np.asarray(points.sigmas)
        self._effect: list[float] = points.effect.tolist()
        self._lengths: list[float] = np.diff([*points.progress, 1.0]).tolist()
        self._outlook = Outlook.before_anything() if learns(plan.forecast, points) else None
        self._corrects = plan.forecast.corrects and points.correctable
        self._left = plan.count
        self._reference: int | None = None
        self._sensitivity: Sensitivity | None = None
        self._distance = self._following = 0
        self._unexplained = 0.0
        self._latest: int | None = None
        self._arrived = self._reference_arrived = 0
        self._once_a_step = True

    def _step(self, sigma: float) -> int:
        return max(0, int(np.searchsorted(self._sigmas, -sigma * (1 - 1e-5), side="right")) - 1)

    def decide(self, arrival: Arrival) -> Decision:
        """Reuse what the plan reuses, unless the latent moves far more than any calibrated one did."""
        step = self._step(arrival.sigma)
        predicted = self._error(step)
        reason = self._why_computed(step, arrival)
        if reason is not None:
            return Decision(Action.COMPUTE, reason, predicted, self._limit, Unit.RESULT_ERROR)
        limit = self._limit
        if predicted is not None and predicted > limit:  # a plan made anew: what is unexplained counts alone
            limit = math.hypot(limit, predicted)
        unexplained = self._unexplained_by(arrival)
        if unexplained > 0:
            made = self._points.amplified(unexplained * self._effect[step])
            predicted = math.hypot(predicted or 0.0, made)
        if not (predicted or 0.0) <= limit:
            return Decision(Action.COMPUTE, Reason.OVER_LIMIT, predicted, limit, Unit.RESULT_ERROR)
        return Decision(Action.REUSE, Reason.WITHIN_LIMIT, predicted, limit, Unit.RESULT_ERROR)

    def take(self, arrival: Arrival, decision: Decision) -> Handling:
        """Move on by one evaluation: the next computed one is looked up once, at a computed evaluation."""
        step, shares = self._step(arrival.sigma), self._points.weights
        self._once_a_step = self._once_a_step and step != self._latest
        self._latest = step
        if decision.reuse:
            self._unexplained = self._unexplained_by(arrival)
            self._arrived += 1
            return Handling(shares[step], self._damping(step), self._weight_ahead())
        foreseen = self._foreseen(step)
        self._unexplained = 0.0
        self._reference_arrived, self._arrived = self._arrived, self._arrived + 1
        self._sensitivity = self._sensitivity_at(step, arrival.timestep)
        if self._reference is None or step < self._reference:
            self._distance = 0
        elif step > self._reference:
            self._distance = min(step - self._reference, self._plan.windows.longest)
        self._left -= step >= self._following
        self._reference = step
        self._following = self._plan.next_computed(step, self._distance, max(0, self._left))
        # With much noise in the latent an error becomes part of the picture; later the network takes it for
        # noise and removes it by itself.
        noisy = self._points.noise[step] >= tuned.MOSTLY_NOISE
        corrects = self._corrects and self._once_a_step and noisy
        apart = self._lengths[step] / 2
        return Handling(shares[step], corrects=corrects, apart=apart, foreseen=foreseen)

    def learn(self, missed: float, expected: float) -> None:
        """Plan what is left anew where a clip turns out harder or easier than expected (ours)."""
        step, progress = self._reference, self._points.progress
        if step is None or self._outlook is None:
            return
        outlook = self._outlook.after(missed, expected, progress[step])
        if outlook is self._outlook:
            return
        self._outlook, left = outlook, max(0, self._left)
        surprises = outlook.at(np.asarray(progress[step:]))
        self._plan = self._plan.continued(step, self._distance, left, surprises)
        self._following = self._plan.next_computed(step, self._distance, left)

    def _weight_ahead(self) -> float:
        """Return the weights of the window that the run is in, 0 where a step has several evaluations."""
        if not self._once_a_step or self._reference is None:
            return 0.0
        return sum(self._points.weights[self._reference + 1 : self._following])

    def forget(self) -> None:
        """Take note that no stored output is left."""
        self._reference = None

    def _reuses(self, step: int) -> bool:
        """Tell whether the plan reuses an evaluation in a step."""
        if self._reference is None:
            return False
        inside = self._reference < step or self._following > self._reference + 1
        return inside and self._reference <= step < self._following

    def _why_computed(self, step: int, arrival: Arrival) -> Reason | None:
        """Say why the plan computes an evaluation, None where it reuses it."""
        low, high = self._span  # one within a step may lie beyond an end that the step has not reached
        if not self._zones.allows_reuse(arrival.sigma):
            return Reason.OUTSIDE_RANGE
        if not (self._measured[step] and low <= arrival.timestep <= high):
            return Reason.UNMEASURED
        return None if self._reuses(step) else Reason.PLANNED

    def _error(self, step: int) -> float | None:
        """Return the predicted error (rms) of the finished latent if all up to a step were reused.

        Never more than that of the whole window where the plan goes on reusing; None where it is not known.
        """
        if self._reference is None:
            return None
        windows, planned = self._plan.windows, self._following - self._reference
        errors = windows.errors[self._reference, windows.stride(self._distance)]
        distance = max(1, step - self._reference + 1)
        square = float(errors[min(distance, windows.longest)])
        if distance <= planned:
            square = min(square, float(errors[min(planned, windows.longest)]))
        return self._points.amplified(math.sqrt(square)) if math.isfinite(square) else None

    def _unexplained_by(self, arrival: Arrival) -> float:
        """Return the change of outputs (rms) that what the latent moved too far since the reference makes.

        As in the other rules the sample that moves most decides; a broken one's NaN counts as that.
        """
        row = self._sensitivity
        if row is None or row.latent_drift is None or row.latent_sensitivity is None:
            return 0.0
        expected = tuned.UNUSUAL_MOVE * math.hypot(row.latent_drift * arrival.elapsed, self._foreseen_noise())
        most = max(math.inf if math.isnan(moved) else moved for moved in arrival.moved or ())
        return self._unexplained + max(0.0, most - expected) * row.latent_sensitivity

    def _foreseen(self, step: int) -> Foreseen | None:
        """Return what a forecast in place of a computed evaluation is expected to miss, by the table.

        None for denoised latents: they change with the latent too, and a table knows the outputs alone.
        """
        last = self._reference
        unknown = self.forecast.space is Space.DENOISED or not self._measured[step]
        if unknown or last is None or step <= last:
            return None
        times, damping = self._points.progress, self._damping(step)
        used = [last] if self._distance == 0 or last < self._distance else [last - self._distance, last]
        used = used[-self.forecast.history :]
        shares = weights(self.forecast, [times[k] for k in used], times[step], damping)
        made = sum(share * self._columns[:, k] for share, k in zip(shares, used, strict=True))
        return Foreseen(damping, tuple(np.linalg.norm(self._columns[:, step] - made, axis=-1).tolist()))

    def _sensitivity_at(self, step: int, timestep: float) -> Sensitivity:
        """Return the sensitivity to the latent: measured, or about what the output changes while it moves.

        Along a run the changes by latent and by time partly cancel, or add: on the tiny models the whole
        change is 0.6 to 1.7 times that by the latent alone.
        """
        found, times = self._table.at(timestep), self._points.timesteps
        if found.latent_sensitivity is not None or not found.latent_drift or len(times) < 2:
            return found
        step = min(step, len(times) - 2)
        assert self._table.modes is not None, "a plan was made of them"
        here, after = self._table.modes.guided(times[step : step + 2], self._points.cfg)
        moved = found.latent_drift * (times[step] - times[step + 1])
        return replace(found, latent_sensitivity=float((after - here).norm()) / moved)

    def _foreseen_noise(self) -> float:
        """Return how far the sampler's noise moves the latent, which the plan has taken into account."""
        moves = self._points.noise_moves
        if moves is None or self._arrived >= len(moves):
            return 0.0
        return float(moves[self._arrived][self._reference_arrived])

    def _damping(self, step: int) -> float:
        if self._reference is None:
            return 1.0
        windows = self._plan.windows
        distance = min(max(1, step - self._reference), windows.longest)
        return float(windows.damping[self._reference, windows.stride(self._distance), distance])


def make_policy(
    config: SenCacheConfig,
    zones: Zones,
    table: SensitivityTable,
    points: RunPoints,
    solver: Solver = solve,
) -> Planned:
    """Plan a run by epsilon, or by the wished speed-up in its place."""
    planner = Planner(config, zones, table, points, solver)
    wished = config.speed_up > 0
    limit = tuned.WISHED_LIMIT if wished else config.epsilon

    def following(plan: Plan) -> Planned:
        return Planned(config, plan, points, zones, table, limit)

    def computed(plan: Plan) -> int:
        return sum(not one.reuse for one in decisions_of(following(plan), table, points))

    if not wished:
        plan = planner.of_error(config.epsilon)
    elif not points.evaluations:
        plan = planner.of_speed_up(config.speed_up)
    else:  # a planned step may cost several evaluations, or none
        most = evaluations_for(config.speed_up, len(points.evaluations))
        plan = planner.largest(lambda plan: computed(plan) <= most)
    policy = following(plan)
    if points.evaluations:
        policy.planned = computed(plan)
    return policy
