"""Takes in a table file from another machine: added to the one that is here, or kept beside it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import torch

from ...caching.notes import Note
from ...calibration import table as tables
from ...calibration.files import MAX_FILE_BYTES
from ...calibration.recording import is_recorded
from ...calibration.rounding import rounded
from ...calibration.table import SensitivityTable, TableError, merge
from ..refusals import NotedTableError
from ..tables import files as table_files
from ..tables import own
from .live import tell_measured
from .wire import TakenTold, TakeQuestion

MAX_BODY = MAX_FILE_BYTES * 4 // 3 + 64 * 1024  # of a question: a file as text
_DIGEST = re.compile(r"[0-9a-f]{16}")
# What may differ where tables join: other prompts and seeds are what more samples are for.
_OWN = {"name", "seed", "conditioning", "file", "measured_samples"}


def take(question: TakeQuestion) -> TakenTold:
    """Take in a table file.

    A calibration joins one of the same model and settings, whatever its prompt and seed, and what a run has
    measured joins what others have; anything else is kept under its own name. Raises TableError for a
    file that can't be used, and OSError where the disk refuses.
    """
    table = _read(question.data)
    taken = _of_run(table) if is_recorded(table) else _calibrated(table)
    tell_measured(taken.name)
    return taken


def _of_run(table: SensitivityTable) -> TakenTold:
    digests = [table.metadata.get(key, "") for key in ("fingerprint", "weights")]
    if not (all(map(_DIGEST.fullmatch, digests)) and own.usable(table)):
        raise NotedTableError(Note("taken_unusable", {"why": "it names no model, or holds no whole run"}))
    names, before = set(table_files.names()), table_files.stamp()
    name, whole = own.save(table)
    there = table_files.stamp() == before
    return TakenTold(name=Path(name).name, samples=whole.num_samples, merged=name in names, there=there)


def _read(text: str) -> SensitivityTable:
    try:
        return tables.from_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        why = str(error) if isinstance(error, TableError) else "it is not a table file"
        raise NotedTableError(Note("taken_unusable", {"why": why})) from error


def _calibrated(table: SensitivityTable) -> TakenTold:
    for target, held in _alike(table):
        if _shares_samples(held, table):
            return TakenTold(name=target.name, samples=held.num_samples, merged=True, there=True)
        whole = rounded(merge(held, table))
        tables.save(whole, target.path)
        return TakenTold(name=target.name, samples=whole.num_samples, merged=True, there=False)
    target = table_files.save_target(table.metadata.get("name", "table of another machine"))
    held = table_files.held(target)
    if target.path.exists() and held != table:
        raise NotedTableError(Note("table_exists", {"name": target.name}))
    if held is None:
        tables.save(table, target.path)
    return TakenTold(name=target.name, samples=table.num_samples, merged=False, there=held is not None)


def _alike(table: SensitivityTable) -> Iterator[tuple[table_files.SaveTarget, SensitivityTable]]:
    """Yield the user's own calibrations that a table can be merged with; one of its own name comes first."""
    folder = Path(folder_paths.get_folder_paths(table_files.FOLDER)[0]).resolve()
    there = [
        (path, held)
        for name, held in table_files.of_architecture(table.metadata.get("fingerprint", ""))
        if (path := table_files.path_of(name)).parent == folder and not is_recorded(held)
    ]
    for path, held in sorted(there, key=lambda one: one[0].name != table.metadata.get("name")):
        same = _settings(held) == _settings(table)
        knots = torch.equal(held.timestep, table.timestep) and torch.equal(held.sigma, table.sigma)
        modes = held.modes is not None and table.modes is not None
        if same and knots and modes and held.rows.keys() == table.rows.keys():
            yield table_files.save_target(path.name), held


def _settings(table: SensitivityTable) -> dict[str, str]:
    return {key: value for key, value in table.metadata.items() if key not in _OWN}


def _shares_samples(held: SensitivityTable, table: SensitivityTable) -> bool:
    """Tell whether some of a table's samples are in another one: merged twice, they would count twice."""
    name = next(iter(held.rows))
    mine = {tuple(row) for row in held.rows[name].tolist()}
    return any(tuple(row) in mine for row in table.rows[name].tolist())
