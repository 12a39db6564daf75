"""Whoever watches runs as they go on: the pages of ComfyUI's server, or nobody where there is no server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...caching.notes import Note
from ...caching.policy import Decision
from ...caching.record import RunRecord


class LiveView(Protocol):
    """One run, watched."""

    def evaluated(self, decision: Decision) -> None:
        """Take note of one more evaluation."""

    def finish(self, record: RunRecord) -> None:
        """Take note of the whole run."""


class Audience(Protocol):
    """Watches the runs of a patched model."""

    def origin(self) -> str | None:
        """Return a hash of all that leads to the node that samples now, None where that is not known."""

    def begin(self, expected: int, notes: Sequence[Note]) -> LiveView | None:
        """Watch a run of about `expected` evaluations; None where nobody looks on."""

    def measured(self, table: str) -> None:
        """Take note of a new table."""


class Nobody:
    """Looks on nowhere, as in a process without ComfyUI's server."""

    def origin(self) -> str | None:
        """Know nothing of nodes."""
        return None

    def begin(self, expected: int, notes: Sequence[Note]) -> LiveView | None:
        """Watch nothing."""
        return None

    def measured(self, table: str) -> None:
        """Have nobody to tell."""
