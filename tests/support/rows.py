"""Rows of results: the clips and errors that they hold, and files with one row a line.

So a difference of two files shows which row has changed.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


PROMPTS = (3, 4, 6, 7, 9, 10, 11, 13)  # on which neither a first run nor a shipped table is measured
CLIPS = [(prompt, seed + 10 * prompt) for prompt in PROMPTS for seed in (700, 701)]


def errors(clips: Sequence[Any], references: Sequence[Any]) -> list[float]:
    """Return each clip's rms error against its reference."""
    pairs = zip(clips, references, strict=True)
    return [round(float((a - b).square().mean().sqrt()), 6) for a, b in pairs]


def rms(row: Row) -> float:
    """Return the root mean square of a row's errors over its clips."""
    return math.sqrt(statistics.fmean(one**2 for one in row["errors"]))


def write_rows(path: Path, rows: Iterable[Row], **about: Any) -> None:
    """Write rows, one a line in the order given, after what holds for all of them."""
    head = json.dumps({**about, "rows": []}).removesuffix("]}")
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f"{head}\n{lines}\n]}}\n", encoding="utf-8")


def read_rows(path: Path) -> tuple[list[Row], Row]:
    """Read the rows, and what holds for all of them."""
    about = json.loads(path.read_text(encoding="utf-8"))
    return about.pop("rows"), about
