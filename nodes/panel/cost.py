"""Says before a calibration what it will cost: in evaluations, and in the artist's own videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...caching.notes import Note, Value
from ..host.calibration import EVERY_STEP, PARTS
from ..host.coverage import LEAST_STEPS
from .question import QuestionError

USUAL_STEPS = 50
BESIDE = 12  # evaluations a sample at most that cover the model's range beside the sampler's own
MOST = 10_000
ABOUT_ONE = (0.9, 1.1)  # videos


def cost_of(evaluations: int, video_steps: int = USUAL_STEPS) -> Note:
    """Say a number of evaluations, beside those of a video of `video_steps` steps."""
    values: dict[str, Value] = {"evaluations": evaluations, "steps": video_steps}
    videos = evaluations / video_steps
    if ABOUT_ONE[0] <= videos <= ABOUT_ONE[1]:
        return Note("cost_video", values)
    if videos < 1:
        values["percent"] = round(100 * videos)
        return Note("cost_part", values)
    values["times"] = f"{videos:.1f}".removesuffix(".0")
    return Note("cost_videos", values)


def expected_cost(question: Mapping[str, Any]) -> dict[str, Any]:
    """Estimate a calibration's cost from the node's widgets, without its model.

    `video_steps` are those of the artist's own sampler, null where the graph does not tell. Raises
    QuestionError for anything but whole numbers in range.
    """
    steps = max(LEAST_STEPS, _whole(question, "steps"))
    measured = steps - 1 if question.get("sensitivities") == EVERY_STEP else min(PARTS, steps - 1)
    each = steps + 2 * measured + BESIDE
    video = USUAL_STEPS if question.get("video_steps") is None else _whole(question, "video_steps")
    return cost_of(_whole(question, "samples") * each, video).as_dict()


def _whole(question: Mapping[str, Any], name: str) -> int:
    value = question.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
        raise QuestionError(f"{name} is no whole number from 1 to {MOST}")
    return value
