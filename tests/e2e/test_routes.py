"""What a stranger may ask the server, and what not."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request

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


def test_the_tables_are_listed_with_their_models_and_the_presets(shared_server):
    told = shared_server.get("/sencache/tables")
    listed = {one["name"]: one for one in told["tables"]}
    assert listed["tiny_wan.safetensors"]["model"].startswith("WAN21_T2V")
    assert list(told["presets"]) == ["quality", "balanced", "fast"]
    assert str(shared_server.base) not in json.dumps(told)


def test_a_plan_is_answered_with_and_without_the_api_prefix(shared_server):
    for prefix in ("", "/api"):
        told = shared_server.post(f"{prefix}/sencache/plan", QUESTION)
        assert 1 < told["nfe"] < told["evaluations"] == 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("route", ["plan", "embed", "save"])
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
        ("plan", {"settings": {"path": "/"}}, 400),
        ("plan", {"settings": {"epsilon": "high"}}, 400),
        ("plan", {"tables": "all"}, 400),
        ("embed", {}, 400),
        ("save", {"text": 1}, 400),
    ],
)
def test_a_question_that_no_page_of_ours_asks_is_refused(shared_server, route, body, expected):
    status, _ = asked(shared_server, route, body)
    assert status == expected


@pytest.mark.parametrize("name", ["../tiny_wan.safetensors", "/etc/passwd", "gone.safetensors", "", "a\0b"])
def test_only_names_inside_the_table_folders_are_read(shared_server, name):
    status, told = asked(shared_server, "embed", {"table": name})
    assert status == 200 and "no sensitivity table" in told["problem"]


def test_an_embedded_table_is_saved_once_and_replaces_nothing(shared_server):
    folder = shared_server.base / "models" / "sencache"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", folder / "routes.safetensors")
    text = shared_server.post("/sencache/embed", {"table": "routes.safetensors"})["text"]
    told = shared_server.post("/sencache/save", {"text": text})
    assert told == {"name": "routes.safetensors", "there": True}
    shutil.copy(ROOT / "tables" / "tiny_ltxv.safetensors", folder / "routes.safetensors")
    before = (folder / "routes.safetensors").read_bytes()
    assert "already has another table" in shared_server.post("/sencache/save", {"text": text})["problem"]
    assert (folder / "routes.safetensors").read_bytes() == before
    (folder / "routes.safetensors").unlink()
    assert shared_server.post("/sencache/save", {"text": text})["there"] is False
    assert (folder / "routes.safetensors").is_file()
    (folder / "routes.safetensors").unlink()


def test_a_table_with_a_name_that_no_file_should_have_is_not_saved(shared_server):
    from sencache.calibration import table as tables
    from sencache.nodes.embedded_table import to_text

    table = tables.load(ROOT / "tables" / "tiny_wan.safetensors")
    told = shared_server.post("/sencache/save", {"text": to_text(table, "../../escape.safetensors")})
    assert "can't be a table's name" in told["problem"]
    assert not list(shared_server.base.rglob("*escape*"))
