"""Words what is said in codes: every language's sentences are in `locales/*/main.json`, and only there."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path

from .notes import Note
from .policy import Reason
from .visibility import visibility

LOCALES = Path(__file__).resolve().parents[1] / "locales"
KEY = "sencache"  # ComfyUI shares a `main.json` among all packs
Texts = Mapping[str, Mapping[str, str]]  # "panel", "reasons", "visibility" and "notes", by name
_GAP = re.compile(r"\{(\w+)\}")


class NotedError(ValueError):
    """Something that can't be done, as a note: the message is its English sentence, a panel has its own."""

    def __init__(self, note: Note) -> None:
        super().__init__(sentence(note).rstrip("."))
        self.note = note


@functools.cache
def texts() -> Mapping[str, Texts]:
    """Return every language's texts, by locale."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))[KEY]
        for path in sorted(LOCALES.glob("*/main.json"))
    }


def reason_text(reason: Reason) -> str:
    """Say in English why an evaluation was computed or reused, as a part of a sentence."""
    return texts()["en"]["reasons"][reason.value]


def visibility_text(error: float) -> str:
    """Say in English what a predicted error looks like."""
    return texts()["en"]["visibility"][visibility(error).value]


def sentence(note: Note) -> str:
    """Word a note in English."""
    return _GAP.sub(lambda gap: str(note.values[gap[1]]), texts()["en"]["notes"][note.code])
