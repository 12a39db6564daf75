"""What the browser may ask the server: plans, the tables there are, a table as text and back.

The server has no accounts, so a question carries no path, only names inside the table folders; writing needs
a POST from the server's own pages.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...calibration import table as tables
from ...calibration.table import SensitivityTable, TableError
from ..tables import files as table_files
from ..tables.embedded import MAX_TEXT, condensed, from_text, name_of, to_text
from .preview import answer, load_named, presets, summary
from .question import QuestionError

logger = logging.getLogger(__name__)

MAX_BODY = MAX_TEXT + 64 * 1024
MAX_LISTED = 500
Work = Callable[[dict[str, Any]], dict[str, Any]]


def add_routes(routes: web.RouteTableDef) -> None:
    """Add the pack's routes to the server's, once."""
    if any(getattr(route, "path", "") == "/sencache/plan" for route in routes):
        return
    routes.get("/sencache/tables")(_get(lambda question: list_tables()))
    routes.post("/sencache/plan")(_post(answer))
    routes.post("/sencache/embed")(_post(embed))
    routes.post("/sencache/save")(_post(save_embedded))


def list_tables() -> dict[str, Any]:
    """List the tables, and the presets of the panel."""
    return {"tables": [summary(name) for name in table_files.names()[:MAX_LISTED]], "presets": presets()}


def embed(question: dict[str, Any]) -> dict[str, Any]:
    """Return a table file as text for the workflow."""
    name = question.get("table")
    if not isinstance(name, str):
        raise QuestionError("table must be a name")
    return {"text": to_text(load_named(name), name), "name": name}


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
        raise TableError(
            f"models/{table_files.FOLDER} already has another table named '{target.name}'; "
            "rename that one first"
        )
    tables.save(table, target.path)
    return {"name": target.name, "there": False}


def _same(table: SensitivityTable, target: table_files.SaveTarget) -> bool:
    try:
        return condensed(tables.load(target.path), target.name) == condensed(table, target.name)
    except TableError:
        return False


def _get(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        return await _worked(work, {})

    return handler


def _post(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        if not same_origin(request.headers):
            return web.json_response({"problem": "this page may not ask that"}, status=403)
        body = await _limited(request)
        if body is None:
            return web.json_response({"problem": "the question is too long"}, status=413)
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            return web.json_response({"problem": "the question is not JSON"}, status=400)
        return await _worked(work, question)

    return handler


async def _limited(request: web.Request) -> bytes | None:
    """Read a body, None where it is longer than a question can be."""
    body = bytearray()
    async for part in request.content.iter_chunked(1 << 16):
        body += part
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _worked(work: Work, question: dict[str, Any]) -> web.Response:
    """Answer beside the event loop. What a person can mend is a `problem` in an ordinary answer."""
    try:
        found = await asyncio.get_running_loop().run_in_executor(None, work, question)
    except QuestionError as error:
        return web.json_response({"problem": str(error)}, status=400)
    except TableError as error:
        found = {"problem": f"{str(error).rstrip('.')}."}
    except OSError as error:  # its own text holds whole paths
        found = {"problem": f"The disk refused: {error.strerror or type(error).__name__}."}
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
