"""What the browser may ask the server: the panels' texts and presets, plans, a table as text and back.

The server has no accounts, so a question carries no path, only names inside the table folders; writing needs
a POST from the server's own pages.
"""

from __future__ import annotations

import json
import logging
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...caching.notes import Note
from ...caching.sentences import NotedError, texts
from ...calibration import table as tables
from ...calibration.table import SensitivityTable, TableError
from ..refusals import NotedTableError, problem
from ..tables import files as table_files
from ..tables.embedded import MAX_TEXT, condensed, from_text, name_of, to_text
from .cost import expected_cost
from .desk import Desk, Work
from .preview import answer, load_named, presets
from .question import QuestionError

logger = logging.getLogger(__name__)

MAX_BODY = MAX_TEXT + 64 * 1024
MAX_ASKER = 64


def add_routes(routes: web.RouteTableDef) -> None:
    """Add the pack's routes to the server's, once."""
    if any(getattr(route, "path", "") == "/sencache/plan" for route in routes):
        return
    desk = Desk()
    routes.get("/sencache/panels")(_panels)
    routes.post("/sencache/plan")(_post(desk, answer))
    routes.post("/sencache/cost")(_post(desk, expected_cost))
    routes.post("/sencache/embed")(_post(desk, embed))
    routes.post("/sencache/save")(_post(desk, save_embedded))


async def _panels(request: web.Request) -> web.Response:
    """Answer what the panels need before they are built: every language's texts, and the presets.

    ComfyUI's own /i18n has the texts too, but beside all those of every installed pack.
    """
    return web.json_response({"texts": texts(), "presets": presets()})


def embed(question: dict[str, Any]) -> dict[str, Any]:
    """Return a table file as text for the workflow."""
    name = question.get("table")
    if not isinstance(name, str):
        raise QuestionError("table must be a name")
    return {"text": to_text(load_named(name), Path(name).name)}


def save_embedded(question: dict[str, Any]) -> dict[str, Any]:
    """Write an embedded table into the user's folder; another table of that name is never replaced."""
    text = question.get("text")
    if not isinstance(text, str):
        raise QuestionError("text must be a text")
    table = from_text(text)
    target = table_files.save_target(name_of(table))
    if target.path.exists():
        if _same(table, target):
            return {"name": target.name, "there": True}
        raise NotedTableError(Note("table_exists", {"name": target.name}))
    tables.save(table, target.path)
    return {"name": target.name, "there": False}


def _same(table: SensitivityTable, target: table_files.SaveTarget) -> bool:
    try:
        return condensed(tables.load(target.path), target.name) == condensed(table, target.name)
    except TableError:
        return False


def _post(desk: Desk, work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        if not same_origin(request.headers):
            return _refused(403, "this page may not ask that")
        body = await _limited(request)
        if body is None:
            return _refused(413, "the question is too long")
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            return _refused(400, "the question is not JSON")
        asker = question.pop("asker", None)
        if asker is not None and not (isinstance(asker, str) and len(asker) <= MAX_ASKER):
            return _refused(400, "asker is not a short text")
        return await _answered(desk, work, question, asker, lambda: request.transport is None)

    return handler


def _refused(status: int, why: str) -> web.Response:
    """Refuse a question that no panel asks."""
    return web.json_response({"problem": problem(ValueError(why))}, status=status)


async def _limited(request: web.Request) -> bytes | None:
    """Read a body, None where it is longer than a question can be."""
    body = bytearray()
    async for part in request.content.iter_chunked(1 << 16):
        body += part
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _answered(
    desk: Desk, work: Work, question: dict[str, Any], asker: str | None, gone: Callable[[], bool]
) -> web.Response:
    """Answer a question. What a person can mend is a `problem` in an ordinary answer."""
    try:
        found = await desk.ask(work, question, asker, gone)
    except QuestionError as error:
        return _refused(400, str(error))
    except (TableError, NotedError) as error:
        found = {"problem": problem(error)}
    except OSError as error:  # its own text holds whole paths
        why = error.strerror or type(error).__name__
        found = {"problem": problem(Note("disk_refused", {"why": why}))}
    return web.json_response(found)


def same_origin(headers: Any) -> bool:
    """Tell whether a request comes from the server's own pages, or from no page at all."""
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    if not headers.get("Content-Type", "").startswith("application/json"):
        return False
    origin = headers.get("Origin")
    if origin is None:
        return True
    try:
        shown = urllib.parse.urlsplit(origin)
        asked = urllib.parse.urlsplit(f"//{headers.get('Host', '')}")
        usual = {"http": 80, "https": 443}.get(shown.scheme)
        places = [(place.hostname, place.port or usual) for place in (shown, asked)]
        return shown.hostname is not None and places[0] == places[1]
    except ValueError:  # no address at all
        return False
