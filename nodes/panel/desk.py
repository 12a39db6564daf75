"""Answers the panels' questions one at a time; of the questions of one panel only the newest waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ...caching.notes import Note
from ...caching.sentences import NotedError

Work = Callable[[Any], Any]  # a question of its own kind, and its answer


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Work
    question: Any
    answer: asyncio.Future[Any]
    gone: Callable[[], bool]


class Desk:
    """One worker beside the event loop, and the questions that wait for it, in the order of the askers.

    A moving slider asks faster than a plan is made. A newer question takes the place of the waiting one of
    the same asker, which is answered with the note `superseded`; so does a question whose asker has hung up.
    Questions without an asker all wait. With a single thread what the work remembers needs no locks.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sencache-panel")
        self._waiting: dict[object, _Waiting] = {}
        self._working: asyncio.Task[None] | None = None

    async def ask(
        self, work: Work, question: Any, asker: str | None, gone: Callable[[], bool]
    ) -> Any:
        """Return what `work` answers to a question, or raise what it raises; `gone` tells a lost asker."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        place = object() if asker is None else (work, asker)
        older = self._waiting.get(place)
        if older is not None:
            _supersede(older)
        self._waiting[place] = _Waiting(work, question, answer, gone)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            one = self._waiting.pop(next(iter(self._waiting)))
            if one.gone():
                _supersede(one)
                continue
            try:
                answer = await loop.run_in_executor(self._thread, one.work, one.question)
            except Exception as error:  # it is the asker's to hear of, whatever it is
                if not one.answer.done():
                    one.answer.set_exception(error)
            else:
                if not one.answer.done():
                    one.answer.set_result(answer)


def _supersede(one: _Waiting) -> None:
    if not one.answer.done():
        one.answer.set_exception(NotedError(Note("superseded")))
