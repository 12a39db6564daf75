"""Rebuilds a model's sampling from what its table says, so that a run can be planned without the model."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import comfy.model_sampling
import torch

from ...caching.notes import Note
from ...calibration.table import SensitivityTable, TableError
from ..refusals import NotedTableError, quoted

SCHEDULES = (
    "ModelSamplingDiscreteFlow", "ModelSamplingAV", "ModelSamplingFlux", "ModelSamplingDiscrete",
    "ModelSamplingContinuousEDM", "ModelSamplingContinuousV", "ModelSamplingCosmosRFlow",
)  # fmt: skip
SETTINGS = (
    "beta_schedule", "linear_start", "linear_end", "zsnr", "sigma_min", "sigma_max", "sigma_data",
    "audio_shift",
)  # fmt: skip
PREDICTIONS = ("CONST", "EPS", "V_PREDICTION", "V_PREDICTION_DDPM", "EDM", "X0", "COSMOS_RFLOW")


def describe(model: Any) -> dict[str, str]:
    """Return the metadata from which `sampling_of` rebuilds a model's sampling."""
    sampling = model.get_model_object("model_sampling")
    classes = [kind.__name__ for kind in type(sampling).__mro__]
    settings = getattr(model.model.model_config, "sampling_settings", None) or {}
    plain = {key: value for key, value in settings.items() if isinstance(value, int | float | str | bool)}
    return {
        "prediction": type(sampling).__bases__[-1].__name__,
        "schedule": next((name for name in classes if name in SCHEDULES), classes[0]),
        "shift": f"{float(getattr(sampling, 'shift', 1.0)):g}",
        "multiplier": f"{float(getattr(sampling, 'multiplier', 1.0)):g}",
        "sampling_settings": json.dumps(plain, sort_keys=True),
    }


def sampling_of(table: SensitivityTable, shift: float | None = None) -> Any:
    """Return the host's model_sampling for a table, `shift` taking the place of the measured one.

    Raises TableError where the table does not describe it whole, or the host has no such sampling.
    """
    name = table.metadata.get("schedule", "")
    prediction = table.metadata.get("prediction", "")
    known = name in SCHEDULES and prediction in PREDICTIONS
    kinds = [getattr(comfy.model_sampling, kind, None) for kind in (name, prediction)] if known else [None]
    if None in kinds:
        described = {"schedule": quoted(name) or "?", "prediction": quoted(prediction) or "?"}
        raise NotedTableError(Note("sampling_unknown", described))
    try:
        settings = {**_settings(table), "shift": number_of(table, "shift") if shift is None else shift}
        sampling = type("TableSampling", tuple(kinds), {})(SimpleNamespace(sampling_settings=settings))
        agrees = torch.allclose(sampling.timestep(table.sigma).float(), table.timestep, rtol=1e-3, atol=1.0)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise NotedTableError(Note("sampling_damaged")) from error
    if not agrees:
        raise NotedTableError(Note("sampling_differs"))
    return sampling


def _settings(table: SensitivityTable) -> dict[str, Any]:
    settings = json.loads(table.metadata["sampling_settings"])
    if not isinstance(settings, dict):
        raise TypeError("'sampling_settings' is no JSON object")
    kept = {key: value for key, value in settings.items() if key in SETTINGS and _small(value)}
    return {**kept, "multiplier": number_of(table, "multiplier")}


def _small(value: object) -> bool:
    """Tell whether a stranger's setting is a short text or a number that makes no schedule grow."""
    if isinstance(value, str):
        return len(value) <= 40
    return isinstance(value, int | float) and abs(value) <= 1e6


def number_of(table: SensitivityTable, name: str, default: float = math.nan, low: float = 1e-6) -> float:
    """Return a number of a table's metadata, from `low` to a million; raises TableError for anything else.

    Without a `default` the table has to hold it.
    """
    try:
        value = float(table.metadata.get(name, default))
    except ValueError:
        value = math.nan
    if not low <= value <= 1e6:
        raise TableError(f"its metadata '{name}' is not a number that a sampling can have")
    return value
