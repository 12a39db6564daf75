"""The sensitivity table: what calibration measured of one model, as a small safetensors file."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

FORMAT_VERSION = "1"
MAX_FILE_BYTES = 1 << 20
MAX_KNOTS = 1000
MAX_SAMPLES = 1000
MAX_METADATA_CHARACTERS = 4096

KNOT_NAMES = ("timestep", "sigma")
REQUIRED_ROWS = ("latent_sensitivity", "time_sensitivity")
OPTIONAL_ROWS = ("alignment", "output_rms", "latent_drift")
ROW_LIMITS = {
    "latent_sensitivity": (0.0, 1e6),
    "time_sensitivity": (0.0, 1e6),
    "alignment": (-1.0, 1.0),
    "output_rms": (0.0, 1e6),
    "latent_drift": (0.0, 1e6),
}
_DIGEST = "sha256"


class TableError(ValueError):
    """A sensitivity table that can't be used; the message is one sentence for the person who chose it."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The table's means at one model time.

    `latent_sensitivity` is rms change of the output per rms change of the latent, `time_sensitivity` rms change of
    the output per unit of model time, `alignment` the cosine between the two changes (1 where it was not measured),
    `output_rms` and `latent_drift` (rms change of the latent per unit of model time) are None where not measured.
    """

    latent_sensitivity: float
    time_sensitivity: float
    alignment: float = 1.0
    output_rms: float | None = None
    latent_drift: float | None = None


def _refuse_unless(condition: bool, message: str) -> None:
    if not condition:
        raise TableError(message)


def _validated(name: str, tensor: Tensor, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    _refuse_unless(tensor.dtype == torch.float32, f"its '{name}' is {tensor.dtype}, not float32")
    _refuse_unless(tuple(tensor.shape) == shape, f"its '{name}' has shape {list(tensor.shape)}, not {list(shape)}")
    _refuse_unless(bool(torch.isfinite(tensor).all()), f"its '{name}' has values that are not finite")
    inside = bool((tensor >= low).all()) and bool((tensor <= high).all())
    _refuse_unless(inside, f"its '{name}' leaves the range {low:g} to {high:g}")
    return tensor.detach().clone().contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class SensitivityTable:
    """Sensitivities of one model over model time; frozen and validated on construction.

    `timestep [K]` (model time, descending) and `sigma [K]` are the knots; `rows` maps each measured quantity to
    `[S, K]`, one row per calibration sample; everything is float32 on the CPU. `metadata` holds strings only.
    Raises TableError for anything else.
    """

    timestep: Tensor
    sigma: Tensor
    rows: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    _knots: list[float] = field(init=False, repr=False)
    _means: dict[str, list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _refuse_unless(self.timestep.ndim == 1, f"its 'timestep' has {self.timestep.ndim} dimensions, not one")
        knots = len(self.timestep)
        _refuse_unless(1 <= knots <= MAX_KNOTS, f"it has {knots} timesteps; 1 to {MAX_KNOTS} are allowed")
        for name in REQUIRED_ROWS:
            _refuse_unless(name in self.rows, f"it has no '{name}'")
        first = self.rows["latent_sensitivity"]
        samples = len(first) if first.ndim else 0
        _refuse_unless(1 <= samples <= MAX_SAMPLES, f"it has {samples} samples; 1 to {MAX_SAMPLES} are allowed")
        rows = {}
        for name, row in self.rows.items():
            _refuse_unless(name in ROW_LIMITS, f"it has an unknown entry '{name[:40]}'")
            rows[name] = _validated(name, row, (samples, knots), *ROW_LIMITS[name])
        timestep = _validated("timestep", self.timestep, (knots,), -1e6, 1e6)
        _refuse_unless(bool((timestep.diff() < 0).all()), "its timesteps do not descend")
        set_ = object.__setattr__
        set_(self, "timestep", timestep)
        set_(self, "sigma", _validated("sigma", self.sigma, (knots,), 0.0, 1e6))
        set_(self, "rows", rows)
        set_(self, "metadata", _validated_metadata(self.metadata))
        set_(self, "_knots", [-value for value in timestep.tolist()])
        set_(self, "_means", {name: row.mean(dim=0).tolist() for name, row in rows.items()})

    @property
    def num_samples(self) -> int:
        """How many calibration samples the rows hold."""
        return len(self.rows["latent_sensitivity"])

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
        return isinstance(other, SensitivityTable) and to_bytes(self) == to_bytes(other)

    __hash__ = None  # type: ignore[assignment]


def _validated_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    kept = {}
    for key, value in metadata.items():
        _refuse_unless(isinstance(key, str) and isinstance(value, str), "its metadata is not all text")
        _refuse_unless(len(key) <= 64 and len(value) <= MAX_METADATA_CHARACTERS, f"its metadata '{key[:40]}' is too long")
        kept[key] = value
    _refuse_unless(len(kept) <= 64, f"it has {len(kept)} metadata entries; 64 are allowed")
    return kept


def merge(first: SensitivityTable, second: SensitivityTable) -> SensitivityTable:
    """Join the samples of two tables of one model measured on the same knots; the first one's metadata stays.

    Raises TableError where the models, the knots or the measured quantities differ.
    """
    models = [table.metadata.get("fingerprint") for table in (first, second)]
    _refuse_unless(models[0] == models[1], f"tables of two models can't be merged: {models[0]} and {models[1]}")
    same_knots = torch.equal(first.timestep, second.timestep) and torch.equal(first.sigma, second.sigma)
    _refuse_unless(same_knots, "tables measured at different timesteps can't be merged")
    _refuse_unless(first.rows.keys() == second.rows.keys(), "tables that measured different quantities can't be merged")
    rows = {name: torch.cat([first.rows[name], second.rows[name]]) for name in first.rows}
    return SensitivityTable(first.timestep, first.sigma, rows, first.metadata)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash names, shapes, values and metadata, so that a damaged file can't pass as another table."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(json.dumps([name, list(tensors[name].shape)]).encode())
        digest.update(tensors[name].numpy().tobytes())
    digest.update(json.dumps(sorted(metadata.items())).encode())
    return digest.hexdigest()


def to_bytes(table: SensitivityTable) -> bytes:
    """Serialise a table as safetensors; equal tables give equal bytes."""
    tensors = {"timestep": table.timestep, "sigma": table.sigma, **table.rows}
    metadata = {**table.metadata, "format_version": FORMAT_VERSION}
    metadata.pop(_DIGEST, None)
    metadata[_DIGEST] = _digest(tensors, metadata)
    return safetensors.torch.save(tensors, dict(sorted(metadata.items())))


def _header_metadata(data: bytes) -> dict[str, str]:
    """Read the metadata of a safetensors file; safetensors itself only gives it for a file it opens by name."""
    length = int.from_bytes(data[:8], "little")
    _refuse_unless(8 + length <= len(data), "it is not a safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise TableError("it is not a safetensors file") from error
    _refuse_unless(isinstance(metadata, dict), "its metadata is not all text")
    return _validated_metadata(metadata)


def from_bytes(data: bytes) -> SensitivityTable:
    """Read a table out of untrusted safetensors bytes; raises TableError unless every check passes."""
    _refuse_unless(len(data) <= MAX_FILE_BYTES, f"it is larger than the {MAX_FILE_BYTES >> 20} MiB that a table may have")
    metadata = _header_metadata(data)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, OverflowError, RuntimeError) as error:
        raise TableError("it is not a safetensors file") from error
    version = metadata.get("format_version")
    _refuse_unless(version is not None, "it is a safetensors file, but not a sensitivity table")
    _refuse_unless(
        version == FORMAT_VERSION,
        f"its format is version {str(version)[:20]} and this pack reads version {FORMAT_VERSION}: update the pack",
    )
    for name in KNOT_NAMES:
        _refuse_unless(name in tensors, f"it has no '{name}'")
    expected = metadata.pop(_DIGEST, None)
    rows = {name: tensor for name, tensor in tensors.items() if name not in KNOT_NAMES}
    metadata_without_version = {key: value for key, value in metadata.items() if key != "format_version"}
    table = SensitivityTable(tensors["timestep"], tensors["sigma"], rows, metadata_without_version)
    _refuse_unless(expected == _digest(tensors, metadata), "it is damaged: its contents do not match its checksum")
    return table


def load(path: str | Path) -> SensitivityTable:
    """Load a table file; raises TableError with the file's name in one sentence."""
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TableError(f"The sensitivity table '{name}' can't be read: {reason}.") from error
    try:
        return from_bytes(data)
    except TableError as error:
        raise TableError(f"The sensitivity table '{name}' can't be used: {error}.") from error


def save(table: SensitivityTable, path: str | Path) -> None:
    """Write a table so that the final name only ever holds a whole file; raises OSError where the disk refuses."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".saving")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(table))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
