"""The state of one sampling run: reference point, stored outputs per branch, decisions made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .branch import Branch
from .forecast import ServedStep, Space
from .policy import Action, Arrival, Decision, Handling, Policy, Reason, decide
from .record import Evaluation, ForecastCheck


@dataclass(frozen=True, slots=True)
class _Reference:
    """The last computed evaluation: latent `x [B, ...]` (model-input space), its time and its ordinal."""

    x: Tensor
    timestep: float
    evaluation: int


@dataclass(frozen=True, slots=True)
class _Check:
    """A computed evaluation's ordinal, and what a forecast there was expected to miss, and missed."""

    evaluation: int
    expected: float
    missed: Tensor


class SamplingRun:
    """One run from its first evaluation to its last; a new run is a new object.

    Call `begin` once per evaluation; then, for every branch, `serve` where it decided to reuse, or `store`
    what the network gave. `finish` frees the tensors and stops the clock.

    `axis` turns a sigma into the axis along which outputs are extended (ours); None means model time.
    `cache_device` says where stored tensors wait: beside the "model", or in the main memory of the "cpu".
    """

    def __init__(
        self,
        policy: Policy,
        cache_device: str = "model",
        axis: Callable[[float], float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.policy = policy
        self.decision = Decision(Action.COMPUTE, Reason.FIRST)
        self._cache_device = cache_device
        self._axis = axis
        self._clock = clock
        self._pending: tuple[Arrival, Tensor] | None = None
        self._handling = Handling()
        self._time = math.nan
        self._reference: _Reference | None = None
        self._branches: dict[Hashable, Branch] = {}
        self._evaluations: list[Evaluation] = []
        self._began: list[float] = []
        self._checks: list[_Check] = []
        self._read = 0  # checks that the policy has learnt from
        self._stored = 0  # outputs at the current evaluation

    def begin(self, x: Tensor, sigma: Tensor, timestep: Tensor) -> Decision:
        """Decide on the evaluation of latent `x [B, ...]` at `sigma` and model time `timestep`.

        `x` is in model-input space; `sigma` and `timestep` hold `[B]` equal values. The device is read once;
        `x` is copied where it becomes the reference, and never changed.
        """
        self._take_pending()
        self._stored = 0
        arrival = self._arrival(x, sigma, timestep)
        self._time = arrival.timestep if self._axis is None else self._axis(arrival.sigma)
        self.decision = decide(self.policy, arrival)
        self._began.append(self._clock())
        self._evaluations.append(Evaluation(arrival.sigma, arrival.timestep, self.decision, 0.0))
        self._pending = (arrival, x)
        if not self.decision.reuse:
            self._take_pending()
        return self.decision

    def _arrival(self, x: Tensor, sigma: Tensor, timestep: Tensor) -> Arrival:
        """Measure how far the evaluation is from the reference: rms over each sample.

        The misses of the forecasts before it are read along with that, and the policy learns from them.
        """
        values, reference = [sigma.reshape(-1)[:1].float(), timestep.reshape(-1)[:1].float()], self._reference
        comparable = reference is not None and reference.x.shape == x.shape
        if reference is not None and comparable:
            difference = (x - reference.x.to(x.device)).flatten(1).float()
            values.append(torch.linalg.vector_norm(difference, dim=1) / math.sqrt(difference.shape[1]))
        fresh, self._read = self._checks[self._read :], len(self._checks)
        values += [check.missed.reshape(1) for check in fresh]
        numbers = torch.cat([value.to(x.device) for value in values]).tolist()
        numbers, missed = numbers[: len(numbers) - len(fresh)], numbers[len(numbers) - len(fresh) :]
        if fresh:
            self.policy.learn(math.hypot(*missed), math.hypot(*(check.expected for check in fresh)))
        sigma_now, time_now, *moved = numbers
        if reference is None or not comparable:
            return Arrival(sigma_now, time_now, new_shape=reference is not None)
        return Arrival(sigma_now, time_now, tuple(moved), abs(time_now - reference.timestep))

    def _take_pending(self) -> None:
        """Take the last decision into the state; it could still turn into a computed evaluation until now."""
        if self._pending is None:
            return
        (arrival, x), self._pending = self._pending, None
        if self.decision.reason is Reason.NEW_SHAPE:
            self._branches.clear()
            self.policy.forget()
        self._handling = self.policy.take(arrival, self.decision)
        if self.decision.reuse:
            return
        # A branch that is not in use any more, such as a passed context window, would stay to the run's end.
        self._branches = {key: branch for key, branch in self._branches.items() if self._is_current(branch)}
        if self.policy.stores:
            self._reference = _Reference(self._parked(x), arrival.timestep, len(self._evaluations))

    def _parked(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to where stored tensors wait."""
        device = torch.device("cpu") if self._cache_device == "cpu" else tensor.device
        return tensor.detach().to(device, copy=True)

    def _is_current(self, branch: Branch) -> bool:
        """Tell whether a branch's newest output is as new as the reference of the distances."""
        return self._reference is not None and branch.evaluation >= self._reference.evaluation

    def can_serve(self, branches: list[Hashable]) -> bool:
        """Tell whether every one of these branches has an output of the last computed evaluation."""
        return all(key in self._branches and self._is_current(self._branches[key]) for key in branches)

    def compute_instead(self, reason: Reason = Reason.NO_STORED_OUTPUT) -> None:
        """Turn the current reuse into a computed evaluation, because the network has to run for a branch.

        Where another branch was already served, only the record says so: the distances still count from the
        evaluation that served it.
        """
        if not self._evaluations or not self._evaluations[-1].decision.reuse:
            return
        decision = replace(self.decision, action=Action.COMPUTE, reason=reason)
        self._evaluations[-1] = replace(self._evaluations[-1], decision=decision)
        if self._pending is not None:
            self.decision = decision
            self._take_pending()

    @property
    def sigma(self) -> float:
        """The current evaluation's sigma."""
        return self._evaluations[-1].sigma

    @property
    def timestep(self) -> float:
        """The current evaluation's model time."""
        return self._evaluations[-1].timestep

    @property
    def space(self) -> Space:
        """What is stored and served: raw outputs or denoised latents."""
        return self.policy.forecast.space

    def serve(self, branch: Hashable, device: torch.device) -> Tensor:
        """Return a branch's forecast output at the current evaluation, a new tensor on `device`."""
        self._take_pending()
        step = ServedStep(self._time, self._handling.weight, self._handling.damping)
        ahead = self._handling.weight_ahead
        return self._branches[branch].serve(self.policy.forecast, step, device, ahead)

    def store(self, branch: Hashable, output: Tensor) -> None:
        """Keep a copy of a branch's output at this evaluation, in the run's `space`."""
        if not self.policy.stores:
            return
        stored, parked = self._branches.setdefault(branch, Branch()), self._parked(output)
        self._check(stored, parked, self._stored)
        self._stored += 1
        stored.store(self.policy.forecast, parked, self._time, self._handling)
        stored.evaluation = len(self._evaluations)

    def _check(self, branch: Branch, output: Tensor, place: int) -> None:
        """Note how far the forecast that the plan had for a computed output would have been from it.

        `place` is the output's among those of its evaluation: the positive branch's is the first, also where
        a prompt has just begun and nothing of it is stored.
        """
        foreseen, evaluation = self._handling.foreseen, len(self._evaluations) - 1
        if foreseen is None or place >= len(foreseen.errors):
            return
        missed = branch.missed(self.policy.forecast, output, self._time, foreseen.damping)
        if missed is not None:
            self._checks.append(_Check(evaluation, foreseen.errors[place], missed))

    def _checked(self) -> list[Evaluation]:
        """Return the evaluations with what their forecasts would have missed; the device is read once."""
        evaluations = list(self._evaluations)
        missed = torch.stack([check.missed for check in self._checks]).tolist() if self._checks else []
        squares: dict[int, tuple[float, float]] = {}
        for check, error in zip(self._checks, missed, strict=True):
            before = squares.get(check.evaluation, (0.0, 0.0))
            squares[check.evaluation] = (before[0] + error**2, before[1] + check.expected**2)
        for index, (actual, expected) in squares.items():
            forecast = ForecastCheck(math.sqrt(actual), math.sqrt(expected))
            evaluations[index] = replace(evaluations[index], forecast=forecast)
        return evaluations

    @property
    def stored_tensors(self) -> int:
        """How many tensors of the output's size the run holds between two evaluations."""
        return sum(branch.tensors for branch in self._branches.values()) + (self._reference is not None)

    def finish(self) -> tuple[Evaluation, ...]:
        """Free every tensor and return the evaluations; each one's seconds run until the next began."""
        evaluations = self._checked()
        self._reference = self._pending = None
        self._branches.clear()
        self._checks.clear()
        ends = [*self._began[1:], self._clock()]
        spans = [end - began for began, end in zip(self._began, ends, strict=False)]
        return tuple(replace(one, seconds=span) for one, span in zip(evaluations, spans, strict=True))
