"""The sensitivity table: what calibration measured of one model, as a small safetensors file."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from .checks import (
    DIGEST_KEY,
    MAX_KNOTS,
    SENSITIVITY_ROWS,
    VERSION_KEY,
    TableError,
    refuse_unless,
    validated,
    validated_metadata,
    validated_rows,
)
from .files import check_size, naming, read_small, with_sorted_header, write_whole
from .modes import OutputModes

__all__ = ["Sensitivity", "SensitivityTable", "TableError", "from_bytes", "load", "merge", "save", "to_bytes"]

FORMAT_VERSION = "1"
KNOT_NAMES = ("timestep", "sigma")
SOURCE = "first run"  # in the metadata: what was watched, not calibrated
MODE_NAMES = ("modes_timestep", "output_modes")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The table's means at one model time.

    `latent_sensitivity` is rms change of the output per rms change of the latent, `time_sensitivity` rms
    change of the output per unit of model time, `alignment` the cosine between the two changes (1 where it
    was not measured), `output_rms` the output's size and `latent_drift` the rms change of the latent per unit
    of model time. The others are None where not measured.
    """

    latent_sensitivity: float | None = None
    time_sensitivity: float | None = None
    alignment: float = 1.0
    output_rms: float | None = None
    latent_drift: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SensitivityTable:
    """Sensitivities of one model over model time; frozen and validated on construction.

    `timestep [K]` (model time, descending) and `sigma [K]` are the knots; `rows` maps each measured quantity
    to `[S, K]`, one row per calibration sample; everything is float32 and kept as a copy on the CPU.
    `metadata` holds strings only; `modes` are None in the authors' tables (`research_npz.py`), and where
    those of merged tables do not go together. A run that was only watched (`recording.py`) has modes at the
    knots and no sensitivities. Raises TableError for anything else.
    """

    timestep: Tensor
    sigma: Tensor
    rows: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    modes: OutputModes | None = None
    _knots: list[float] = field(init=False, repr=False)
    _means: dict[str, list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        dimensions = self.timestep.ndim
        refuse_unless(dimensions == 1, f"its 'timestep' has {dimensions} dimensions, not one")
        knots = len(self.timestep)
        refuse_unless(1 <= knots <= MAX_KNOTS, f"it has {knots} timesteps; 1 to {MAX_KNOTS} are allowed")
        rows = validated_rows(self.rows, knots)
        timestep = validated("timestep", self.timestep, (knots,), -1e6, 1e6)
        refuse_unless(bool((timestep.diff() < 0).all()), "its timesteps do not descend")
        set_ = object.__setattr__
        set_(self, "timestep", timestep)
        set_(self, "sigma", validated("sigma", self.sigma, (knots,), 0.0, 1e6))
        set_(self, "rows", rows)
        set_(self, "metadata", validated_metadata(self.metadata))
        useful = self.has_sensitivities or self.modes is not None
        refuse_unless(useful, "it has neither sensitivities nor output modes")
        watched = not self.has_sensitivities or self.metadata.get("source") == SOURCE
        same = self.modes is None or torch.equal(timestep, self.modes.timestep)
        refuse_unless(same or not watched, "its rows and its output modes are of different timesteps")
        set_(self, "_knots", [-value for value in timestep.tolist()])
        set_(self, "_means", {name: row.mean(dim=0).tolist() for name, row in rows.items()})

    @property
    def num_samples(self) -> int:
        """How many calibration samples the rows hold."""
        return len(next(iter(self.rows.values())))

    @property
    def samples_in_words(self) -> str:
        """The number of calibration samples as pictures and reports write it."""
        return f"{self.num_samples} sample{'' if self.num_samples == 1 else 's'}"

    @property
    def has_sensitivities(self) -> bool:
        """Whether the sensitivities to latent and time were measured, which only a calibration does."""
        return all(name in self.rows for name in SENSITIVITY_ROWS)

    @property
    def guided(self) -> bool:
        """Whether the negative branch of the guidance was measured beside the positive one."""
        return self.modes is not None and self.modes.values.shape[1] == 2

    def mean(self, name: str) -> list[float] | None:
        """Return the mean over samples of one quantity at every knot, or None where it was not measured."""
        values = self._means.get(name)
        return None if values is None else list(values)

    def at(self, timestep: float) -> Sensitivity:
        """Interpolate the means linearly in model time; outside the knots the nearest knot answers."""
        if math.isnan(timestep):
            raise ValueError("timestep is not a number")
        right = bisect.bisect_left(self._knots, -timestep)
        left = max(0, min(right, len(self._knots)) - 1)
        right = min(right, len(self._knots) - 1)
        span = self._knots[right] - self._knots[left]
        weight = 0.0 if span == 0 else (-timestep - self._knots[left]) / span
        values = {name: row[left] + weight * (row[right] - row[left]) for name, row in self._means.items()}
        return Sensitivity(**values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SensitivityTable) and _packed(self) == _packed(other)

    __hash__ = None  # type: ignore[assignment]


def merge(first: SensitivityTable, second: SensitivityTable) -> SensitivityTable:
    """Join the samples of two tables of one model measured on the same knots; the first one's metadata stays.

    Raises TableError where the models, the knots or the measured quantities differ.
    """
    models = [table.metadata.get("fingerprint", "unknown") for table in (first, second)]
    named = f"{models[0][:80]!r} and {models[1][:80]!r}"
    refuse_unless(models[0] == models[1], f"tables of two models can't be merged: {named}")
    same_knots = torch.equal(first.timestep, second.timestep) and torch.equal(first.sigma, second.sigma)
    refuse_unless(same_knots, "tables measured at different timesteps can't be merged")
    same_rows = first.rows.keys() == second.rows.keys()
    refuse_unless(same_rows, "tables that measured different quantities can't be merged")
    rows = {name: torch.cat([first.rows[name], second.rows[name]]) for name in first.rows}
    return SensitivityTable(first.timestep, first.sigma, rows, first.metadata, _merged_modes(first, second))


def _merged_modes(first: SensitivityTable, second: SensitivityTable) -> OutputModes | None:
    """Join the modes of two tables; those measured at different times or on other branches are left out."""
    if first.modes is None or second.modes is None:
        return None
    same_times = torch.equal(first.modes.timestep, second.modes.timestep)
    if not same_times or first.modes.values.shape[1] != second.modes.values.shape[1]:
        return None
    return first.modes.merged(first.num_samples, second.modes, second.num_samples)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash names, shapes, values and metadata, so that a damaged file can't pass as another table."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(json.dumps([name, list(tensors[name].shape)]).encode())
        digest.update(tensors[name].numpy().tobytes())
    digest.update(json.dumps(sorted(metadata.items())).encode())
    return digest.hexdigest()


def _packed(table: SensitivityTable) -> bytes:
    tensors = {"timestep": table.timestep, "sigma": table.sigma, **table.rows}
    if table.modes is not None:
        tensors |= zip(MODE_NAMES, (table.modes.timestep, table.modes.values), strict=True)
    metadata = {**table.metadata, VERSION_KEY: FORMAT_VERSION}
    metadata[DIGEST_KEY] = _digest(tensors, metadata)
    return with_sorted_header(safetensors.torch.save(tensors, metadata))


def to_bytes(table: SensitivityTable) -> bytes:
    """Serialise a table as safetensors; equal tables give equal bytes.

    Raises TableError where the result would be too large to be loaded again.
    """
    data = _packed(table)
    check_size(data)
    return data


def _header_metadata(data: bytes) -> dict[str, str]:
    """Read the metadata of a table file; safetensors itself only gives it for a file it opens by name."""
    length = int.from_bytes(data[:8], "little")
    refuse_unless(8 + length <= len(data), "it is not a safetensors file")
    try:
        metadata: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        version = metadata.get(VERSION_KEY)
    except (ValueError, AttributeError, RecursionError) as error:
        raise TableError("it is not a safetensors file") from error
    refuse_unless(version is not None, "it is a safetensors file, but not a sensitivity table")
    other = f"its format is version {str(version)[:20]!r} and this pack reads version {FORMAT_VERSION}"
    refuse_unless(version == FORMAT_VERSION, f"{other}: update the pack")
    return metadata


def from_bytes(data: bytes) -> SensitivityTable:
    """Read a table out of untrusted safetensors bytes; raises TableError unless every check passes."""
    check_size(data)
    metadata = _header_metadata(data)
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # safetensors lets through whatever torch raises for a damaged header
        raise TableError("it is not a safetensors file") from error
    for name in KNOT_NAMES:
        refuse_unless(name in tensors, f"it has no '{name}'")
    rows = {name: tensor for name, tensor in tensors.items() if name not in KNOT_NAMES + MODE_NAMES}
    table = SensitivityTable(tensors["timestep"], tensors["sigma"], rows, metadata, _modes(tensors))
    whole = metadata.get(DIGEST_KEY) == _digest(tensors, {**table.metadata, VERSION_KEY: FORMAT_VERSION})
    refuse_unless(whole, "it is damaged: its contents do not match its checksum")
    return table


def _modes(tensors: Mapping[str, Tensor]) -> OutputModes | None:
    """Read the modes where the file holds them; one of their two tensors alone is a damaged file."""
    held = [name for name in MODE_NAMES if name in tensors]
    refuse_unless(len(held) in (0, len(MODE_NAMES)), f"it has {', '.join(held)} alone of its modes")
    return OutputModes(*(tensors[name] for name in held)) if held else None


def load(path: str | Path) -> SensitivityTable:
    """Load a table file; raises TableError with the file's name in one sentence."""
    with naming(path, "sensitivity table"):
        return from_bytes(read_small(path))


def save(table: SensitivityTable, path: str | Path) -> None:
    """Write a table so that the final name only ever holds a whole file, the old one or the new one.

    Raises OSError where the disk refuses, and TableError where the table is too large to be loaded again.
    """
    with naming(path, "sensitivity table", "can't be saved"):
        data = to_bytes(table)
    write_whole(Path(path), data)
