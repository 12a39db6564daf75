"""The state of one sampling run: reference point, stored outputs per branch, decisions made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..calibration.table import Sensitivity, SensitivityTable
from .branch import Branch
from .config import SenCacheConfig, Zones
from .follower import PlanFollower
from .forecast import ServedStep
from .policy import Action, Decision, Distance, Reason, decide
from .record import Evaluation

UNUSUAL_MOVE = 2.0  # times what calibration saw; guidance and prompts alone stay below it


@dataclass(frozen=True, slots=True)
class _Reference:
    """The last computed evaluation: latent `x [B, ...]` (model-input space), time, table row, ordinal."""

    x: Tensor
    timestep: float
    sensitivity: Sensitivity
    evaluation: int


class SamplingRun:
    """One run from its first evaluation to its last; a new run is a new object.

    Call `begin` once per evaluation; then, for every branch, `serve` where it decided to reuse, or `store`
    what the network gave. `finish` frees the tensors and stops the clock.

    `progress` turns a sigma into the axis along which outputs are extended (ours); None means model time.
    `follow` is the plan that the rule "plan" needs; the other rules decide by themselves.
    """

    def __init__(
        self,
        config: SenCacheConfig,
        table: SensitivityTable,
        zones: Zones,
        clock: Callable[[], float] = time.perf_counter,
        progress: Callable[[float], float] | None = None,
        follow: PlanFollower | None = None,
    ) -> None:
        if config.reuses and (config.rule == "plan") != (follow is not None):
            raise ValueError("the rule 'plan' needs a plan to follow, and the others can't have one")
        self.config = config if follow is None else replace(config, forecast=follow.forecast)
        self.decision = Decision(Action.COMPUTE, Reason.FIRST)
        self._table = table
        self._zones = zones
        self._clock = clock
        self._progress = progress
        self.follow = follow
        self._unexplained = 0.0
        self._x: Tensor | None = None
        self._timestep = self._time = math.nan
        self._computed = 0
        self._reference: _Reference | None = None
        self._branches: dict[Hashable, Branch] = {}
        self._reuses_in_a_row = 0
        self._evaluations: list[Evaluation] = []
        self._began: list[float] = []

    def begin(self, x: Tensor, sigma: Tensor, timestep: Tensor) -> Decision:
        """Decide on the evaluation of latent `x [B, ...]` at `sigma` and model time `timestep`.

        `x` is in model-input space; `sigma` and `timestep` hold `[B]` equal values. The device is read once;
        `x` is copied where it becomes the reference, and never changed.
        """
        sigma_now, self._timestep, *moved = self._measure(x, sigma, timestep)
        self._time = self._timestep if self._progress is None else self._progress(sigma_now)
        if self.follow is not None:
            self.follow.arrive(sigma_now)
        decision = self._decide(x, sigma_now, tuple(moved))
        self._began.append(self._clock())
        self._evaluations.append(Evaluation(sigma_now, self._timestep, decision, 0.0))
        self._take(decision, x)
        return decision

    def _measure(self, x: Tensor, sigma: Tensor, timestep: Tensor) -> list[float]:
        """Return sigma, model time and, where there is a reference, every sample's rms distance from it."""
        values = [sigma.reshape(-1)[:1].float(), timestep.reshape(-1)[:1].float()]
        if self._reference is not None and self._reference.x.shape == x.shape:
            difference = (x - self._reference.x.to(x.device)).flatten(1).float()
            values.append(torch.linalg.vector_norm(difference, dim=1) / math.sqrt(difference.shape[1]))
        return [float(value) for value in torch.cat([value.to(x.device) for value in values]).tolist()]

    def _decide(self, x: Tensor, sigma: float, moved: tuple[float, ...]) -> Decision:
        reference = self._reference
        if not self.config.reuses:
            return Decision(Action.COMPUTE, Reason.OFF)
        if reference is None:
            return Decision(Action.COMPUTE, Reason.FIRST)
        if reference.x.shape != x.shape:
            return Decision(Action.COMPUTE, Reason.NEW_SHAPE)
        distance = Distance(moved, abs(self._timestep - reference.timestep))
        if self.follow is not None:
            return self._as_planned(self.follow, sigma, reference.sensitivity, distance)
        settings = (self.config, self._zones, sigma, reference.sensitivity, distance)
        return decide(*settings, self._reuses_in_a_row, self._computed)

    def _as_planned(
        self, follow: PlanFollower, sigma: float, sensitivity: Sensitivity, distance: Distance
    ) -> Decision:
        """Reuse what the plan reuses, unless the latent moves far more than any calibrated one did.

        Noise that a sampler adds is not in the plan: what it does to the output counts on top.
        """
        predicted = follow.error(sigma)
        if not follow.reuses(sigma):
            outside = not self._zones.allows_reuse(sigma)
            reason = Reason.OUTSIDE_RANGE if outside else Reason.PLANNED
            return Decision(Action.COMPUTE, reason, predicted, follow.tolerance)
        if sensitivity.latent_drift is not None:
            expected = UNUSUAL_MOVE * sensitivity.latent_drift * distance.time
            # as in the other rules the sample that moves most decides; a broken one's NaN counts as that
            beyond = max(math.inf if math.isnan(moved) else moved for moved in distance.latent) - expected
            self._unexplained += max(0.0, beyond) * sensitivity.latent_sensitivity
            predicted = math.hypot(predicted or 0.0, self._unexplained * follow.importance(sigma))
        if not (predicted or 0.0) <= max(follow.tolerance, self.config.epsilon):
            return Decision(Action.COMPUTE, Reason.OVER_LIMIT, predicted, follow.tolerance)
        return Decision(Action.REUSE, Reason.WITHIN_LIMIT, predicted, follow.tolerance)

    def _take(self, decision: Decision, x: Tensor) -> None:
        """Take a decision into the state: one more reuse in a row, or a new reference point."""
        self.decision = decision
        if decision.reuse:
            self._x = x
            self._reuses_in_a_row += 1
            return
        self._x = None
        self._reuses_in_a_row = 0
        if decision.reason is Reason.NEW_SHAPE:
            self._branches.clear()
            self._computed = 0
            if self.follow is not None:
                self.follow.forget()
        self._computed += 1
        self._unexplained = 0.0
        if self.follow is not None:
            self.follow.computed(self.sigma)
        # A branch that is not in use any more, such as a passed context window, would stay to the run's end.
        self._branches = {key: branch for key, branch in self._branches.items() if self._is_current(branch)}
        if self.config.reuses:
            row = self._table.at(self._timestep)
            self._reference = _Reference(self._parked(x), self._timestep, row, len(self._evaluations))

    def _parked(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to where stored tensors wait."""
        device = torch.device("cpu") if self.config.cache_device == "cpu" else tensor.device
        return tensor.detach().to(device, copy=True)

    def _is_current(self, branch: Branch) -> bool:
        """Tell whether a branch's newest output is as new as the reference of the distances."""
        return self._reference is not None and branch.evaluation >= self._reference.evaluation

    def can_serve(self, branches: list[Hashable]) -> bool:
        """Tell whether every one of these branches has an output of the last computed evaluation."""
        return all(key in self._branches and self._is_current(self._branches[key]) for key in branches)

    def compute_instead(self) -> None:
        """Turn the current reuse into a computed evaluation, because the network has to run for a branch.

        Where another branch was already served, only the record says so: the distances still count from the
        evaluation that served it.
        """
        if not self._evaluations or not self._evaluations[-1].decision.reuse:
            return
        decision = replace(self.decision, action=Action.COMPUTE, reason=Reason.NO_STORED_OUTPUT)
        self._evaluations[-1] = replace(self._evaluations[-1], decision=decision)
        if self._x is not None:
            self._take(decision, self._x)

    @property
    def sigma(self) -> float:
        """The current evaluation's sigma."""
        return self._evaluations[-1].sigma

    @property
    def holds_denoised(self) -> bool:
        """Whether denoised latents are stored and served in place of raw outputs: a plan that holds does so.

        Held, they give what a sampler of fewer steps gives whatever the network predicts (ours); raw outputs
        do that for flow models alone. The paper's rule holds raw outputs.
        """
        return self.follow is not None and self.config.forecast == "hold"

    def serve(self, branch: Hashable, device: torch.device) -> Tensor:
        """Return a branch's forecast output at the current evaluation, a new tensor on `device`."""
        self._x = None  # only compute_instead needs it; the run should not hold a latent between evaluations
        step = ServedStep(self._time, 0.0, 1.0)
        if self.follow is not None:
            step = ServedStep(self._time, self.follow.weight(self.sigma), self.follow.damping(self.sigma))
        return self._branches[branch].serve(self.config.forecast, step, device)

    def store(self, branch: Hashable, output: Tensor) -> None:
        """Keep a copy of a branch's output at this evaluation, denoised where `holds_denoised`, else raw."""
        if not self.config.reuses:
            return
        coming, corrects, apart = 0.0, False, 0.0
        if self.follow is not None:
            coming, corrects = self.follow.coming_weight(), self.follow.corrects(self.sigma)
            apart = self.follow.step_length(self.sigma) / 2
        stored = self._branches.setdefault(branch, Branch())
        stored.store(self.config.forecast, self._parked(output), self._time, coming, corrects, apart)
        stored.evaluation = len(self._evaluations)

    @property
    def stored_tensors(self) -> int:
        """How many tensors of the output's size the run holds between two evaluations."""
        return sum(branch.tensors for branch in self._branches.values()) + (self._reference is not None)

    def finish(self) -> tuple[Evaluation, ...]:
        """Free every tensor and return the evaluations; each one's seconds run until the next began."""
        self._reference = self._x = None
        self._branches.clear()
        ends = [*self._began[1:], self._clock()]
        spans = [end - began for began, end in zip(self._began, ends, strict=False)]
        return tuple(replace(one, seconds=span) for one, span in zip(self._evaluations, spans, strict=True))
