"""What a page that was loaded in the middle of a run, or after it, is told of it."""

from __future__ import annotations

import json
import threading

import pytest


@pytest.fixture
def live(host):
    """The module that tells."""
    from sencache.nodes.panel import live

    return live


@pytest.fixture
def wire(host):
    """The schema."""
    from sencache.nodes.panel import wire

    return wire


@pytest.fixture
def step(live, wire):
    """Keep an event of a run that goes on."""

    def keep(news, workflow, prompt, node, done=0, client="me"):
        cells = [(False, None, "first")] * done
        event = wire.RunEvent(
            workflow=workflow, prompt=prompt, node=node, stats=["9"], expected=20, notes=[], cells=cells
        )
        news.keep(client, event)

    return keep


@pytest.fixture
def calibration(live, wire):
    """Keep an event of a calibration."""

    def keep(news, workflow, prompt, node, done):
        counts = {"samples": 1, "samples_done": 0, "resumed": 0, "done": done, "total": 50}
        event = wire.CalibrationEvent(
            workflow=workflow, prompt=prompt, node=node, state="running", table="mine", **counts
        )
        news.keep("me", event)

    return keep


@pytest.fixture
def told(wire):
    """Ask for a workflow's news: each run's prompt, node and steps, and each calibration's progress."""

    def ask(news, workflow, client="me"):
        found = news.of(wire.read(wire.NewsQuestion, {"workflow": workflow, "client": client}))
        json.dumps(found.plain(), allow_nan=False)
        runs = [(one.prompt, one.node, len(one.cells)) for one in found.runs]
        return runs, [(one.node, one.done) for one in found.calibrations]

    return ask


def test_a_nodes_last_news_take_the_place_of_its_earlier_ones(live, step, told):
    news = live.News()
    for done in range(5):
        step(news, "mine", "first", "3", done)
    assert told(news, "mine") == ([("first", "3", 4)], [])


def test_only_the_latest_prompts_runs_of_the_workflow_asked_for_are_told(live, step, calibration, told):
    news = live.News()
    step(news, "mine", "first", "3", 1)
    step(news, "mine", "first", "4", 2)
    calibration(news, "mine", "first", "5", 7)
    step(news, "other", "theirs", "3", 3)
    assert told(news, "mine") == ([("first", "3", 1), ("first", "4", 2)], [("5", 7)])
    step(news, "mine", "second", "4", 4)
    step(news, "other", "theirs", "8", 5)
    assert told(news, "mine") == ([("second", "4", 4)], [("5", 7)])
    assert told(news, "other") == ([("theirs", "3", 3), ("theirs", "8", 5)], [])
    assert told(news, "unknown") == ([], [])


def test_a_run_of_no_workflow_is_nobodys_news(live, step, told):
    """Queued by a script, which sends no workflow."""
    news = live.News()
    step(news, None, "first", "3", 1)
    assert told(news, "mine") == ([], []) and told(news, "None") == ([], []) and told(news, "") == ([], [])


def test_another_browsers_runs_of_the_same_workflow_are_not_told(live, step, told):
    """Everyone who starts from a template has a workflow of the same id."""
    news = live.News()
    step(news, "template", "mine", "3", 1)
    step(news, "template", "theirs", "3", 2, client="them")
    assert told(news, "template") == ([("mine", "3", 1)], [])
    assert told(news, "template", client="them") == ([("theirs", "3", 2)], [])
    assert told(news, "template", client="") == ([], [])


def test_news_that_nobody_asks_for_are_not_kept(live, wire, step, told):
    news = live.News()
    step(news, "mine", "first", "3", 1)
    for number in range(2 * live.MOST_NEWS):
        news.keep("me", wire.ModelEvent(workflow="mine", node=str(number), fingerprint="f", weights="w"))
    assert told(news, "mine") == ([("first", "3", 1)], [])


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(live, step, told):
    news = live.News()
    for number in range(3 * live.MOST_NEWS):
        step(news, f"workflow {number}", "first", "3", 1)
        step(news, "mine", "first", "3", 2)  # as busy as ever
    kept = [number for number in range(3 * live.MOST_NEWS) if told(news, f"workflow {number}")[0]]
    assert kept == list(range(2 * live.MOST_NEWS + 1, 3 * live.MOST_NEWS))
    assert told(news, "mine") == ([("first", "3", 2)], [])


def test_a_long_prompt_of_many_samplers_keeps_its_last_ones(live, step, told):
    news = live.News()
    for number in range(2 * live.MOST_NEWS):
        step(news, "mine", "first", str(number), 1)
    assert [node for _, node, _ in told(news, "mine")[0]] == [
        str(number) for number in range(live.MOST_NEWS, 2 * live.MOST_NEWS)
    ]


def test_several_threads_may_tell_and_ask_at_once(live, step, told):
    news, failed = live.News(), []

    def work(name):
        try:
            for done in range(60):
                step(news, name, "first", "3", done)
                assert told(news, name) == ([("first", "3", done)], [])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(f"workflow {one}",)) for one in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert not failed


@pytest.mark.parametrize(
    "asked",
    [{}, {"workflow": 3, "client": "me"}, {"workflow": None, "client": "me"}, {"workflow": "x"},
     {"workflow": "x" * 201, "client": "me"}],
)  # fmt: skip
def test_news_are_asked_for_by_a_workflows_id_and_a_browsers(wire, asked):
    with pytest.raises(wire.QuestionError):
        wire.read(wire.NewsQuestion, asked)


class Page:
    """A server with one browser connected, as far as a listener looks at it; keeps what is sent."""

    def __init__(self, queued):
        self.client_id, self.sockets, self.sent = "page", {"page": object()}, []
        running = {0: (0, "prompt-1", queued, {"extra_pnginfo": {"workflow": {"id": "mine"}}}, [])}
        self.prompt_queue = type("Queue", (), {"currently_running": running})()

    def send_sync(self, name, data, client=None):
        self.sent.append((name, json.loads(json.dumps(data, allow_nan=False)), client))


@pytest.fixture
def page(host, live, monkeypatch):
    """A page that queued a sampler with a Cache Stats after it, and a memory of news of its own."""
    graph = {
        "2": {"class_type": "SenCacheModelPatch", "inputs": {}},
        "3": {"class_type": "KSampler", "inputs": {"model": ["2", 0]}},
        "9": {"class_type": "SenCacheStats", "inputs": {"model": ["2", 0], "samples": ["3", 0]}},
    }
    page = Page(graph)
    monkeypatch.setattr(live.PromptServer, "instance", page, raising=False)
    monkeypatch.setattr(live, "NEWS", live.News())
    return page


def test_a_run_is_told_to_its_page_step_by_step_and_kept_for_one_that_comes_later(
    page, live, wire, wan, patch, sample
):
    from comfy_execution.utils import CurrentNodeContext

    patched = patch(wan, table="tiny_wan.safetensors", speed_up=2.0)
    with CurrentNodeContext("prompt-1", "3"):
        sample(patched, steps=14)
    told = [data for name, data, client in page.sent if name == live.RUN_EVENT and client == "page"]
    assert told[0]["cells"] == [] and told[0]["expected"] == 14 and told[-1]["summary"]["nfe"] == 7
    assert {(one["workflow"], one["prompt"], one["node"]) for one in told} == {("mine", "prompt-1", "3")}
    assert all(one["stats"] == ["9"] for one in told)
    summary = told[-1]["summary"]
    assert (summary["steps_asked"], summary["evaluations"], summary["aim"]) == (14, 14, "speed")
    (kept,) = live.NEWS.of(wire.NewsQuestion(workflow="mine", client="page")).runs
    assert kept.plain() == told[-1]


def test_a_calibration_ends_with_what_its_table_gives_and_whether_it_replaced_one(
    page, live, wire, calibrate
):
    from comfy_execution.utils import CurrentNodeContext
    from host_inputs import conditioning

    ends = []
    for prompt in (2, 5):
        with CurrentNodeContext("prompt-1", "3"):
            calibrate(samples=1, positive=conditioning(prompt))
        ends.append([data for name, data, _ in page.sent if name == live.CALIBRATION_EVENT][-1])
    assert [one["state"] for one in ends] == ["finished"] * 2
    assert [one["replaced"] for one in ends] == [False, True]
    assert [gain["target"] for gain in ends[0]["gains"]] == [1.5, 2.0, 3.0, 4.0]
    (kept,) = live.NEWS.of(wire.NewsQuestion(workflow="mine", client="page")).calibrations
    assert kept.plain() == ends[-1]


def test_a_model_patch_tells_its_page_which_model_it_has(page, live, wan, patch):
    from comfy_execution.utils import CurrentNodeContext
    from sencache.nodes.automatic import own_identity

    with CurrentNodeContext("prompt-1", "2"):
        patch(wan, table="tiny_wan.safetensors")
    ((name, data, client),) = page.sent
    own = own_identity(wan)
    assert (name, client, data["node"]) == (live.MODEL_EVENT, "page", "2")
    assert (data["fingerprint"], data["weights"]) == (own.fingerprint, own.weights)
