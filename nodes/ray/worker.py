"""What runs in a worker process: patch its model there, and tell what its last run did.

Nothing here imports ComfyUI's server, and what goes back to ComfyUI is made of plain values: it knows none of
the classes here. Every rank does the same at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import folder_paths
import numpy as np

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.report import as_text
from ...caching.sentences import sentence
from ...calibration.joining import joined
from ...calibration.table import SensitivityTable
from ...pictures.strip import draw_nothing, draw_runs
from ..automatic import Automatic, own_identity
from ..host.audience import Nobody
from ..host.ranks import Ranks
from ..host.wrappers import KEY, without_patch
from ..panel.shown import as_shown
from ..patching import Order, patched
from ..tables import own
from ..tables.choice import FILE, Choice
from ..tables.embedded import from_text
from ..tables.files import EXTENSION, FOLDER, RESEARCH
from ..tables.own import Identity


@dataclass(slots=True)
class _Kept:
    """What a rank has measured, by whether guided, and whether it is just looking for that."""

    tables: dict[bool, tuple[str, SensitivityTable]] = field(default_factory=dict)
    saved: bool = False


@dataclass(frozen=True, slots=True)
class OfRanks(Automatic):
    """The model's own table, as the first rank knows the model; it writes what all of them measure.

    The others keep what they measured: on another machine they may never see its file.
    """

    kept: _Kept = field(default_factory=_Kept)

    def identity(self, model: Any) -> Identity:
        """Return the first rank's: of weights that are spread over cards, each has its own part.

        It is asked for where a model is patched and where a run begins, which every rank does. At a run's end
        nobody asks: there one rank may have something to save that another could not measure.
        """
        mine, ranks = own_identity(model), Ranks.find()
        if ranks is None or self.kept.saved:
            self.kept.saved = False
            return mine
        return ranks.from_first(mine)

    def of_model(
        self, model: Any, guided: bool | None = None, timesteps: tuple[float, ...] = ()
    ) -> Choice | None:
        """Look the model's table up, else return what this rank has measured of it."""
        found = Automatic.of_model(self, model, guided, timesteps)
        held = self.kept.tables.get(bool(guided)) if found is None else None
        return found if held is None else Choice(held[1], held[0], FILE)

    def save(self, table: SensitivityTable) -> tuple[str, SensitivityTable]:
        """Keep what a run has measured; raises OSError and TableError where the first rank can't write it."""
        ranks = Ranks.find()
        if ranks is None or ranks.first:
            found = own.save(table)
        else:
            name, held = self.kept.tables.get(table.guided, ("measured here", None))
            found = name, table if held is None else joined(held, table)
            self.kept.tables[table.guided] = found
        self.kept.saved = True
        return found


def patch(
    model: Any, node: str, order: dict[str, Any], folders: Sequence[str], connected: str | None = None
) -> Any:
    """Return a patched clone of the worker's ModelPatcher; without a patch where reuse is off.

    `order` holds the fields of an `Order` and of its config, `folders` are ComfyUI's table folders, and
    `connected` is a table as text. Raises ValueError in one sentence of the `node`.
    """
    folder_paths.folder_names_and_paths[FOLDER] = (list(folders), {EXTENSION, RESEARCH})
    wanted = Order(**{**order, "config": SenCacheConfig(**order["config"])})
    if not wanted.config.reuses:
        return without_patch(model)
    table = None if connected is None else from_text(connected)
    return patched(node, model, wanted, OfRanks(wanted.config, wanted.measure), Nobody(), table)


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
