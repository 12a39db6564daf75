"""The tables that a model's own runs have measured: found by its weights, written whole, never too many."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import folder_paths

from ...calibration import table as tables
from ...calibration.joining import joined
from ...calibration.recording import ROWS, is_recorded
from ...calibration.rounding import rounded
from ...calibration.table import SensitivityTable, TableError
from ..host.table_sampling import number_of
from . import files as table_files
from . import usage
from .files import EXTENSION, FOLDER

SUBFOLDER = "measured"
LOCK = ".lock"
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
    """Yield the model's own tables, the newest last; what no run can have written is passed over."""
    for name, table in reversed(list(table_files.of_architecture(model.fingerprint))):
        if is_recorded(table) and table.metadata.get("weights") == model.weights and usable(table):
            yield name, table


def usable(table: SensitivityTable) -> bool:
    """Tell whether a table holds all that a run needs of one that runs have measured."""
    with contextlib.suppress(TableError):
        number_of(table, "cfg", 1.0, low=0.0)
        return table.modes is not None and set(ROWS) <= table.rows.keys()
    return False


def save(table: SensitivityTable) -> tuple[str, SensitivityTable]:
    """Write what a run has measured, added to what others have; return its name and the whole table.

    Raises OSError where the disk refuses, and TableError for a table that can't be written.
    """
    folder = _folder()
    lock = filelock.FileLock(folder / LOCK, timeout=SECONDS_TO_WAIT)
    try:
        with lock:
            return _save(table, folder)
    except filelock.Timeout as error:
        raise OSError(None, "another server is writing there") from error


def mark_used(name: str) -> None:
    """Note that a measured table is in use, so that it stays."""
    with contextlib.suppress(TableError):
        path = table_files.path_of(name)
        if path.parent.name == SUBFOLDER:
            usage.mark_used(path)


def _folder() -> Path:
    """Return the folder of measured tables, made if need be; raises OSError where it leads elsewhere.

    What lies outside the table folders is not read, so a table written there would never be found.
    """
    root = Path(folder_paths.get_folder_paths(FOLDER)[0])
    folder = root / SUBFOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(root.resolve()):
        raise OSError(None, f"the folder '{SUBFOLDER}' is a link to outside of the table folder")
    if (folder / LOCK).is_symlink():  # some versions of filelock would empty the file that it leads to
        raise OSError(None, f"'{SUBFOLDER}/{LOCK}' is a link")
    return folder


def _save(table: SensitivityTable, folder: Path) -> tuple[str, SensitivityTable]:
    meta = table.metadata
    model = Identity(meta["fingerprint"], meta["weights"])
    earlier = [(name, one) for name, one in _all_of(model) if one.guided is table.guided]
    path, whole = None, table
    for name, held in earlier[-1:]:
        whole = joined(held, table)
        if whole is held:
            return name, held
        path = table_files.path_of(name)
    if path is None or path.parent.resolve() != folder.resolve():  # a copy elsewhere stays as it is
        path = _free(folder, table)
    whole = rounded(replace(whole, metadata={**whole.metadata, "name": path.name}))
    tables.save(whole, path)
    _prune(folder, path)
    return os.path.join(SUBFOLDER, path.name), whole


def _free(folder: Path, table: SensitivityTable) -> Path:
    """Return where a table goes that continues no other: over no whole table, whoever put it there."""
    paths = (folder / _file_name(table, number) for number in itertools.count(1))
    return next(path for path in paths if _whole(path) is None)


def _whole(path: Path) -> SensitivityTable | None:
    """Load a table, None where there is none; a pipe is not even opened, which might wait for ever."""
    with contextlib.suppress(TableError, OSError):
        return tables.load(path) if path.is_file() else None
    return None


def _file_name(table: SensitivityTable, number: int = 1) -> str:
    """Name a table after its model's file, or its class, and its weights; numbered from the second on."""
    meta = table.metadata
    stem = Path(meta.get("file", "")).stem or meta.get("model", "model").split(" (")[0]
    readable = _UNUSUAL.sub("_", stem).strip("_.")[:60] or "model"
    which = "" if number == 1 else f" ({number})"
    weights = _UNUSUAL.sub("_", meta["weights"])[:8]
    return f"{readable} {weights}{'' if table.guided else ' cfg 1'}{which}{EXTENSION}"


def _prune(folder: Path, newest: Path) -> None:
    """Delete the measured tables that were not used for longest, beyond the most that are kept.

    What else lies there is left alone.
    """
    with contextlib.suppress(OSError):
        paths = list(folder.glob(f"*{EXTENSION}"))
        if len(paths) <= MOST_FILES:
            return
        used = usage.last_used(folder)
        ours = [path for path in paths if path != newest and path in used and _is_measured(path)]
        ours.sort(key=lambda path: used[path], reverse=True)
        for path in ours[MOST_FILES - 1 :]:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _is_measured(path: Path) -> bool:
    table = _whole(path)
    return table is not None and is_recorded(table)
