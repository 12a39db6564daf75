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
from . import taking
from .cost import expected_cost
from .desk import Desk, Work
from .live import NEWS
from .preview import answer, load_named
from .taking import take
from .wire import (
    CostQuestion,
    EmbedQuestion,
    EmbedTold,
    NewsQuestion,
    PanelsTold,
    PlanQuestion,
    Problem,
    Question,
    QuestionError,
    Refused,
    SaveQuestion,
    SaveTold,
    TakeQuestion,
    Told,
    read,
)  # fmt: skip

logger = logging.getLogger(__name__)

MAX_BODY = MAX_TEXT + 64 * 1024
MAX_ASKER = 64


def add_routes(routes: web.RouteTableDef) -> None:
    """Add the pack's routes to the server's, once."""
    if any(getattr(route, "path", "") == "/sencache/plan" for route in routes):
        return
    desk = Desk()
    routes.get("/sencache/panels")(_panels)
    routes.post("/sencache/plan")(_post(desk, PlanQuestion, answer))
    routes.post("/sencache/cost")(_post(desk, CostQuestion, expected_cost))
    routes.post("/sencache/embed")(_post(desk, EmbedQuestion, embed))
    routes.post("/sencache/news")(_post(desk, NewsQuestion, NEWS.of))
    routes.post("/sencache/save")(_post(desk, SaveQuestion, save_embedded))
    routes.post("/sencache/take")(_post(desk, TakeQuestion, take, taking.MAX_BODY))


async def _panels(request: web.Request) -> web.Response:
    """Answer what the panels need before they are built: every language's texts.

    ComfyUI's own /i18n has the texts too, but beside all those of every installed pack.
    """
    spoken = {locale: {part: dict(one) for part, one in parts.items()} for locale, parts in texts().items()}
    return web.json_response(PanelsTold(texts=spoken).plain())


def embed(question: EmbedQuestion) -> EmbedTold:
    """Return a table file as text for the workflow."""
    return EmbedTold(text=to_text(load_named(question.table), Path(question.table).name))


def save_embedded(question: SaveQuestion) -> SaveTold:
    """Write an embedded table into the user's folder; another table of that name is never replaced."""
    table = from_text(question.text)
    target = table_files.save_target(name_of(table))
    if target.path.exists():
        if _same(table, target):
            return SaveTold(name=target.name, there=True)
        raise NotedTableError(Note("table_exists", {"name": target.name}))
    tables.save(table, target.path)
    return SaveTold(name=target.name, there=False)


def _same(table: SensitivityTable, target: table_files.SaveTarget) -> bool:
    try:
        return condensed(tables.load(target.path), target.name) == condensed(table, target.name)
    except TableError:
        return False


def _post(
    desk: Desk, kind: type[Question], work: Work, most: int = MAX_BODY
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        if not same_origin(request.headers):
            return _refused(403, "this page may not ask that")
        body = await _limited(request, most)
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
        try:
            asked = read(kind, question)
            found = await _answered(desk, work, asked, asker, lambda: request.transport is None)
        except QuestionError as error:
            return _refused(400, str(error))
        return web.json_response(found.plain())

    return handler


def _refused(status: int, why: str) -> web.Response:
    """Refuse a question that no panel asks."""
    return web.json_response(_told(ValueError(why)).plain(), status=status)


def _told(why: Note | Exception) -> Refused:
    return Refused(problem=Problem(**problem(why)))


async def _limited(request: web.Request, most: int) -> bytes | None:
    """Read a body, None where it is longer than the question can be."""
    body = bytearray()
    async for part in request.content.iter_chunked(1 << 16):
        body += part
        if len(body) > most:
            return None
    return bytes(body)


async def _answered(
    desk: Desk, work: Work, question: Question, asker: str | None, gone: Callable[[], bool]
) -> Told:
    """Answer a question. What a person can mend is a `problem` in an ordinary answer."""
    try:
        return await desk.ask(work, question, asker, gone)
    except (TableError, NotedError) as error:
        return _told(error)
    except OSError as error:  # its own text holds whole paths
        why = error.strerror or type(error).__name__
        return _told(Note("disk_refused", {"why": why}))


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
