"""Records of runs that never took place, with numbers to check by hand."""

from __future__ import annotations

from sencache.caching.config import SenCacheConfig
from sencache.caching.policy import Action, Decision, Reason, Unit
from sencache.caching.record import Evaluation, RunRecord

FIRST = Decision(Action.COMPUTE, Reason.FIRST)
OFF = Decision(Action.COMPUTE, Reason.OFF)


def reused(score: float, limit: float = 0.1) -> Decision:
    """Return the decision to reuse at a score."""
    return Decision(Action.REUSE, Reason.WITHIN_LIMIT, score, limit)


def over(score: float, limit: float = 0.1) -> Decision:
    """Return the decision to compute because of a score."""
    return Decision(Action.COMPUTE, Reason.OVER_LIMIT, score, limit)


def outside(score: float, limit: float = 0.1) -> Decision:
    """Return the decision to compute outside the range."""
    return Decision(Action.COMPUTE, Reason.OUTSIDE_RANGE, score, limit)


def planned(score: float, limit: float = 0.1) -> Decision:
    """Return the decision to compute because the plan does."""
    return Decision(Action.COMPUTE, Reason.PLANNED, score, limit, Unit.RESULT_ERROR)


def record(*decisions: Decision, seconds: tuple[float, ...] = (), epsilon=0.1, **fields) -> RunRecord:
    """Return a record of these decisions in even steps of sigma; computing takes 2 s, reusing 0.5."""
    taken = seconds or tuple(0.5 if decision.reuse else 2.0 for decision in decisions)
    sigmas = [1 - index / max(1, len(decisions)) for index in range(len(decisions))]
    evaluations = tuple(
        Evaluation(sigma, 1000 * sigma, decision, one)
        for sigma, decision, one in zip(sigmas, decisions, taken, strict=True)
    )
    return RunRecord(SenCacheConfig(rule="joint", epsilon=epsilon), evaluations, **fields)


def long_record() -> RunRecord:
    """Return a record of 20 evaluations: every fourth of them computed, the others reused."""
    decisions = [FIRST]
    for step in range(1, 20):
        decisions.append(over(0.15) if step % 4 == 0 else reused(0.04 if step % 2 else 0.08))
    return record(*decisions)
