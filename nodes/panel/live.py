"""Tells the browser that queued a prompt what its sampler or calibration does.

Others hear only that there is a new table, without a word about which: their plans may count on it too.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from threading import Lock
from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...caching.notes import Note
from ...caching.policy import Decision
from ...caching.record import RunRecord
from ..host.queued_graph import origin_of_executing_node, running, stats_after
from ..tables.own import Identity
from .shown import as_shown
from .wire import (
    CalibrationEvent,
    Event,
    MeasuredEvent,
    ModelEvent,
    NewsQuestion,
    NewsTold,
    NoteTold,
    RunEvent,
)  # fmt: skip

logger = logging.getLogger(__name__)

RUN_EVENT = "sencache.run"
MEASURED_EVENT = "sencache.measured"
MODEL_EVENT = "sencache.model"
CALIBRATION_EVENT = "sencache.calibration"
MOST_NEWS = 64
SECONDS_BETWEEN = 0.25  # often enough to look alive; drawing takes processor time where the model runs on it


class News:
    """The last event of each node, for pages that are loaded in the middle of a run or after it."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str, str, str], Event] = OrderedDict()
        self._lock = Lock()

    def keep(self, client: str, event: Event) -> None:
        """Keep a browser's event in the place of the node's last one; those of older prompts go first.

        Only runs and calibrations are asked for, and not those of a prompt without a workflow's id.
        """
        if not event.workflow or not isinstance(event, RunEvent | CalibrationEvent):
            return
        place = (client, type(event).__name__, event.workflow, event.node)
        with self._lock:
            self._held[place] = event
            self._held.move_to_end(place)
            while len(self._held) > MOST_NEWS:
                self._held.popitem(last=False)

    def of(self, question: NewsQuestion) -> NewsTold:
        """Return the last news of a workflow's nodes, to the browser that queued it.

        These are the runs of its latest prompt, and its calibrations.
        """
        asked = (question.client, question.workflow)
        with self._lock:
            mine = [event for (client, _, flow, _), event in self._held.items() if (client, flow) == asked]
        runs = [event for event in mine if isinstance(event, RunEvent)]
        latest = [event for event in runs if event.prompt == runs[-1].prompt]
        return NewsTold(runs=latest, calibrations=[one for one in mine if isinstance(one, CalibrationEvent)])


NEWS = News()


class Listener:
    """The browser that queued the running prompt, and what of the prompt it needs to find its nodes."""

    def __init__(self, server: Any, prompt_id: str, node_id: str) -> None:
        self.node_id = node_id
        self.prompt_id = prompt_id
        self.prompt, extra = running(server, prompt_id)
        named = _inside(extra, "extra_pnginfo", "workflow", "id")
        self.workflow = named if isinstance(named, str) else None
        self._server = server
        self._client = server.client_id

    @classmethod
    def find(cls) -> Listener | None:
        """Return the listener of the node that is executing now, None where no browser is connected."""
        server, context = getattr(PromptServer, "instance", None), get_executing_context()
        client = getattr(server, "client_id", None)
        if context is None or client is None or client not in server.sockets:
            return None
        return cls(server, str(context.prompt_id), str(context.node_id))

    def send(self, name: str, kind: type[Event], **data: Any) -> None:
        """Send one event; it only joins the server's queue here. Nothing is raised: a run goes on unseen."""
        try:
            event = kind(workflow=self.workflow, prompt=self.prompt_id, node=self.node_id, **data)
            NEWS.keep(self._client, event)
            self._server.send_sync(name, event.plain(), self._client)
        except Exception:
            logger.debug("SenCache: the page could not be told.", exc_info=True)


def tell_measured(table: str) -> None:
    """Tell every browser that there is a new table, and the one that queued whose and which it is."""
    server, listener = getattr(PromptServer, "instance", None), Listener.find()
    if server is not None:
        server.send_sync(MEASURED_EVENT, MeasuredEvent().plain())
    if listener is not None:
        listener.send(MEASURED_EVENT, MeasuredEvent, table=table)


def tell_model(identify: Callable[[], Identity]) -> None:
    """Tell the browser that queued which model the executing Model Patch has; without one, nobody asks."""
    listener = Listener.find()
    if listener is not None:
        listener.send(MODEL_EVENT, ModelEvent, **asdict(identify()))


class Pages:
    """The pages of this server, as the audience of runs."""

    def origin(self) -> str | None:
        """Hash what leads to the node that is executing now."""
        return origin_of_executing_node()

    def begin(self, expected: int, notes: Sequence[Note]) -> LiveRun | None:
        """Show a run to the page that queued it, if one is open."""
        return LiveRun.begin(expected, notes)

    def measured(self, table: str) -> None:
        """Tell every page."""
        tell_measured(table)


class LiveRun:
    """One sampling run as it goes on, for its page and the Cache Stats nodes that wait for its sampler."""

    def __init__(self, listener: Listener, stats: list[str], expected: int, notes: Sequence[Note]) -> None:
        self._listener = listener
        self._about = {"stats": stats, "expected": expected, "notes": [NoteTold.of(note) for note in notes]}
        self._cells: list[tuple[bool, float | None, str]] = []
        self._last = 0.0

    @classmethod
    def begin(cls, expected: int, notes: Sequence[Note] = ()) -> LiveRun | None:
        """Return the live view of a run of about `expected` evaluations, None where no page is open.

        `notes` are what a person should know while it runs.
        """
        listener = Listener.find()
        if listener is None:
            return None
        run = cls(listener, stats_after(listener.prompt, listener.node_id), expected, notes)
        run._send()
        return run

    def evaluated(self, decision: Decision) -> None:
        """Take note of one more evaluation."""
        score = None if decision.score is None else float(f"{decision.score:.5g}")
        finite = score if score is not None and abs(score) < float("inf") else None
        self._cells.append((decision.reuse, finite, decision.reason.value))
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self._send()

    def _send(self) -> None:
        self._last = time.monotonic()
        self._listener.send(RUN_EVENT, RunEvent, **self._about, cells=list(self._cells))

    def finish(self, record: RunRecord) -> None:
        """Send the whole run as it was in the end, with its summary."""
        self._listener.send(RUN_EVENT, RunEvent, **self._about, summary=as_shown(record))


class LiveCalibration:
    """A calibration as it goes on: progress with the time left, and the curves so far."""

    def __init__(self, listener: Listener, about: dict[str, Any], total: int, done: int) -> None:
        self._listener, self._about = listener, about
        self._total, self._first, self._done = total, done, done
        self._began, self._last = time.monotonic(), 0.0
        self._each: float | None = None  # seconds of an evaluation

    @classmethod
    def begin(cls, about: dict[str, Any], total: int, done: int) -> LiveCalibration | None:
        """Return the live view of a calibration of `total` evaluations, `done` of them from earlier."""
        listener = Listener.find()
        if listener is None:
            return None
        live = cls(listener, about, total, done)
        live.advance(done)
        return live

    def advance(self, done: int, force: bool = False) -> None:
        """Tell how many evaluations are done, and about how long the others will take."""
        self._done, now = done, time.monotonic()
        if not force and now - self._last < 2 * SECONDS_BETWEEN:
            return
        self._last = now
        measured = done - self._first
        self._each = (now - self._began) / measured if measured > 0 else self._each
        left = None if self._each is None else self._each * max(0, self._total - done)
        self._tell("running", seconds_left=left)

    def curves(self, samples: int, curves: Mapping[str, list[float] | None]) -> None:
        """Send the curves as measured so far; `samples` are finished."""
        self._about["samples_done"] = samples
        rounded = {name: [float(f"{one:.4g}") for one in values] for name, values in curves.items() if values}
        self._about["curves"] = rounded
        self.advance(self._done, force=True)

    def finish(self, complete: bool, **told: Any) -> None:
        """Tell how it ended, with what is then known: the table's `gains`, and whether one was `replaced`."""
        self._tell("finished" if complete else "stopped", **told)

    def _tell(self, state: str, **more: Any) -> None:
        counts = {"done": self._done, "total": self._total, "seconds_each": self._each}
        data = {**self._about, "state": state, **counts, **more}
        self._listener.send(CALIBRATION_EVENT, CalibrationEvent, **data)


def _inside(value: Any, *names: str) -> Any:
    """Follow names into nested dicts; None where one is missing, or where something else was sent."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
