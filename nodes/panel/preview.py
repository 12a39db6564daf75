"""Says before a run what it would do: the panel's questions, answered by the planner that the run follows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...caching.config import SenCacheConfig, Zones
from ...caching.forecast import Forecast
from ...caching.notes import Note
from ...caching.planner import solve
from ...caching.planning.points import RunPoints
from ...caching.planning.search import BestPlans
from ...caching.policy import Policy
from ...caching.remarks import FEW_STEPS, remarks
from ...caching.rules import policy_for
from ...caching.simulate import ExpectedRun, simulate
from ...caching.visibility import visibility
from ...calibration.recording import is_recorded
from ...calibration.table import SensitivityTable, TableError
from ..host.sampling import zones_of
from ..refusals import problem
from ..tables import files as table_files
from ..tables.choice import AUTOMATIC, Choice
from .candidates import choose
from .gains import gains_of, scale_of
from .question import config_of
from .schedule import Schedule, ScheduleCache
from .wire import (
    Cell,
    NoteTold,
    PlanQuestion,
    PlanTold,
    Problem,
    QuestionError,
    Refused,
    Sampling,
    TableTold,
    Told,
)  # fmt: skip


@dataclass(slots=True)
class PlanCache:
    """The plans found last: a moving slider changes which of them is chosen, not the plans.

    Two are held, since a run that needs few evaluations is planned with lines first, then for holding.
    """

    _held: tuple[tuple[tuple[Any, ...], BestPlans], ...] = ()

    def __call__(
        self,
        config: SenCacheConfig,
        zones: Zones,
        table: SensitivityTable,
        points: RunPoints,
        forecast: Forecast,
    ) -> BestPlans:
        """Return what `solve` returns."""
        asked = (zones, config.max_reuse, forecast)
        for (for_table, for_points, *rest), plans in self._held:
            if for_table is table and for_points is points and tuple(rest) == asked:
                return plans
        plans = solve(config, zones, table, points, forecast)
        self._held = (((table, points, *asked), plans), *self._held[:1])
        return plans


MOST_ANSWERS = 32
_PLANS = PlanCache()
_SCHEDULES = ScheduleCache()


@dataclass(slots=True)
class AnswerCache:
    """The answers given last: an open page asks the same again, in case a table came or went."""

    _held: OrderedDict[tuple[str, str], Told] = field(default_factory=OrderedDict)

    def of(self, question: PlanQuestion) -> Told:
        """Return what `_answer` returns."""
        asked = (question.model_dump_json(), table_files.stamp())
        if asked not in self._held:
            self._held[asked] = _answer(question)
            while len(self._held) > MOST_ANSWERS:
                self._held.popitem(last=False)
        self._held.move_to_end(asked)
        return self._held[asked]


_ANSWERS = AnswerCache()


def answer(question: PlanQuestion) -> Told:
    """Return the expected run, or a `problem` in one sentence."""
    try:
        return _ANSWERS.of(question)
    except (TableError, ValueError) as error:
        if isinstance(error, QuestionError):
            raise
        return Refused(problem=Problem(**problem(error)))


def _answer(question: PlanQuestion) -> Told:
    config, sampling = config_of(question.settings), question.sampling
    choice = choose(question, config, _SCHEDULES)
    if choice is None:
        return Refused(problem=Problem(**problem(Note("no_table"))))
    table, schedule = choice.table, _SCHEDULES.of(choice.table, sampling)
    zones = zones_of(schedule.model_sampling, config)
    policy = policy_for(config, zones, table, schedule.points, _PLANS)
    expected = simulate(policy, table, schedule.points)
    notes = [*choice.notes, *_remarks(question, config, policy, choice, schedule)]
    if expected.nfe < len(expected.decisions):
        notes += _unforeseen(sampling, schedule)
    run = (config, zones, table, schedule.points)
    return PlanTold(
        **_expected(expected, choice.foreign),
        governs="exact" if question.settings.get("exact") is True else config.governs,
        gains=[] if choice.foreign else gains_of(run, _PLANS),
        scale=[] if choice.foreign else scale_of(run, _PLANS),
        steps=schedule.steps,
        scheduler=schedule.scheduler,
        steps_known=sampling.steps is not None,
        table=_table_told(choice),
        notes=[NoteTold.of(note) for note in notes],
    )


def _remarks(
    question: PlanQuestion, config: SenCacheConfig, policy: Policy, choice: Choice, schedule: Schedule
) -> Iterator[Note]:
    """Yield what a person should know of the run before it is paid for."""
    watched = is_recorded(choice.table) and schedule.points.noise_moves is None
    measures = watched and _measures(question)
    yield from remarks(config, policy, choice.table, schedule.points, measures)
    linked = [name for name, value in question.settings.items() if value is None]
    if linked:
        yield Note("linked_settings", {"names": ", ".join(linked)})
    if config.reuses and schedule.steps <= FEW_STEPS:
        yield Note("few_steps", {"count": schedule.steps})


def _unforeseen(sampling: Sampling, schedule: Schedule) -> Iterator[Note]:
    """Say so where the run may differ: a node of its own places the steps, or outputs decide on them."""
    if sampling.sigmas is not None and sampling.scheduler is None:
        yield Note("own_sigmas", {"node": sampling.sigmas, "scheduler": schedule.scheduler})
    if not schedule.told:
        yield Note("not_foreseen", {"sampler": str(sampling.sampler)})


def _measures(question: PlanQuestion) -> bool:
    """Tell whether the node's runs may measure: its table is 'automatic', and none is in the workflow."""
    automatic = question.tables[:1] == [AUTOMATIC] and not question.embedded.strip()
    return automatic and bool(question.settings.get("measure", True))


def _expected(plan: ExpectedRun, foreign: bool) -> dict[str, Any]:
    """Return what the panel shows of the run; nothing is predicted from a foreign table."""
    error = None if foreign else plan.predicted_error
    return {
        "nfe": plan.nfe,
        "evaluations": len(plan.decisions),
        "speed_up": round(plan.speed_up, 3),
        "predicted_error": error,
        "visibility": None if error is None else visibility(error).value,
        "rule": plan.config.rule,
        "cells": [
            Cell(
                reuse=decision.reuse,
                reason=decision.reason.value,
                score=None if decision.score is None or foreign else round(decision.score, 5),
            )
            for decision in plan.decisions
        ],
    }


def _table_told(choice: Choice) -> TableTold:
    metadata = choice.table.metadata
    return TableTold(
        name=choice.name,
        source=choice.source,
        model=metadata.get("model", "")[:200],
        fingerprint=metadata.get("fingerprint", "")[:40],
    )


def load_named(name: str) -> SensitivityTable:
    """Load a table file by its listed name; raises TableError."""
    return table_files.CACHE.load(table_files.path_of(name))
