"""What a run asks for its table: whoever patches a model knows where tables are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ...caching.notes import Note
from ...calibration.table import SensitivityTable


class Found(Protocol):
    """A table with its name, and what a person should know of it."""

    @property
    def table(self) -> SensitivityTable: ...
    @property
    def name(self) -> str: ...
    @property
    def notes(self) -> tuple[Note, ...]: ...
    @property
    def foreign(self) -> bool: ...


class TableSource(Protocol):
    """Gives a run its table; `measures` tells whether runs may measure what is missing."""

    @property
    def measures(self) -> bool: ...

    def find(self, guider: Any, timesteps: Sequence[float]) -> Found | None:
        """Return the table for a guider's run over model times, None where it is to be measured.

        Raises TableError where there is none and none can be measured.
        """

    def next_of(
        self, guider: Any, timesteps: Sequence[float], saved: tuple[str, SensitivityTable]
    ) -> Found | None:
        """Return what the next such run will find, now that this one has `saved` its name and table."""

    def save(self, table: SensitivityTable) -> tuple[str, SensitivityTable]:
        """Keep what a run has measured; return its name, and all that is known now.

        Raises OSError where the disk refuses, and TableError for a table that can't be written.
        """
