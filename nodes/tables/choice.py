"""Which table a node uses when the workflow brings one along: the text wins, unless a file says the same."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

from ...caching.notes import Note
from ...calibration.recording import is_recorded
from ...calibration.table import SensitivityTable, TableError
from . import files as table_files
from .embedded import condensed, from_text, name_of
from .own import SUBFOLDER, Identity, find

_read = functools.lru_cache(8)(from_text)  # the panel asks at every move of its slider; tables never change

AUTOMATIC = "automatic"
CONNECTED, FILE, EMBEDDED = "connected", "file", "embedded"


@dataclass(frozen=True, slots=True)
class Choice:
    """The table that is used, its name, where it comes from, and what a person should know about that.

    A `foreign` one is of another model, so that nothing can be predicted with it.
    """

    table: SensitivityTable
    name: str
    source: str
    notes: tuple[Note, ...] = ()
    foreign: bool = False


def file_choice(name: str) -> Choice:
    """Choose a table file by its listed name; raises TableError."""
    return Choice(table_files.CACHE.load(table_files.path_of(name)), name, FILE)


def embedded_choice(text: str, selected: str) -> Choice | None:
    """Choose between the embedded table and a file; None where another file was selected and is there.

    The local file of the same name is used where it holds the same table, and otherwise the embedded one is,
    with a note. Raises TableError for a text that can't be used.
    """
    embedded = _read(text)
    name = name_of(embedded)
    if selected not in (AUTOMATIC, name) and _local(selected) is not None:
        return None
    local = _local(name)
    if local is None:
        return Choice(embedded, name, EMBEDDED)
    if condensed(local, name) == condensed(embedded, name):
        return Choice(local, name, FILE)
    return Choice(embedded, name, EMBEDDED, (Note("embedded_differs", {"name": name}),))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `automatic` looks for: the model, whether the run is `guided` (None where that is not known yet)
    and its model times, whether the rule needs `sensitivities`, and whether a run `measures` what is missing.
    """

    model: Identity
    guided: bool | None = None
    timesteps: tuple[float, ...] = ()
    sensitivities: bool = False
    measures: bool = True


def automatic_choice(wanted: Wanted) -> Choice | None:
    """Choose a model's table: calibrated on its weights, else measured by its own runs; None for neither.

    Where runs do not measure, one that was calibrated on other weights of the same architecture will do.
    """
    there = list(table_files.of_architecture(wanted.model.fingerprint))
    if wanted.sensitivities:
        there = [(name, table) for name, table in there if table.has_sensitivities]
    calibrated = [(name, table) for name, table in there if not is_recorded(table)]
    weights = wanted.model.weights
    same = [one for one in calibrated if one[1].metadata.get("weights", weights) == weights]
    own = None if wanted.sensitivities else find(wanted.model, bool(wanted.guided), wanted.timesteps)
    fitting = [one for one in same if one[1].guided or not wanted.guided]
    found = next(iter(fitting), own) or next(iter(same), None)
    if found is None and calibrated and not wanted.measures:
        found = calibrated[0]
    return None if found is None else Choice(found[1], found[0], FILE)


def measured_of_file(name: str) -> Choice | None:
    """Return what runs have measured of the model in a file of this name, as far as a name can tell.

    Of several a table with guidance, which serves every run.
    """
    stem, found = Path(name).stem, None
    for listed in table_files.names():
        if Path(listed).parent.name == SUBFOLDER:
            with contextlib.suppress(TableError):
                table = table_files.CACHE.load(table_files.path_of(listed))
                own = is_recorded(table) and Path(table.metadata.get("file", "")).stem == stem != ""
                if own and (found is None or table.guided and not found.table.guided):
                    found = Choice(table, listed, FILE)
    return found


def _local(name: str) -> SensitivityTable | None:
    """Load a local file, None where there is none or it can't be used."""
    try:
        return table_files.CACHE.load(table_files.path_of(name))
    except TableError:
        return None
