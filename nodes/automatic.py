"""Where a patched model's run finds its table: one that was chosen, or the model's own, looked up anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..caching.config import SenCacheConfig
from ..caching.notes import Note
from ..caching.rules import PLAN
from ..calibration.research_npz import FAMILY_KEY
from ..calibration.table import SensitivityTable, TableError
from .host.guidance import is_guided
from .host.model_identity import fingerprint, loras_digest, readable_name, weights_digest
from .refusals import NotedTableError
from .tables import own
from .tables.choice import Choice, Wanted, automatic_choice
from .tables.lookups import LOOKUPS
from .tables.own import Identity


@dataclass(frozen=True, slots=True)
class Chosen:
    """The table that the node was given."""

    choice: Choice
    measures: bool = False

    def find(self, guider: Any, timesteps: Sequence[float]) -> Choice:
        """Return it, with a note where it is of another model than the run's, or of other weights."""
        model, table = guider.model_patcher, self.choice.table
        if not of_this_model(model, table):
            values = {"table": self.choice.name, "model": table.metadata.get("model", "")[:200]}
            return replace(self.choice, foreign=True, notes=(*self.choice.notes, Note("foreign", values)))
        notes = _of_weights(table, lambda: weights_digest(model))
        return replace(self.choice, notes=(*self.choice.notes, *notes))

    def next_of(self, guider: Any, timesteps: Sequence[float], saved: Any) -> Choice:
        """Return it: nothing changes it."""
        return self.choice

    def save(self, table: SensitivityTable) -> tuple[str, SensitivityTable]:
        """Never asked for: nothing is measured."""
        raise TableError("nothing is measured where a table was chosen")


@dataclass(frozen=True, slots=True)
class Automatic:
    """The model's own table, as it is when a run begins: a run before may just have measured it."""

    config: SenCacheConfig
    measures: bool = True
    workflow: str | None = None  # what leads to the model, where that is known

    def find(self, guider: Any, timesteps: Sequence[float]) -> Choice | None:
        """Look the table up by the weights that the run samples with."""
        return self.of_model(guider.model_patcher, is_guided(guider), tuple(timesteps))

    def next_of(
        self, guider: Any, timesteps: Sequence[float], saved: tuple[str, SensitivityTable]
    ) -> Choice | None:
        """Look it up again: what was saved may not be what is found."""
        return self.find(guider, timesteps)

    def save(self, table: SensitivityTable) -> tuple[str, SensitivityTable]:
        """Keep what a run has measured; raises OSError and TableError."""
        return own.save(table)

    def known(self, model: Any) -> Choice | None:
        """Look a model's table up before any run; raises TableError as `of_model` does."""
        return self.of_model(model)

    def of_model(
        self, model: Any, guided: bool | None = None, timesteps: tuple[float, ...] = ()
    ) -> Choice | None:
        """Look a model's table up; raises TableError where there is none and none can be measured."""
        needs = self.config.reuses and self.config.rule != PLAN
        measures = self.measures and not needs
        identity = own_identity(model)
        wanted = Wanted(identity, guided, timesteps, needs, measures)
        found = automatic_choice(wanted)
        if self.workflow is not None:
            LOOKUPS.note(self.workflow, wanted, found)
        if found is not None:
            own.mark_used(found.name)
            notes = (*_of_weights(found.table, lambda: identity.weights), *_of_loras(found.table, model))
            return replace(found, notes=(*found.notes, *notes))
        if needs:
            raise NotedTableError(Note("no_sensitivities", {"rule": self.config.rule}))
        if not measures:
            raise NotedTableError(Note("not_measured", {"model": readable_name(model)}))
        return None


def own_identity(model: Any) -> Identity:
    """Return what ties tables to a ModelPatcher's model."""
    return Identity(fingerprint(model), weights_digest(model))


def of_this_model(model: Any, table: SensitivityTable) -> bool:
    """Tell whether a table was measured on a model's architecture; the authors' tables name a family only."""
    measured, family = table.metadata.get("fingerprint"), table.metadata.get(FAMILY_KEY)
    return family in type(model.model).__name__.lower() if family else measured == fingerprint(model)


def _of_weights(table: SensitivityTable, weights: Callable[[], str]) -> Iterator[Note]:
    """Say so where a table is of another fine-tune; one that does not tell its weights may be of these.

    The model's `weights` are read only where they are compared.
    """
    if "weights" in table.metadata and table.metadata["weights"] != weights():
        yield Note("other_weights")


def _of_loras(table: SensitivityTable, model: Any) -> Iterator[Note]:
    if table.metadata.get("loras", "") != loras_digest(model):
        yield Note("other_loras")
