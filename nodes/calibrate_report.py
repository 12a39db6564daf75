"""What SenCache Calibrate says in words when it is done."""

from __future__ import annotations

from ..caching.config import SenCacheConfig
from ..caching.rules import policy_for
from ..caching.simulate import simulate
from ..calibration.table import SensitivityTable
from .host.calibration import CalibrationRun
from .host.prepare import run_points
from .host.sampler_response import sampler_response
from .host.sampling import zones_of
from .tables.files import FOLDER, SaveTarget

EXAMPLES = (0.005, 0.01, 0.02, 0.05)


def expectations(run: CalibrationRun, table: SensitivityTable) -> str:
    """Say what a few settings of epsilon will do with the calibrated sampler and schedule."""
    sampling, sigmas = run.model.get_model_object("model_sampling"), run.sigmas()
    response = sampler_response(run.sampler_object(), sigmas, sampling, run.model)
    points = run_points(table, sampling, sigmas, run.cfg if run.negative is not None else 1.0, response)
    expected, total = [], len(points.evaluations or points.sigmas)
    for epsilon in EXAMPLES:
        config = SenCacheConfig(epsilon=epsilon)
        policy = policy_for(config, zones_of(sampling, config), table, points)
        plan = simulate(policy, table, points)
        expected.append(f"epsilon {epsilon:g}: {plan.nfe} ({plan.speed_up:.1f}x fewer)")
    return f"Of these {total} evaluations expect to compute, at " + ", ".join(expected) + "."


def as_text(table: SensitivityTable, target: SaveTarget, evaluations: int, resumed: int) -> str:
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
    if resumed:
        earlier = f"{resumed} of the samples were there from an earlier calibration with these settings."
        lines.insert(1, earlier)
    return "\n".join(lines)
