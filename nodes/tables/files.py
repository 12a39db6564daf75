"""Where tables live: the user's folder, the pack's own, and how a name becomes a path inside them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import folder_paths

from ...caching.notes import Note
from ...calibration import table as tables
from ...calibration.research_npz import load_by_name
from ...calibration.table import SensitivityTable, TableError
from ..refusals import NotedTableError, quoted

FOLDER = "sencache"
EXTENSION = ".safetensors"
RESEARCH = ".npz"  # the authors' own tables, which are only read
PARTIAL = ".unfinished"
SHIPPED = Path(__file__).resolve().parents[2] / "tables"
_NAME = re.compile(r"[\w][\w .()+-]{0,99}", re.ASCII)
_DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def register_folders() -> None:
    """Tell ComfyUI where tables are; saving goes to `models/sencache`, so an update loses nothing."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER), is_default=True)
    folder_paths.add_model_folder_path(FOLDER, str(SHIPPED))
    folders, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (folders, {EXTENSION, RESEARCH})


def names() -> list[str]:
    """Return the names of all table files, as the node's list shows them."""
    try:
        return folder_paths.get_filename_list(FOLDER)
    except FileNotFoundError:  # a folder that the host remembers has been deleted since
        folder_paths.filename_list_cache.pop(FOLDER, None)
        return folder_paths.get_filename_list(FOLDER)


def path_of(name: str) -> Path:
    """Find a table file by its listed name; raises TableError if there is none inside the table folders."""
    shown = quoted(name, 100)
    # The host takes '..' for the folder itself, and so would find 'x' under the name '../x'.
    plain = len(name) <= 255 and not {"", ".", ".."} & set(re.split(r"[\\/]", name))
    plausible = plain and name.endswith((EXTENSION, RESEARCH))
    found = folder_paths.get_full_path(FOLDER, name) if plausible else None
    if found is None:
        raise NotedTableError(Note("table_gone", {"name": shown}))
    real = os.path.realpath(found)
    for folder in folder_paths.get_folder_paths(FOLDER):
        root = os.path.realpath(folder)
        with contextlib.suppress(ValueError):  # paths on two drives have no common path
            if os.path.commonpath([root, real]) == root:
                return Path(real)
    raise NotedTableError(Note("table_outside", {"name": shown}))


def stamp(listed: Sequence[str] | None = None) -> str:
    """Hash which table files there are, or how those of these names are, without reading them.

    Raises TableError and OSError for a name whose file is gone; of all files, a link to nowhere is left out.
    """
    hashed = hashlib.sha256()
    forgiven = (TableError, OSError) if listed is None else ()
    for name in names() if listed is None else listed:
        with contextlib.suppress(*forgiven):
            path = path_of(name)
            stat = path.stat()
            # a file's name may be no valid text
            hashed.update(f"{path}:{stat.st_mtime_ns}:{stat.st_size}\n".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


def load(path: Path) -> SensitivityTable:
    """Load a table file for a person who chose it; raises TableError."""
    try:
        return load_by_name(path) if path.suffix == RESEARCH else tables.load(path)
    except TableError as error:
        why = str(error.__cause__ or error)  # without the file's name
        raise NotedTableError(Note("table_unusable", {"name": path.name, "why": why})) from error


@dataclass(slots=True)
class TableCache:
    """The tables asked for last, so that each is read once; the longest unasked goes first."""

    size: int = 128
    _held: OrderedDict[tuple[Any, ...], SensitivityTable] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)  # runs and the panel's thread ask

    def load(self, path: Path) -> SensitivityTable:
        """Load a table file, or return it as it was loaded before; raises TableError."""
        try:
            stat = path.stat()
        except OSError as error:
            raise TableError(error.strerror or type(error).__name__) from error
        key = (str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            table = self._held.get(key)
            if table is None:
                table = self._held[key] = load(path)
                while len(self._held) > self.size:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
        return table


CACHE = TableCache()


@dataclass(frozen=True, slots=True)
class SaveTarget:
    """Where a calibration is written: the finished table, and the samples finished so far."""

    name: str
    path: Path
    partial: Path


def save_target(name: str) -> SaveTarget:
    """Turn a typed name into a place in the user's folder; raises TableError for one no file should have."""
    stem = name.strip().removesuffix(EXTENSION)
    device = stem.split(".")[0].strip().lower() in _DEVICE_NAMES
    if not _NAME.fullmatch(stem) or stem.rstrip(" .") != stem or device:
        raise NotedTableError(Note("table_name", {"name": quoted(name)}))
    folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
    return SaveTarget(stem + EXTENSION, folder / (stem + EXTENSION), folder / (stem + PARTIAL))


def held(target: SaveTarget) -> SensitivityTable | None:
    """Load the table that a new one would replace, None where there is none that can be read."""
    with contextlib.suppress(TableError, OSError):
        return tables.load(target.path) if target.path.is_file() else None
    return None


def load_earlier(target: SaveTarget, metadata: Mapping[str, str]) -> SensitivityTable | None:
    """Load the samples that an earlier calibration of this name and the same settings has finished.

    Those of a cancelled calibration and those of a whole one count alike; whichever holds more samples is
    returned.
    """
    found = []
    for path in (target.path, target.partial, _own_partial(target, metadata)):
        with contextlib.suppress(TableError):
            table = tables.load(path)
            if dict(table.metadata) == dict(metadata):
                found.append(table)
    return max(found, key=lambda table: table.num_samples, default=None)


def _own_partial(target: SaveTarget, metadata: Mapping[str, str]) -> Path:
    """Return where samples wait while the partial file holds those of a calibration with other settings."""
    settings = hashlib.sha256(json.dumps(sorted(metadata.items())).encode()).hexdigest()[:8]
    return target.partial.with_name(f"{target.path.stem}.{settings}{PARTIAL}")


def _holds_others(path: Path, table: SensitivityTable) -> bool:
    """Tell whether a file holds samples that are not in a table: of other settings, or more of the same."""
    with contextlib.suppress(TableError):
        held = tables.load(path)
        return dict(held.metadata) != dict(table.metadata) or held.num_samples > table.num_samples
    return False


def save_partial(target: SaveTarget, table: SensitivityTable) -> None:
    """Keep the samples finished so far, beside those of any other calibration of this name."""
    own = _own_partial(target, table.metadata)
    tables.save(table, own if _holds_others(target.partial, table) else target.partial)


_saved: set[Path] = set()
_deleted: Counter[Path] = Counter()


def deletions(path: Path) -> int:
    """Return how often a table that was saved here has been found deleted since, as of now."""
    if path in _saved and not path.exists():
        _saved.discard(path)
        _deleted[path] += 1
    return _deleted[path]


def save_finished(target: SaveTarget, table: SensitivityTable) -> None:
    """Write the finished table and drop the partial one; those of other calibrations stay."""
    tables.save(table, target.path)
    _saved.add(target.path)
    for path in (target.partial, _own_partial(target, table.metadata)):
        if not _holds_others(path, table):
            path.unlink(missing_ok=True)


def of_architecture(fingerprint: str) -> Iterator[tuple[str, SensitivityTable]]:
    """Yield the names and tables measured on models with this fingerprint: user's own, newest first."""
    found = []
    for name in names():
        with contextlib.suppress(TableError, OSError):
            path = path_of(name)
            if path.suffix == RESEARCH:  # these are of no one model
                continue
            table = CACHE.load(path)
            if table.metadata.get("fingerprint") == fingerprint:
                found.append((path.is_relative_to(SHIPPED), -path.stat().st_mtime, name, table))
    for *_, name, table in sorted(found, key=lambda one: one[:3]):
        yield name, table
