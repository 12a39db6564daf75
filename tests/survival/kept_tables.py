"""What lies in a folder before and after a run, and that nothing of anybody was lost between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

Content = bytes | None


def held(folder: Path) -> dict[Path, Content]:
    """Return every file and link below a folder with its content, None for what is no small file."""
    found: dict[Path, Content] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path] = os.fsencode(os.readlink(path))
        else:
            small = path.is_file() and path.stat().st_size < 1 << 21
            found[path] = path.read_bytes() if small else None
    return found


def check_kept(store: Any, before: dict[Path, Content], crowded: bool) -> None:
    """Check that nothing elsewhere changed, and that no table and nothing of anybody's was lost."""
    after = held(store.base)
    changed = {path for path in before.keys() | after.keys() if before.get(path, 0) != after.get(path, 0)}
    outside = {path for path in changed if store.measured not in (path, *path.parents)} - {store.tables}
    assert not outside, outside
    assert not [path for path in after if path.suffix == ".saving"], after.keys()
    for path in changed & before.keys():
        ours = is_ours(before[path], store)
        kept = ours and covers(after.get(path), before[path])
        pruned = crowded and (ours or "ours" in path.name)
        assert kept or pruned or is_no_table(before[path]), path


def is_no_table(data: Content) -> bool:
    """Tell whether a file holds nothing that anybody could use."""
    from sencache.calibration.table import TableError, from_bytes

    try:
        from_bytes(data or b"")
    except TableError:
        return True
    return False


def is_ours(data: Content, store: Any) -> bool:
    """Tell whether a file holds what a run of this model has measured."""
    from sencache.calibration.recording import is_recorded
    from sencache.calibration.table import from_bytes

    if is_no_table(data):
        return False
    table, own = from_bytes(data), from_bytes(store.data)
    same = all(table.metadata.get(key) == own.metadata[key] for key in ("weights", "fingerprint"))
    return same and is_recorded(table)


def covers(data: Content, earlier: Content) -> bool:
    """Tell whether a table covers all that an earlier one did."""
    from sencache.calibration.table import from_bytes

    if is_no_table(data):
        return False
    new, old = from_bytes(data).modes, from_bytes(earlier).modes
    return old is None or bool(new.covers(old.timestep.tolist()).all())
