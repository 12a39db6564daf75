"""Reads the `.npz` sensitivity tables that the paper's authors publish and their scripts write."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .table import MAX_FILE_BYTES, SensitivityTable, TableError

MEAN_KEYS = {"timesteps", "J_x_norm", "J_t_norm"}
RAW_KEYS = {"timesteps", "raw_data"}
MAX_UNPACKED_BYTES = 16 << 20


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Unpack the arrays without pickles, after the archive's own sizes were checked."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TableError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise TableError(f"it unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
    with np.load(path, allow_pickle=False) as data:
        return {key: data[key] for key in data.files if key in MEAN_KEYS | RAW_KEYS}


def load_research_npz(path: str | Path, latent_shape: Sequence[int], multiplier: float = 1000.0) -> SensitivityTable:
    """Load the authors' table and turn its L2 norms into rms values.

    `latent_shape` is the latent they measured without its batch, such as `(16, 21, 60, 104)` for Wan 2.1 at 832x480
    and 81 frames: `J_t_rms = J_t_L2 / sqrt(numel)`, while `J_x` is a ratio and stays. Both layouts are read: means
    under `J_x_norm [K]` and `J_t_norm [K]`, or samples under `raw_data [S, K, 2]` (latent, time). `multiplier` turns
    their timesteps into sigma. Alignment was not measured, so the joint rule falls back to the paper's with such a
    table. Raises TableError.
    """
    path = Path(path)
    try:
        arrays = _read_arrays(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise TableError(f"The research table '{path.name}' can't be read: {error}.") from error
    try:
        return _convert(arrays, math.prod(latent_shape), multiplier)
    except TableError as error:
        raise TableError(f"The research table '{path.name}' can't be used: {error}.") from error


def _convert(arrays: dict[str, np.ndarray], numel: int, multiplier: float) -> SensitivityTable:
    if arrays.keys() >= MEAN_KEYS:
        pair = np.stack([np.atleast_2d(arrays["J_x_norm"]), np.atleast_2d(arrays["J_t_norm"])], axis=-1)
    elif arrays.keys() >= RAW_KEYS:
        pair = arrays["raw_data"]
    else:
        raise TableError(f"it holds {sorted(arrays)} and neither {sorted(MEAN_KEYS)} nor {sorted(RAW_KEYS)}")
    numeric = all(array.dtype.kind in "fiu" for array in (pair, arrays["timesteps"]))
    if not numeric or pair.ndim != 3 or pair.shape[-1] != 2 or arrays["timesteps"].ndim != 1 or numel < 1:
        raise TableError(f"its arrays have shapes {pair.shape} and {arrays['timesteps'].shape}")
    timestep = torch.from_numpy(arrays["timesteps"].astype(np.float32))
    values = torch.from_numpy(pair.astype(np.float32))
    if values.shape[1] != len(timestep):
        raise TableError(f"it has {len(timestep)} timesteps and {values.shape[1]} values")
    order = torch.argsort(timestep, descending=True, stable=True)
    rows = {
        "latent_sensitivity": values[:, order, 0],
        "time_sensitivity": values[:, order, 1] / math.sqrt(numel),
    }
    return SensitivityTable(timestep[order], timestep[order] / multiplier, rows, {"source": "research npz"})
