"""When measured tables were last used, noted in a file beside them.

A file's own times do not tell: systems disagree on when reading one counts, and looking a table up reads all.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path

from ...calibration.checks import TableError
from ...calibration.files import read_small, write_whole

NOTES = ".used"
SECONDS_APART = 3600.0  # so that most runs write nothing


def mark_used(path: Path) -> None:
    """Note that a table is in use; nothing happens where the disk refuses."""
    with contextlib.suppress(OSError):
        noted, now = _noted(path.parent), time.time()
        if not 0 <= now - noted.get(path.name, -math.inf) < SECONDS_APART:
            kept = {name: at for name, at in noted.items() if (path.parent / name).is_file()}
            write_whole(path.with_name(NOTES), json.dumps({**kept, path.name: now}).encode())


def last_used(folder: Path) -> dict[Path, float]:
    """Return when each table of a folder was last used or written, in seconds; links are left out."""
    noted, now = _noted(folder), time.time()
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if not path.is_symlink():
                used = noted.get(path.name, -math.inf)
                found[path] = max(path.stat().st_mtime, used if used <= now else -math.inf)
    return found


def _noted(folder: Path) -> dict[str, float]:
    """Read the notes, as far as they are what is written here."""
    path = folder / NOTES
    with contextlib.suppress(TableError, OSError, ValueError, OverflowError, RecursionError):
        if path.is_file() and not path.is_symlink():
            held = json.loads(read_small(path))
            if isinstance(held, dict):
                return {name: float(at) for name, at in held.items() if _is_name_of(name, at)}
    return {}


def _is_name_of(name: str, at: object) -> bool:
    """Tell whether a note can be one: what is no plain name leads out of the folder."""
    number = isinstance(at, int | float) and not isinstance(at, bool)
    return number and math.isfinite(float(at)) and Path(name).name == name
