"""Turns whatever went wrong with an input into one sentence that a person can read."""

from __future__ import annotations

from typing import Any

from ..caching.notes import Note
from ..caching.sentences import NotedError, sentence
from ..calibration.table import TableError

LONGEST = 400


class NotedTableError(NotedError, TableError):
    """A table that can't be used or written, as a note."""


def refusal(node: str, error: Exception) -> str:
    """Return an error as one printable sentence of a node, however long or odd the value that it quotes."""
    return f"{node}: {_shortened(str(error))}."


def problem(why: Note | Exception) -> dict[str, Any]:
    """Return what a panel shows in an answer's place, JSON-ready.

    `text` is the English sentence, for whoever asks without a page; the page's own is found by `code` and
    `values`. An error of no note has an empty code.
    """
    note = why if isinstance(why, Note) else getattr(why, "note", None)
    text = f"{_shortened(sentence(why) if isinstance(why, Note) else str(why))}."
    return {"text": text, **(note or Note("")).as_dict()}


def quoted(text: str, most: int = 60) -> str:
    """Return the beginning of a stranger's text as something to print."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


def _shortened(text: str) -> str:
    """Return a sentence without its full stop, cut in the middle where it is long."""
    shown = quoted(text, len(text)).rstrip(".")
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]} ... {shown[-LONGEST // 2 :]}"
