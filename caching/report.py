"""Tells a person what a run reused, why, and what it saved: as text and as plain values."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

from .policy import Reason
from .record import RunRecord

FEW_EVALUATIONS = 12


def as_dict(record: RunRecord) -> dict[str, Any]:
    """Return everything the report says as JSON-ready values."""
    return {
        "evaluations": len(record.evaluations),
        "nfe": record.nfe,
        "reused": record.reused,
        "reuse_ratio": record.reused / max(1, len(record.evaluations)),
        "speed_up": record.speed_up,
        "seconds_computed": record.median_seconds(reused=False),
        "seconds_reused": record.median_seconds(reused=True),
        "seconds_saved": record.seconds_saved,
        "reasons": dict(Counter(one.decision.reason.value for one in record.evaluations)),
        "planned": record.planned,
        "predicted_error": _finite(record.predicted_error),
        "complete": record.complete,
        "node_id": record.node_id,
        "table": record.table_name,
        "steps": [
            {
                "sigma": one.sigma,
                "action": one.decision.action.value,
                "reason": one.decision.reason.value,
                "score": _finite(one.decision.score),
                "budget": _finite(one.decision.budget),
                "seconds": one.seconds,
            }
            for one in record.evaluations
        ],
    }


def _finite(value: float | None) -> float | None:
    """Leave out what JSON can't say: a broken latent's score is not a number."""
    return None if value is None or not math.isfinite(value) else value


def _scores(record: RunRecord) -> str:
    scores = record.scores
    if not scores:
        return "Predicted change: nothing to compare."
    low, middle, high = min(scores), statistics.median(scores), max(scores)
    if record.predicted_error is not None:
        return (
            f"Planned {record.planned} computed evaluations; predicted error of the finished latent (rms, of "
            f"about 1): {record.predicted_error:.4f}. Had all those since the last computed one been reused: "
            f"{low:.4f} to {high:.4f}, median {middle:.4f}."
        )
    epsilon = record.config.epsilon
    return f"Predicted change: {low:.4f} to {high:.4f}, median {middle:.4f}, against epsilon {epsilon:g}."


def _why_nothing(record: RunRecord) -> list[str]:
    """Say which setting kept everything from being reused, where it was a setting."""
    planned = [one.decision.score for one in record.evaluations if one.decision.reason is Reason.PLANNED]
    needed = [score for score in planned if score is not None]
    if needed:
        return [
            f"Nothing was reused: a single reused evaluation would leave an error of {min(needed):.4f} or "
            "more; raise epsilon above it, or wish for a speed-up."
        ]
    decisions = [one.decision for one in record.evaluations]
    refused = [one.score for one in decisions if one.reason is Reason.OVER_LIMIT and one.score is not None]
    over = [score for score in refused if score > record.config.epsilon]
    if over:
        smallest = f"the smallest predicted change was {min(over):.4f}"
        return [
            f"Nothing was reused: {smallest}; raise epsilon above it. Samplers that add noise at every step "
            "(SDE, ancestral, LCM) leave little to reuse."
        ]
    strict = any(score <= record.config.epsilon for score in refused)
    if strict or any(one.reason is Reason.OUTSIDE_RANGE for one in decisions):
        return ["Nothing was reused: start, end and strict percent leave no room for it; widen that range."]
    return []


def _advice(record: RunRecord) -> list[str]:
    """Say what to change where nothing, or little, could be reused."""
    advice = []
    if not record.complete:
        advice.append("The run was stopped before its end.")
    if not record.config.reuses:
        advice.append("Reuse is off: epsilon or n is 0, so the result is that of the unpatched model.")
    elif record.reused == 0:
        advice += _why_nothing(record)
    over = sum(one.decision.reason is Reason.OVER_LIMIT for one in record.evaluations)
    if record.planned is not None and record.reused and over:
        advice.append(
            f"{over} evaluations more than planned were computed: the latent moved further than in "
            "calibration, as it does with samplers that add noise at every step (SDE, ancestral, LCM)."
        )
    unstored = sum(one.decision.reason is Reason.NO_STORED_OUTPUT for one in record.evaluations)
    if unstored:
        advice.append(
            f"{unstored} evaluations had to be computed although their predicted change was small: what they "
            "compute had not been stored, because prompts, context windows or guidance changed there."
        )
    if record.config.reuses and 0 < len(record.evaluations) <= FEW_EVALUATIONS:
        advice.append(
            f"With {len(record.evaluations)} evaluations in all there is little to gain from reuse."
        )
    return advice + list(record.notes)


def as_text(record: RunRecord) -> str:
    """Return the report of one run in a few lines."""
    config = record.config
    total = len(record.evaluations)
    aim = f"speed-up {config.speed_up:g}" if config.speed_up > 0 else f"epsilon {config.epsilon:g}"
    lines = [
        f"{record.nfe} of {total} evaluations computed, {record.reused} reused: "
        f"{record.times_fewer}x fewer.",
        f"Settings: rule {config.rule}, forecast {config.forecast}, {aim}, "
        f"n {config.max_reuse}" + (f", table {record.table_name}." if record.table_name else "."),
    ]
    computed, reused = record.median_seconds(reused=False), record.median_seconds(reused=True)
    if computed is not None and reused is not None:
        lines.append(
            f"A computed step took {computed:.3f} s, a reused one {reused:.3f} s (medians): "
            f"about {record.seconds_saved:.1f} s saved."
        )
    lines.append(_scores(record))
    reasons = Counter(one.decision.reason.value for one in record.evaluations if not one.decision.reuse)
    if reasons:
        counted = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        lines.append(f"Computed because: {counted}.")
    return "\n".join(lines + _advice(record))
