"""What SenCache Calibrate says in words when it is done."""

from __future__ import annotations

from collections.abc import Sequence

from ..caching.config import SenCacheConfig
from ..caching.planner import solve
from ..caching.sentences import visibility_text
from ..calibration.table import SensitivityTable
from .host.calibration import CalibrationRun
from .host.prepare import run_points
from .host.sampler_response import sampler_response
from .host.sampling import zones_of
from .panel.gains import gains_of
from .panel.wire import Gain
from .tables.files import FOLDER, SaveTarget


def expected_gains(run: CalibrationRun, table: SensitivityTable) -> list[Gain]:
    """Say what the offered speeds will do with the calibrated sampler and schedule."""
    sampling, sigmas = run.model.get_model_object("model_sampling"), run.sigmas()
    response = sampler_response(run.sampler_object(), sigmas, sampling, run.model)
    points = run_points(table, sampling, sigmas, run.cfg if run.negative is not None else 1.0, response)
    config = SenCacheConfig()
    return gains_of((config, zones_of(sampling, config), table, points), solve)


def in_words(gains: Sequence[Gain], run: CalibrationRun) -> str:
    """Word them for the report."""
    told = [
        f"{one.nfe} ({one.speed_up:.1f}x fewer, {visibility_text(one.error)})"
        for one in gains
        if one.error is not None
    ]
    return f"Of {len(run.sigmas()) - 1} steps expect to compute " + ", ".join(told) + "." if told else ""


def as_text(
    table: SensitivityTable, target: SaveTarget, evaluations: int, resumed: int, replaced: bool
) -> str:
    """Say what was measured, and where it was saved."""
    lines = [
        f"Measured {table.metadata['model']} from {table.metadata['source']}: {table.samples_in_words} at "
        f"{len(table.timestep)} timesteps, {evaluations} evaluations.",
        f"Saved as {target.name} in models/{FOLDER}; SenCache Model Patch finds it there.",
    ]
    if not table.guided:
        lines.append(
            "Measured without guidance: for sampling with a cfg other than 1 connect the negative prompt and "
            "set that cfg here."
        )
    if replaced:
        lines.append("It replaced this model's table of that name, which other settings had measured.")
    if resumed:
        earlier = f"{resumed} of the samples were there from an earlier calibration with these settings."
        lines.insert(1, earlier)
    return "\n".join(lines)
