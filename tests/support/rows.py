"""Files of results with one row a line, so that a difference shows which row has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row], **about: Any) -> None:
    """Write rows, one a line in the order given, after what holds for all of them."""
    head = json.dumps({**about, "rows": []}).removesuffix("]}")
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f"{head}\n{lines}\n]}}\n", encoding="utf-8")


def read_rows(path: Path) -> tuple[list[Row], Row]:
    """Read the rows, and what holds for all of them."""
    about = json.loads(path.read_text(encoding="utf-8"))
    return about.pop("rows"), about
