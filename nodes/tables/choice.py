"""Which table a node uses when the workflow brings one along: the text wins, unless a file says the same."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ...caching.notes import Note
from ...calibration.table import SensitivityTable, TableError
from . import files as table_files
from .embedded import condensed, from_text, name_of

_read = functools.lru_cache(8)(from_text)  # the panel asks at every move of its slider; tables never change

AUTOMATIC = "automatic"
CONNECTED, FILE, EMBEDDED = "connected", "file", "embedded"


@dataclass(frozen=True, slots=True)
class Choice:
    """The table that is used, its name, where it comes from, and what a person should know about that."""

    table: SensitivityTable
    name: str
    source: str
    notes: tuple[Note, ...] = ()


def file_choice(name: str) -> Choice:
    """Choose a table file by its listed name; raises TableError."""
    return Choice(table_files.load(table_files.path_of(name)), name, FILE)


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


def _local(name: str) -> SensitivityTable | None:
    """Load a local file, None where there is none or it can't be used."""
    try:
        return table_files.load(table_files.path_of(name))
    except TableError:
        return None
