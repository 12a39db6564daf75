"""Chooses the table of a panel's question as the node will, as far as that is known before the run."""

from __future__ import annotations

import math
from dataclasses import replace

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.rules import PLAN
from ...calibration.recording import is_recorded
from ...calibration.research_npz import FAMILY_KEY
from ...calibration.table import SensitivityTable
from ..refusals import NotedTableError
from ..tables import files as table_files
from ..tables.choice import (
    AUTOMATIC,
    FILE,
    Choice,
    Wanted,
    automatic_choice,
    embedded_choice,
    file_choice,
    measured_of_file,
)  # fmt: skip
from ..tables.own import Identity, find
from .schedule import ScheduleCache
from .wire import PlanQuestion, Sampling


def choose(question: PlanQuestion, config: SenCacheConfig, schedules: ScheduleCache) -> Choice | None:
    """Return the workflow's own table, the chosen one, or the model's; None where the run will measure one.

    Raises TableError for a table that is gone, can't be used, or is known to be of another model.
    """
    names = question.tables
    if question.embedded.strip():
        selected = names[0] if names and names[0] != AUTOMATIC else AUTOMATIC
        brought = embedded_choice(question.embedded, selected)
        if brought is not None:
            return _of_the_model(brought, question)
    if not names:
        return None
    if question.connected and len(names) > 1:
        return file_choice(names[1]) if names[1] in table_files.names() else None
    if names[0] != AUTOMATIC:
        return _of_the_model(file_choice(names[0]), question)  # or says that it is gone
    return _automatic(question, config, schedules)


def _automatic(question: PlanQuestion, config: SenCacheConfig, schedules: ScheduleCache) -> Choice | None:
    """Return the model's own table; where no run has told the model yet, names are all there is to go by."""
    known = question.model
    if known is not None:
        needs = config.reuses and config.rule != PLAN
        measures = bool(question.settings.get("measure", True)) and not needs
        model = Identity(known.fingerprint, known.weights)
        wanted = Wanted(model, _guided(question.sampling), (), needs, measures)
        return _as_the_run(automatic_choice(wanted), question.sampling, schedules)
    present = set(table_files.names())
    for name in question.tables:
        found = file_choice(name) if name in present else measured_of_file(name)
        found = _as_the_run(found, question.sampling, schedules)
        if found is not None:
            return found
    return None


def _of_the_model(choice: Choice, question: PlanQuestion) -> Choice:
    """Refuse a table that is known to be of another model, as the run will; with any_model, say so."""
    known, table = question.model, choice.table
    measured = table.metadata.get("fingerprint", "")
    if known is None or FAMILY_KEY in table.metadata or measured == known.fingerprint:
        return replace(choice, notes=(*choice.notes, *_unsure(question)))
    values = {"table": choice.name, "model": table.metadata.get("model", "")[:200]}
    if not question.settings.get("any_model"):
        raise NotedTableError(Note("another_model", values))
    return replace(choice, foreign=True, notes=(*choice.notes, Note("foreign", values)))


def _unsure(question: PlanQuestion) -> list[Note]:
    """Say so where the table may be of another model, and nothing tells yet."""
    unknown = question.model is None and bool(question.settings.get("any_model"))
    return [Note("perhaps_foreign")] if unknown else []


def _guided(sampling: Sampling) -> bool | None:
    return None if sampling.cfg is None else not math.isclose(sampling.cfg, 1.0)


def _as_the_run(
    choice: Choice | None, sampling: Sampling, schedules: ScheduleCache
) -> Choice | None:
    """Choose among what a model's runs have measured as the next run will: a guided one needs both branches.

    A later stage without guidance has a table of its own. None where the next run will measure.
    """
    guided = _guided(sampling)
    if choice is None or guided is None or not is_recorded(choice.table):
        return choice
    found = find(_identity(choice.table), guided, schedules.of(choice.table, sampling).points.timesteps)
    return None if found is None else Choice(found[1], found[0], FILE)


def _identity(table: SensitivityTable) -> Identity:
    return Identity(table.metadata.get("fingerprint", ""), table.metadata.get("weights", ""))
