"""The panels' questions wait in line, and of one panel's only the newest."""

from __future__ import annotations

import asyncio
import threading

from sencache.caching.sentences import NotedError
from sencache.nodes.panel.desk import Desk

HERE, GONE = (lambda: False), (lambda: True)


class SlowWork:
    """Work that waits until it is let go on, and remembers what it worked on."""

    def __init__(self) -> None:
        self.worked_on: list[int] = []
        self.at_once = self.most_at_once = 0
        self.go_on = threading.Event()

    def __call__(self, question):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.worked_on.append(question["n"])
        assert self.go_on.wait(10)
        self.at_once -= 1
        if question.get("fails"):
            raise OSError("no")
        return {"n": question["n"]}


async def asked(work, questions):
    """Ask one after the other while the first is worked on, then let it go on; return what each brought."""
    desk = Desk()
    waiting = []
    for number, (asker, gone, extra) in enumerate(questions):
        question = {"n": number, **extra}
        waiting.append(asyncio.create_task(desk.ask(work, question, asker, gone)))
        await asyncio.sleep(0)
        while not work.worked_on:
            await asyncio.sleep(0.001)
    work.go_on.set()
    return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)


def answers(*questions):
    work = SlowWork()
    told = asyncio.run(asked(work, questions))
    return work, [one["n"] if isinstance(one, dict) else one for one in told]


def is_superseded(told) -> bool:
    return isinstance(told, NotedError) and told.note.code == "superseded"


def test_of_many_questions_of_one_panel_only_the_running_and_the_last_are_worked_on():
    work, told = answers(*[("slider", HERE, {})] * 20)
    assert work.worked_on == [0, 19]
    assert (told[0], told[-1]) == (0, 19) and all(map(is_superseded, told[1:-1]))


def test_a_question_is_answered_at_once_when_a_newer_one_takes_its_place():
    async def replaced():
        work, desk = SlowWork(), Desk()

        def ask(number):
            return asyncio.create_task(desk.ask(work, {"n": number}, "slider", HERE))

        tasks = [ask(0)]
        while not work.worked_on:
            await asyncio.sleep(0.001)
        tasks += [ask(1), ask(2)]
        await asyncio.wait([tasks[1]], timeout=10)
        done = [task.done() for task in tasks]
        work.go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    assert asyncio.run(replaced()) == [False, True, False]


def test_panels_do_not_take_each_others_place_and_keep_their_order():
    work, told = answers(*[(asker, HERE, {}) for asker in ("a", "b", "c", "b", "a")])
    assert work.worked_on == [0, 3, 2, 4] and is_superseded(told[1])
    assert [told[n] for n in work.worked_on] == work.worked_on


def test_questions_without_an_asker_are_all_answered_one_at_a_time():
    work, told = answers(*[(None, HERE, {})] * 8)
    assert told == work.worked_on == list(range(8)) and work.most_at_once == 1


def test_nobody_works_for_a_page_that_has_gone():
    work, told = answers(("a", HERE, {}), ("b", GONE, {}), ("c", HERE, {}))
    assert work.worked_on == [0, 2] and is_superseded(told[1])


def test_what_fails_fails_for_its_asker_alone():
    work, told = answers(("a", HERE, {}), ("b", HERE, {"fails": True}), ("c", HERE, {}))
    assert isinstance(told[1], OSError) and (told[0], told[2]) == (0, 2)


def test_the_desk_works_again_after_it_had_nothing_to_do():
    async def one_by_one():
        work, desk = SlowWork(), Desk()
        work.go_on.set()
        return [await desk.ask(work, {"n": n}, "a", HERE) for n in range(3)]

    assert asyncio.run(one_by_one()) == [{"n": n} for n in range(3)]
