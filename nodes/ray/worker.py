"""What runs in a worker process: patch its model there, and tell what its last run did.

Nothing here imports ComfyUI's server, and what goes back to ComfyUI is made of plain values: it knows none of
the classes here. Every rank does the same at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import folder_paths
import numpy as np

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.report import as_text
from ...caching.sentences import sentence
from ...calibration import table as tables
from ...calibration.table import SensitivityTable, TableError
from ...pictures.strip import draw_nothing, draw_runs
from ..automatic import Automatic
from ..host.audience import Nobody
from ..host.ranks import Ranks
from ..host.wrappers import KEY, without_patch
from ..panel.shown import as_shown
from ..patching import Order, patched
from ..tables import own
from ..tables.choice import FILE, Choice
from ..tables.files import EXTENSION, FOLDER, RESEARCH


@dataclass(frozen=True, slots=True)
class OfRanks(Automatic):
    """The model's own table: the first rank looks it up at a run's beginning, and writes what was measured.

    The others take what it has found. They may have other folders, and of weights that are spread over GPUs
    only the first one's part tells the model.
    """

    together: bool = True

    def known(self, model: Any) -> Choice | None:
        """Know nothing before a run: the weights may not be loaded yet."""
        return None

    def find(self, guider: Any, timesteps: Sequence[float]) -> Choice | None:
        """Return what the first rank finds; raises TableError on every rank where that one does."""
        ranks = Ranks.find() if self.together else None
        if ranks is None:
            return Automatic.find(self, guider, timesteps)
        told = ranks.from_first(self._told(guider, timesteps) if ranks.first else None)
        if isinstance(told, str):
            raise TableError(told)
        if told is None:
            return None
        name, data, notes = told
        return Choice(tables.from_bytes(data), name, FILE, tuple(Note(*one) for one in notes))

    def _told(self, guider: Any, timesteps: Sequence[float]) -> Any:
        """Find the table as it is told to the others: its name, bytes and notes, or why there is none."""
        try:
            found = Automatic.find(self, guider, timesteps)
        except TableError as error:
            return str(error)
        if found is None:
            return None
        return found.name, tables.to_bytes(found.table), [(one.code, dict(one.values)) for one in found.notes]

    def next_of(
        self, guider: Any, timesteps: Sequence[float], saved: tuple[str, SensitivityTable]
    ) -> Choice | None:
        """Return what was saved, without asking: at a run's end another rank may have nothing to save."""
        return Choice(saved[1], saved[0], FILE)

    def save(self, table: SensitivityTable) -> tuple[str, SensitivityTable]:
        """Let the first rank write what a run has measured; raises OSError and TableError where it can't."""
        ranks = Ranks.find() if self.together else None
        return own.save(table) if ranks is None or ranks.first else ("measured by all", table)


def patch(
    model: Any,
    node: str,
    order: dict[str, Any],
    folders: Sequence[str],
    connected: bytes | None = None,
    together: bool = True,
) -> Any:
    """Return a patched clone of the worker's ModelPatcher; without a patch where reuse is off.

    `order` holds the fields of an `Order` and of its config, `folders` are ComfyUI's table folders, and
    `connected` are a table's bytes. The ranks of the worker's process group sample `together`, or each for
    itself. Raises ValueError in one sentence of the `node`.
    """
    folder_paths.folder_names_and_paths[FOLDER] = (list(folders), {EXTENSION, RESEARCH})
    wanted = Order(**{**order, "config": SenCacheConfig(**order["config"])})
    if not wanted.config.reuses:
        return unpatch(model)
    table = None if connected is None else tables.from_bytes(connected)
    source = OfRanks(wanted.config, wanted.measure, together=together)
    return patched(node, model, wanted, source, Nobody(), table, together)


def unpatch(model: Any) -> Any:
    """Return a clone of the worker's ModelPatcher without the pack's patch."""
    return without_patch(model)


def report(model: Any) -> dict[str, Any]:
    """Return the last run's report: its `text`, a `picture [H, W, 3]`, and the `run` as a page is told."""
    sink = model.get_attachment(KEY)
    if sink is None or not sink.records:
        note = Note("not_patched" if sink is None else "not_sampled")
        text = sentence(note)
        return {"text": text, "picture": np.asarray(draw_nothing(text)), "run": None, "note": note.code}
    record = sink.records[-1]
    picture = np.asarray(draw_runs([record]))
    return {"text": as_text(record), "picture": picture, "run": as_shown(record).plain(), "note": None}
