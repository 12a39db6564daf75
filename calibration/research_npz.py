"""Reads the `.npz` sensitivity tables that the paper's authors publish and their scripts write."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checks import TableError, refuse_unless
from .files import naming, read_small
from .table import SensitivityTable

Array = np.ndarray[Any, np.dtype[Any]]

FAMILY_KEY = "family"  # in a table's metadata: part of the name of the host's model classes


@dataclass(frozen=True, slots=True)
class Family:
    """What the authors measured of one family of models: the latent's shape without its batch, and `unit`,
    the host's model time at pure noise; their timesteps run to 1000."""

    name: str
    latent_shape: tuple[int, ...]
    unit: float


# The shapes follow from the factors that their code multiplies epsilon with: the roots of the elements.
FAMILIES = {
    "wan": Family("Wan 2.1", (16, 21, 60, 104), 1000.0),
    "cogvideo": Family("CogVideoX", (16, 14, 60, 90), 1000.0),
    "ltx": Family("LTX-Video", (128, 21, 16, 24), 1.0),
}

MEAN_KEYS = {"timesteps", "J_x_norm", "J_t_norm"}
RAW_KEYS = {"timesteps", "raw_data"}
MAX_UNPACKED_BYTES = 16 << 20
# What numpy writes; zipfile unpacks other methods without regard to the size that the archive declares.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _unpack(data: bytes) -> dict[str, Array]:
    """Unpack the known arrays without pickles, each no further than its declared and checked size."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        limit = f"{MAX_UNPACKED_BYTES >> 20} MiB"
        refuse_unless(unpacked <= MAX_UNPACKED_BYTES, f"it unpacks to more than {limit}")
        plain = all(entry.compress_type in COMPRESSIONS for entry in entries)
        refuse_unless(plain, "it is compressed in a way that numpy does not use")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in MEAN_KEYS | RAW_KEYS:
                with archive.open(entry) as file:
                    array = io.BytesIO(file.read(entry.file_size))
                arrays[name] = np.load(array, allow_pickle=False)
    return arrays


def _arrays(data: bytes) -> dict[str, Array]:
    try:
        return _unpack(data)
    except TableError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for damaged archives
        raise TableError("it is not a whole npz archive of plain arrays") from error


def load_research_npz(
    path: str | Path, latent_shape: Sequence[int], multiplier: float = 1000.0
) -> SensitivityTable:
    """Load the authors' table and turn its L2 norms into rms values.

    `latent_shape` is the latent they measured without its batch, such as `(16, 21, 60, 104)` for Wan 2.1 at
    832x480 and 81 frames: `J_t_rms = J_t_L2 / sqrt(numel)`, while `J_x` is a ratio and stays. Both layouts
    are read: means under `J_x_norm [K]` and `J_t_norm [K]`, or samples under `raw_data [S, K, 2]` (latent,
    time). `multiplier` turns their timesteps into sigma. Alignment was not measured, so the joint rule falls
    back to the paper's with such a table. Raises TableError.
    """
    with naming(path, "research table"):
        return _convert(_arrays(read_small(path)), math.prod(latent_shape), multiplier)


def load_by_name(path: str | Path) -> SensitivityTable:
    """Load the authors' table for the family that its file's name names, in the host's model time.

    An archive says neither of which model it is nor of which latent. Raises TableError, for a name without
    one of the families too.
    """
    name = Path(path).name.lower()
    found = next((key for key in FAMILIES if key in name), None)
    with naming(path, "research table"):
        known = ", ".join(FAMILIES)
        refuse_unless(found is not None, f"its name has to say which model it is of: {known}")
    family = FAMILIES[found or ""]
    table = load_research_npz(path, family.latent_shape)
    share = family.unit / 1000.0
    rows = {**table.rows, "time_sensitivity": table.rows["time_sensitivity"] / share}
    metadata = {
        **table.metadata,
        FAMILY_KEY: found or "",
        "name": Path(path).name[:255],
        "model": f"{family.name}, as the authors measured it",
    }
    return SensitivityTable(table.timestep * share, table.sigma, rows, metadata)


def _values(arrays: dict[str, Array]) -> Array:
    """Return `[S, K, 2]` (latent, time) out of either layout, or raise TableError."""
    means, raw = (arrays.keys() >= keys for keys in (MEAN_KEYS, RAW_KEYS))
    expected = f"neither {sorted(MEAN_KEYS)} nor {sorted(RAW_KEYS)}"
    refuse_unless(means or raw, f"it holds {sorted(arrays)} and {expected}")
    for name, array in arrays.items():
        refuse_unless(array.dtype.kind in "fiu", f"its '{name}' is {str(array.dtype)[:40]}, not numbers")
    knots = arrays["timesteps"].shape
    if means:
        fits = len(knots) == 1 and knots == arrays["J_x_norm"].shape == arrays["J_t_norm"].shape
    else:
        shape = arrays["raw_data"].shape
        fits = len(knots) == 1 and len(shape) == 3 and shape[1:] == (*knots, 2)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
    refuse_unless(fits, f"its arrays have shapes that do not belong together: {shapes}")
    if means:
        return np.stack([arrays["J_x_norm"], arrays["J_t_norm"]], axis=-1)[None]
    return arrays["raw_data"]


def _float32(array: Array) -> torch.Tensor:
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        return torch.from_numpy(array.astype(np.float32))


def _convert(arrays: dict[str, Array], numel: int, multiplier: float) -> SensitivityTable:
    refuse_unless(numel >= 1, f"the latent it was measured on can't have {numel} elements")
    values = _float32(_values(arrays))
    timestep = _float32(arrays["timesteps"])
    order = torch.argsort(timestep, descending=True, stable=True)
    rows = {
        "latent_sensitivity": values[:, order, 0],
        "time_sensitivity": values[:, order, 1] / math.sqrt(numel),
    }
    return SensitivityTable(timestep[order], timestep[order] / multiplier, rows, {"source": "research npz"})
