"""What a stranger may ask the server, and what not."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from comfy_host import ROOT

QUESTION = {"settings": {"epsilon": 0.05}, "sampling": {"steps": 20}, "tables": ["tiny_wan.safetensors"]}


def asked(server, route, body, **headers):
    """Ask with any headers; return the status and the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {key.replace("_", "-"): text for key, text in headers.items()}
    sent = {"Content-Type": "application/json", **named}
    request = urllib.request.Request(f"{server.address}/sencache/{route}", data, sent)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_panels_get_their_texts_in_every_language(shared_server):
    told = shared_server.get("/sencache/panels")
    assert set(told) == {"texts"} and {"en", "zh"} <= set(told["texts"])
    for locale in told["texts"].values():
        assert set(locale) == {"panel", "reasons", "notes", "visibility"}
        assert locale["panel"]["speed"] and locale["panel"]["speed_tip"]


def test_the_host_may_read_the_texts_too_and_its_own_stay_what_they_are(shared_server):
    translations = shared_server.get("/i18n")
    assert translations["zh"]["sencache"] == shared_server.get("/sencache/panels")["texts"]["zh"]
    assert set(translations["zh"]) <= {"nodeDefs", "sencache", "commands", "settings"}


def test_a_plan_is_answered_with_and_without_the_api_prefix(shared_server):
    for prefix in ("", "/api"):
        told = shared_server.post(f"{prefix}/sencache/plan", QUESTION)
        assert 1 < told["nfe"] < told["evaluations"] == 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("route", ["plan", "embed", "save", "news"])
def test_another_sites_page_is_refused(shared_server, route, headers):
    status, _ = asked(shared_server, route, QUESTION, **headers)
    assert status == 403


def test_the_servers_own_page_may_ask(shared_server):
    status, told = asked(
        shared_server, "plan", QUESTION, Origin=shared_server.address, Sec_Fetch_Site="same-origin"
    )
    assert status == 200 and told["nfe"] > 1


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        ("plan", b"not json", 400),
        ("plan", b"[]", 400),
        ("plan", b"[" * 100_000, 400),
        ("plan", b" " * 400_000, 413),
        ("plan", {"settings": {f"widget {number}": 0 for number in range(65)}}, 400),
        ("plan", {"settings": {"path": "/"}, "sampling": {"path": "/"}}, 400),
        ("plan", {"wish": "2"}, 400),
        ("plan", {"settings": {"epsilon": "high"}}, 400),
        ("plan", {"tables": "all"}, 400),
        ("embed", {}, 400),
        ("save", {"text": 1}, 400),
        ("plan", {**QUESTION, "asker": "x" * 65}, 400),
        ("plan", {**QUESTION, "asker": 1}, 400),
    ],
)
def test_a_question_that_no_page_of_ours_asks_is_refused(shared_server, route, body, expected):
    status, _ = asked(shared_server, route, body)
    assert status == expected


@pytest.mark.parametrize("name", ["../tiny_wan.safetensors", "/etc/passwd", "gone.safetensors", "", "a\0b"])
def test_only_names_inside_the_table_folders_are_read(shared_server, name):
    status, told = asked(shared_server, "embed", {"table": name})
    assert status == 200 and "no sensitivity table" in told["problem"]["text"]
    assert told["problem"]["code"] == "table_gone" and told["problem"]["values"] == {
        "name": name.replace("\0", "?")
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling": {"steps": 10**9}},
        {"sampling": {"steps": 20, "cfg": 1e308}},
        {"sampling": {"steps": 20, "shift": float("nan")}},
        {"sampling": {"steps": 20, "start": 10**400}},
        {"sampling": [["steps", 20]]},
        {"settings": {"epsilon": float("inf")}},
        {"settings": {"n": [4]}},
        {"tables": ["../../../etc/passwd"]},
        {"tables": ["tiny_wan.safetensors"] * 1000},
        {"tables": [None, {"a": 1}]},
        {"embedded": "sencache1:" + "A" * 200_000},
        {"embedded": 7},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_values_out_of_all_measure_are_refused_in_a_sentence(shared_server, changed):
    status, told = asked(shared_server, "plan", {**QUESTION, **changed})
    text = (told if status == 200 else json.loads(told))["problem"]["text"]
    assert status in (200, 400) and 0 < len(text) < 400 and text.isprintable()
    assert "root" not in text and str(shared_server.base) not in text and "Traceback" not in text


def test_a_body_of_many_megabytes_is_not_read_to_its_end(shared_server):
    try:
        status, _ = asked(shared_server, "plan", b" " * 30_000_000)
    except OSError:  # the server answered and hung up while the body was on its way
        status = 413
    assert status == 413
    assert shared_server.post("/sencache/plan", QUESTION)["evaluations"] == 20


def test_questions_of_many_pages_at_once_get_each_its_own_answer(shared_server):
    hostile = [b"[", {"tables": ["../x"]}, {"settings": {"epsilon": -1}}, {"sampling": {"steps": 10**9}}]
    questions = [{**QUESTION, "sampling": {"steps": 10 + number}} for number in range(20)]
    with ThreadPoolExecutor(16) as pool:
        others = [pool.submit(asked, shared_server, "plan", one) for one in hostile * 10]
        answers = list(pool.map(lambda one: asked(shared_server, "plan", one), questions))
    assert [told["evaluations"] for _, told in answers] == [10 + number for number in range(20)]
    assert {other.result()[0] for other in others} <= {200, 400}
    for question, (_, told) in zip(questions, answers, strict=True):
        assert shared_server.post("/sencache/plan", question) == told


def test_of_one_panels_many_questions_only_some_are_worked_on_and_the_last_is(shared_server):
    questions = [{**QUESTION, "asker": "a", "sampling": {"steps": 100 + number}} for number in range(12)]
    with ThreadPoolExecutor(len(questions)) as pool:
        waiting = []
        for question in questions:
            waiting.append(pool.submit(asked, shared_server, "plan", question))
            time.sleep(0.02)
        told = [one.result()[1] for one in waiting]
    superseded = [one["problem"]["code"] for one in told if "problem" in one]
    assert superseded and set(superseded) == {"superseded"}
    assert told[-1]["evaluations"] == 111


@pytest.mark.parametrize("path", ["/sencache/plan", "/sencache/embed", "/sencache/save", "/sencache/news"])
def test_nothing_is_written_or_planned_by_following_a_link(shared_server, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        shared_server.get(path)
    assert caught.value.code in (404, 405)


def test_an_embedded_table_is_saved_once_and_replaces_nothing(shared_server):
    folder = shared_server.base / "models" / "sencache"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", folder / "routes.safetensors")
    text = shared_server.post("/sencache/embed", {"table": "routes.safetensors"})["text"]
    told = shared_server.post("/sencache/save", {"text": text})
    assert told == {"name": "routes.safetensors", "there": True}
    shutil.copy(ROOT / "tables" / "tiny_ltxv.safetensors", folder / "routes.safetensors")
    before = (folder / "routes.safetensors").read_bytes()
    refused = shared_server.post("/sencache/save", {"text": text})["problem"]
    assert (refused["code"], refused["values"]) == ("table_exists", {"name": "routes.safetensors"})
    assert (folder / "routes.safetensors").read_bytes() == before
    (folder / "routes.safetensors").unlink()
    assert shared_server.post("/sencache/save", {"text": text})["there"] is False
    assert (folder / "routes.safetensors").is_file()
    (folder / "routes.safetensors").unlink()


def test_a_table_with_a_name_that_no_file_should_have_is_not_saved(shared_server):
    from sencache.calibration import table as tables
    from sencache.nodes.tables.embedded import to_text

    table = tables.load(ROOT / "tables" / "tiny_wan.safetensors")
    told = shared_server.post("/sencache/save", {"text": to_text(table, "../../escape.safetensors")})
    assert told["problem"]["code"] == "table_name"
    assert not list(shared_server.base.rglob("*escape*"))
