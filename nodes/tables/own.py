"""The tables that a model's own runs have measured: found by its weights, written whole, never too many."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import folder_paths

from ...calibration import table as tables
from ...calibration.joining import joined
from ...calibration.recording import is_recorded
from ...calibration.rounding import rounded
from ...calibration.table import SensitivityTable, TableError
from . import files as table_files
from .files import EXTENSION, FOLDER

SUBFOLDER = "measured"
MOST_FILES = 64
SECONDS_TO_WAIT = 10.0  # for another server that writes here
_UNUSUAL = re.compile(r"[^A-Za-z0-9.()+-]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """What ties a table to a model: its architecture's fingerprint, and a digest of its own weights."""

    fingerprint: str
    weights: str


def find(
    model: Identity, guided: bool, timesteps: Sequence[float] = ()
) -> tuple[str, SensitivityTable] | None:
    """Return the name and the table that the model's own runs have measured.

    A run with guidance needs a table that knows both branches; one without can do with either, and takes the
    one that covers more of its `timesteps`, of two alike the one with guidance.
    """
    fitting = [one for one in _all_of(model) if one[1].guided or not guided]

    def lacking(one: tuple[str, SensitivityTable]) -> tuple[int, bool]:
        modes = one[1].modes
        covered = 0 if modes is None else int(modes.covers(timesteps).sum())
        return len(timesteps) - covered, not one[1].guided

    return min(reversed(fitting), key=lacking, default=None)


def _all_of(model: Identity) -> Iterator[tuple[str, SensitivityTable]]:
    """Yield the model's own tables, the newest last."""
    for name, table in reversed(list(table_files.of_architecture(model.fingerprint))):
        if is_recorded(table) and table.metadata.get("weights") == model.weights:
            yield name, table


def save(table: SensitivityTable) -> tuple[str, SensitivityTable]:
    """Write what a run has measured, added to what others have; return its name and the whole table.

    Raises OSError where the disk refuses, and TableError for a table that can't be written.
    """
    folder = Path(folder_paths.get_folder_paths(FOLDER)[0]) / SUBFOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=SECONDS_TO_WAIT)
    try:
        with lock:
            return _save(table, folder)
    except filelock.Timeout as error:
        raise OSError(None, "another server is writing there") from error


def _save(table: SensitivityTable, folder: Path) -> tuple[str, SensitivityTable]:
    meta = table.metadata
    model = Identity(meta["fingerprint"], meta["weights"])
    earlier = [(name, one) for name, one in _all_of(model) if one.guided is table.guided]
    path, whole = folder / _file_name(table), table
    for name, held in earlier[-1:]:
        path, whole = table_files.path_of(name), joined(held, table)
        if whole is held:
            return name, held
    whole = rounded(replace(whole, metadata={**whole.metadata, "name": path.name}))
    tables.save(whole, path)
    _prune(folder, path)
    return os.path.join(SUBFOLDER, path.name), whole


def _file_name(table: SensitivityTable) -> str:
    """Name a table after its model's file, or its class, and its weights."""
    meta = table.metadata
    stem = Path(meta.get("file", "")).stem or meta.get("model", "model").split(" (")[0]
    readable = _UNUSUAL.sub("_", stem).strip("_.")[:60] or "model"
    return f"{readable} {meta['weights'][:8]}{'' if table.guided else ' cfg 1'}{EXTENSION}"


def _prune(folder: Path, newest: Path) -> None:
    """Delete the oldest measured tables beyond the most that are kept; calibrated ones lie elsewhere."""
    with contextlib.suppress(OSError):
        held = sorted(folder.glob(f"*{EXTENSION}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in held[MOST_FILES:]:
            if path != newest:
                with contextlib.suppress(OSError, TableError):
                    if is_recorded(tables.load(path)):
                        os.unlink(path)
