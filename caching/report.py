"""Tells what a run reused, why, and what it saved: as English text, and as plain values for the panels."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .notes import Note, Value
from .policy import Decision, Reason
from .record import RunRecord
from .remarks import FEW_STEPS
from .sentences import reason_text, sentence, visibility_text
from .visibility import visibility

LESS_PREDICTABLE = 3.0  # times as far off as the table says; ordinary clips stay below
NOT_TRIED = (Reason.OFF, Reason.MEASURING, Reason.NO_TABLE, Reason.UNPLANNED)  # why a whole run is computed


def as_dict(record: RunRecord) -> dict[str, Any]:
    """Return everything the report says as JSON-ready values."""
    return {
        "evaluations": len(record.evaluations),
        "steps_asked": record.steps,
        "nfe": record.nfe,
        "reused": record.reused,
        "reuse_ratio": record.reused / max(1, len(record.evaluations)),
        "speed_up": record.speed_up,
        "aim": record.config.governs,
        "seconds_computed": record.median_seconds(reused=False),
        "seconds_reused": record.median_seconds(reused=True),
        "seconds_saved": record.seconds_saved,
        "reasons": dict(Counter(one.decision.reason.value for one in record.evaluations)),
        "planned": record.planned,
        "predicted_error": _finite(record.predicted_error),
        "visibility": None if record.predicted_error is None else visibility(record.predicted_error).value,
        "surprise": _finite(record.surprise),
        "complete": record.complete,
        "node_id": record.node_id,
        "table": record.table_name,
        "notes": [note.as_dict() for note in advice(record)],
        "steps": [
            {
                "sigma": one.sigma,
                "action": one.decision.action.value,
                "reason": one.decision.reason.value,
                "score": None if record.foreign else _finite(one.decision.score),
                "limit": None if record.foreign else _finite(one.decision.limit),
                "seconds": one.seconds,
                "missed": None if one.forecast is None else _finite(one.forecast.missed),
                "expected": None if one.forecast is None else one.forecast.expected,
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
        return "Predicted error: nothing to compare."
    low, middle, high = min(scores), statistics.median(scores), max(scores)
    spread = f"{low:.4f} to {high:.4f}, median {middle:.4f}"
    if record.foreign:
        return ""  # a note says why
    if record.predicted_error is not None:
        looks = visibility_text(record.predicted_error)
        return (
            f"Planned to compute {record.planned} steps; predicted error of the finished latent (rms, of "
            f"about 1): {record.predicted_error:.4f}, {looks}. Of each step, the error predicted if it and "
            f"all before it, back to the last computed one, are reused: {spread}."
        )
    return f"Predicted change of the output: {spread}, against an allowed error of {record.config.epsilon:g}."


def _of_reason(record: RunRecord, reason: Reason) -> list[Decision]:
    return [one.decision for one in record.evaluations if one.decision.reason is reason]


def _known_scores(decisions: Iterable[Decision]) -> list[float]:
    return [one.score for one in decisions if one.score is not None and math.isfinite(one.score)]


def _why_nothing(record: RunRecord) -> Iterator[Note]:
    """Say which setting kept everything from being reused, where it was a setting."""
    if record.foreign:
        return
    refused = _known_scores(_of_reason(record, Reason.OVER_LIMIT))
    if record.planned is not None and record.nfe > record.planned:
        return  # more than planned was computed, and that has a note of its own
    if record.config.speed_up > 0:
        return  # the target speed decides, and that it was not reached is told
    needed = _known_scores(_of_reason(record, Reason.PLANNED))
    over = [score for score in refused if score > record.config.epsilon]
    if needed:
        yield Note("nothing_planned", {"error": f"{min(needed):.4f}"})
    elif over:
        yield Note("nothing_within", {"error": f"{min(over):.4f}"})
    elif refused or _of_reason(record, Reason.OUTSIDE_RANGE):
        yield Note("nothing_in_range")


def advice(record: RunRecord) -> Iterator[Note]:
    """Say what a person should know of a run: what to change where nothing, or little, was reused."""
    config, total = record.config, len(record.evaluations)
    if not record.complete:
        yield Note("run_stopped")
    if not config.reuses:
        yield Note("reuse_off")
    elif record.reused == 0:
        yield from _why_nothing(record)
    beyond = 0 if record.planned is None else record.nfe - record.planned
    if beyond > 0:
        yield Note("more_than_planned", {"count": beyond})
    named = any(note.code in ("wish_raised", "wish_limited") for note in record.notes)
    tried = any(one.decision.reason not in NOT_TRIED for one in record.evaluations)
    if record.complete and tried and not named and record.speed_up < config.speed_up * (1 - 1e-9):
        values: dict[str, Value] = {"wished": f"{config.speed_up:g}", "nfe": record.nfe, "total": total}
        yield Note("wish_unmet", values)
    if not record.foreign and record.surprise is not None and record.surprise > LESS_PREDICTABLE:
        yield Note("less_predictable", {"times": f"{record.surprise:.1f}"})
    unstored = len(_of_reason(record, Reason.NO_STORED_OUTPUT))
    if unstored:
        yield Note("not_stored", {"count": unstored})
    steps = total if record.steps is None else record.steps
    if tried and 0 < total and steps <= FEW_STEPS:
        yield Note("few_steps", {"count": steps})
    yield from record.notes


def as_text(record: RunRecord) -> str:
    """Return the report of one run in a few lines of English."""
    config = record.config
    total = len(record.evaluations)
    by_speed = config.speed_up > 0
    aim = f"target speed {config.speed_up:g}x" if by_speed else f"allowed error (epsilon) {config.epsilon:g}"
    calls = "steps" if record.steps in (None, total) else f"model calls ({record.steps} steps)"
    lines = [
        f"{record.nfe} of {total} {calls} computed, {record.reused} reused: {record.times_fewer}x fewer.",
        f"Settings: {aim}, longest skip (n) {config.max_reuse}, rule {config.rule}, "
        f"forecast {config.forecast}" + (f", table {record.table_name}." if record.table_name else "."),
    ]
    computed, reused = record.median_seconds(reused=False), record.median_seconds(reused=True)
    if computed is not None and reused is not None:
        lines.append(
            f"A computed step took {computed:.3f} s, a reused one {reused:.3f} s (medians): "
            f"about {record.seconds_saved:.1f} s saved."
        )
    lines += filter(None, [_scores(record)])
    if record.surprise is not None:
        lines.append(
            "Where the network ran, the forecast in its place would have been off "
            f"{record.surprise:.1f} times as far as the table says."
        )
    reasons = Counter(one.decision.reason for one in record.evaluations if not one.decision.reuse)
    if reasons:
        counted = ", ".join(f"{reason_text(reason)} ({count})" for reason, count in reasons.most_common())
        lines.append(f"Computed because: {counted}.")
    return "\n".join([*lines, *map(sentence, advice(record))])
