"""Says before a run what it would do: the panel's questions, answered by the planner that the run follows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...caching.config import SenCacheConfig, Zones
from ...caching.forecast import Forecast
from ...caching.notes import Note
from ...caching.planner import solve
from ...caching.planning.points import RunPoints
from ...caching.planning.search import BestPlans
from ...caching.remarks import remarks
from ...caching.rules import epsilon_for, policy_for
from ...caching.simulate import ExpectedRun, simulate
from ...caching.visibility import visibility
from ...calibration.recording import is_recorded
from ...calibration.table import SensitivityTable, TableError
from ..host.sampling import zones_of
from ..refusals import problem
from ..tables import files as table_files
from ..tables.choice import AUTOMATIC, FILE, Choice, embedded_choice, file_choice, measured_of_file
from ..tables.own import Identity, find
from .question import QuestionError, Sampling, config_of, read_into, wish_of, within
from .schedule import Schedule, ScheduleCache

MAX_CANDIDATES = 16
EPSILON_DIGITS = 4
# The predicted error (rms) of the finished latent that each may have, its size being about 1.
PRESETS: dict[str, dict[str, Any]] = {
    "quality": {"epsilon": 0.015, "speed_up": 0.0, "n": 30, "rule": "plan", "forecast": "linear"},
    "balanced": {"epsilon": 0.03, "speed_up": 0.0, "n": 30, "rule": "plan", "forecast": "linear"},
    "fast": {"epsilon": 0.06, "speed_up": 0.0, "n": 30, "rule": "plan", "forecast": "linear"},
}


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


_PLANS = PlanCache()
_SCHEDULES = ScheduleCache()


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the expected run as JSON-ready values, or a `problem` in one sentence.

    `question` holds the node's widgets (`settings`), what the graph says of the sampling (`sampling`), the
    `embedded` text, names of tables to try in turn (`tables`), and where the slider asks the speed-up that it
    wishes for (`wish`): then the widgets' values that give it come back as `chosen`, and the plan is theirs.
    Raises QuestionError for anything else.
    """
    sampling = read_into(Sampling, question.get("sampling", {}))
    chosen: dict[str, dict[str, Any]] = {}
    try:
        config, wish = config_of(question.get("settings", {})), wish_of(question.get("wish"))
        choice = _choose(question, sampling)
        if choice is None:
            return {"problem": problem(Note("no_table"))}
        schedule = _SCHEDULES.of(choice.table, sampling)
        zones = zones_of(schedule.model_sampling, config)
        if wish is not None:
            config = _wished(config, wish, zones, choice.table, schedule.points)
            chosen["chosen"] = {"epsilon": config.epsilon, "speed_up": 0.0, "n": config.max_reuse}
        policy = policy_for(config, zones, choice.table, schedule.points, _PLANS)
        watched = is_recorded(choice.table) and schedule.points.noise_moves is None
        measures = watched and _measures(question)
        notes = [
            *choice.notes,
            *remarks(config, policy, choice.table, schedule.points, measures),
            *_unforeseen(sampling, schedule, config),
        ]
        run = simulate(policy, choice.table, schedule.points)
    except (TableError, ValueError) as error:
        if isinstance(error, QuestionError):
            raise
        return {"problem": problem(error)}
    return {
        **_as_json(run),
        **chosen,
        "steps": schedule.steps,
        "scheduler": schedule.scheduler,
        "steps_known": sampling.steps is not None,
        "table": _table_json(choice),
        "notes": [note.as_dict() for note in notes],
    }


def _unforeseen(sampling: Sampling, schedule: Schedule, config: SenCacheConfig) -> Iterator[Note]:
    """Say so where the run may differ: a node of its own places the steps, or the sampler adds noise."""
    if sampling.sigmas is not None and sampling.scheduler is None:
        yield Note("own_sigmas", {"node": sampling.sigmas, "scheduler": schedule.scheduler})
    if config.reuses and not schedule.told:
        yield Note("not_foreseen", {"sampler": str(sampling.sampler)})


def _measures(question: Mapping[str, Any]) -> bool:
    """Tell whether the node's runs may measure: its table is 'automatic', and none is in the workflow."""
    automatic = question.get("tables", [])[:1] == [AUTOMATIC] and not question.get("embedded", "").strip()
    return automatic and bool(question.get("settings", {}).get("measure", True))


def _choose(question: Mapping[str, Any], sampling: Sampling) -> Choice | None:
    """Choose as the node will: the workflow's own table, else the first of the names that is there."""
    names, text = question.get("tables", []), question.get("embedded", "")
    if not isinstance(text, str) or not isinstance(names, list) or len(names) > MAX_CANDIDATES:
        raise QuestionError("tables and embedded must be names and a text")
    names = [str(name) for name in names]
    if text.strip():
        selected = names[0] if names and names[0] != AUTOMATIC else AUTOMATIC
        brought = embedded_choice(text, selected)
        if brought is not None:
            return brought
    present = set(table_files.names())
    for name in names:
        found = file_choice(name) if name in present else None
        if names[0] == AUTOMATIC:
            found = _as_the_run(found or measured_of_file(name), sampling)
        if found is not None:
            return found
    if names and names[0] != AUTOMATIC:
        table_files.path_of(names[0])  # says that it is gone
    return None


def _as_the_run(choice: Choice | None, sampling: Sampling) -> Choice | None:
    """Choose among what a model's runs have measured as the next run will: a guided one needs both branches.

    A later stage without guidance has a table of its own. None where the next run will measure.
    """
    if choice is None or sampling.cfg is None or not is_recorded(choice.table):
        return choice
    known = choice.table.metadata
    model = Identity(known.get("fingerprint", ""), known.get("weights", ""))
    guided = not math.isclose(within(sampling.cfg, 0.0, 1e3, "cfg"), 1.0)
    found = find(model, guided, _SCHEDULES.of(choice.table, sampling).points.timesteps)
    return None if found is None else Choice(found[1], found[0], FILE)


def _wished(
    config: SenCacheConfig, wish: float, zones: Zones, table: SensitivityTable, points: RunPoints
) -> SenCacheConfig:
    """Return the settings that give a wished speed-up; where epsilon or n is 0, the usual one is meant."""
    usual = SenCacheConfig()
    asked = replace(
        config,
        speed_up=wish,
        epsilon=config.epsilon or usual.epsilon,
        max_reuse=config.max_reuse or usual.max_reuse,
    )
    needed = epsilon_for(asked, zones, table, points, _PLANS)
    return replace(asked, speed_up=0.0, epsilon=_rounded_up(needed) if needed > 0 else 0.0)


def _rounded_up(epsilon: float) -> float:
    """Round epsilon to what the widget keeps, upwards: rounded down it would allow one reuse less."""
    step = 10.0**-EPSILON_DIGITS
    return round(min(2.0, (int(epsilon / step) + 1) * step), EPSILON_DIGITS)


def _as_json(plan: ExpectedRun) -> dict[str, Any]:
    """Return what the panel shows; a score is left out where it is not a number."""
    return {
        "nfe": plan.nfe,
        "evaluations": len(plan.decisions),
        "speed_up": round(plan.speed_up, 3),
        "predicted_error": plan.predicted_error,
        "visibility": None if plan.predicted_error is None else visibility(plan.predicted_error).value,
        "rule": plan.config.rule,
        "cells": [
            {
                "reuse": decision.reuse,
                "reason": decision.reason.value,
                "score": None if decision.score is None else round(decision.score, 5),
            }
            for decision in plan.decisions
        ],
    }


def _table_json(choice: Choice) -> dict[str, Any]:
    metadata = choice.table.metadata
    return {
        "name": choice.name,
        "source": choice.source,
        "model": metadata.get("model", "")[:200],
        "fingerprint": metadata.get("fingerprint", "")[:40],
    }


def presets() -> dict[str, dict[str, Any]]:
    """Return each preset's settings."""
    return {name: dict(settings) for name, settings in PRESETS.items()}


def load_named(name: str) -> SensitivityTable:
    """Load a table file by its listed name; raises TableError."""
    return table_files.CACHE.load(table_files.path_of(name))
