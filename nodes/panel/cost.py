"""Says before a calibration what it will cost: in evaluations, and in the artist's own videos."""

from __future__ import annotations

from ...caching.notes import Note, Value
from ..host.calibration import EVERY_STEP, PARTS
from ..host.coverage import LEAST_STEPS
from .wire import CostQuestion, CostTold

USUAL_STEPS = 50
BESIDE = 12  # evaluations a sample at most that cover the model's range beside the sampler's own
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


def expected_cost(question: CostQuestion) -> CostTold:
    """Estimate a calibration's cost from the node's widgets, without its model."""
    steps = max(LEAST_STEPS, question.steps)
    measured = steps - 1 if question.sensitivities == EVERY_STEP else min(PARTS, steps - 1)
    evaluations = question.samples * (steps + 2 * measured + BESIDE)
    note = cost_of(evaluations, question.video_steps or USUAL_STEPS)
    return CostTold(code=note.code, values=dict(note.values), evaluations=evaluations)
