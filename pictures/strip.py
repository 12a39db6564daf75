"""The picture of a run: one cell per evaluation, and its predicted error against the limit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..caching.policy import Unit
from ..caching.record import RunRecord
from .canvas import COMPUTED, FAINT, REUSED, SCALE, TEXT, Chart, new_canvas, write

WIDTH, RUN_HEIGHT = 760, 250
TITLES = {
    Unit.OUTPUT_CHANGE: "predicted change of the output since the last computed evaluation",
    Unit.RESULT_ERROR: "predicted error of the result from reusing all since the last computed evaluation",
}
LEFT, RIGHT = 56, WIDTH - 16


def draw_runs(records: Sequence[RunRecord]) -> Image.Image:
    """Draw the runs below one another; at least one."""
    picture, pen = new_canvas(WIDTH, RUN_HEIGHT * len(records))
    for index, record in enumerate(records):
        _draw_run(pen, record, RUN_HEIGHT * index)
    return picture


def draw_nothing(text: str) -> Image.Image:
    """Draw a sentence where there is no run to draw."""
    lines = textwrap.wrap(text, 90)
    picture, pen = new_canvas(WIDTH, 40 + 20 * len(lines))
    for index, line in enumerate(lines):
        write(pen, (LEFT, 20 + 20 * index), line, 14)
    return picture


def _draw_run(pen: ImageDraw.ImageDraw, record: RunRecord, top: int) -> None:
    total = max(1, len(record.evaluations))
    title = f"{record.nfe} of {len(record.evaluations)} evaluations computed, {record.times_fewer}x fewer"
    write(pen, (LEFT, top + 10), title, 15)
    for x, colour, label in ((RIGHT - 150, COMPUTED, "computed"), (RIGHT - 66, REUSED, "reused")):
        pen.rectangle(_scaled(x, top + 14, x + 10, top + 24), fill=colour)
        write(pen, (x + 15, top + 19), label, 11, FAINT, "lm")
    limits = [one.decision.limit for one in record.evaluations if one.decision.limit is not None]
    highest = max([*record.scores, 1e-9])
    ceiling = min(highest, 2.5 * max(limits)) if limits and max(limits) > 0 else highest
    chart = Chart((LEFT, top + 56, RIGHT, top + 186), (0, total), (0, ceiling * 1.08))
    unit = record.evaluations[-1].decision.unit if record.evaluations else Unit.OUTPUT_CHANGE
    chart.frame(pen, TITLES[unit], 3)
    for index, one in enumerate(record.evaluations):
        colour = REUSED if one.decision.reuse else COMPUTED
        if one.decision.score is not None and not math.isnan(one.decision.score):
            left, upper = chart.place(index + 0.15, one.decision.score)
            right, lower = chart.place(index + 0.85, 0)
            pen.rectangle([left, upper, right, lower], fill=colour)
        left, right = chart.place(index + 0.08, 0)[0], chart.place(index + 0.92, 0)[0]
        pen.rectangle([left, (top + 206) * SCALE, right, (top + 228) * SCALE], fill=colour)
    for index, one in enumerate(record.evaluations):
        limit = one.decision.limit
        if limit is not None and limit <= ceiling:
            pen.line([chart.place(index, limit), chart.place(index + 1, limit)], TEXT, SCALE)
    if limits:
        shown = "white line" if min(limits) <= ceiling else "above everything shown"
        write(pen, (RIGHT, top + 46), f"limit {max(limits):.3g}: {shown}", 10, FAINT, "rm")
    write(pen, (LEFT, top + 232), "first evaluation", 10, FAINT)
    write(pen, (RIGHT, top + 232), "last evaluation", 10, FAINT, "ra")


def _scaled(*values: float) -> list[float]:
    return [value * SCALE for value in values]
