"""Fixtures of the browser tests: one server, one browser, and a window in each of ComfyUI's renderings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import CHROMIUM, QUIET, Studio, missing
from comfy_server import ComfyServer

BROWSER_TESTS = "test_browser"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the browser tests out unless they are asked for; the summary says so."""
    return True if collection_path.name.startswith(BROWSER_TESTS) and missing() else None


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """The server that the tests of routes and browser share."""
    with ComfyServer(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Where the tests keep their screenshots: SENCACHE_PICTURES, or the test run's own folder."""
    named = os.environ.get("SENCACHE_PICTURES")
    return Path(named) if named else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def studio(request, chromium, shared_server, pictures):
    """A window; nothing may go wrong in its console."""
    window = Studio(chromium, shared_server, request.param == "nodes2", pictures)
    yield window
    window.page.close()


@pytest.fixture(autouse=True)
def _quiet_console(request):
    """Fail a browser test during which something was thrown in the page."""
    window = request.getfixturevalue("studio") if "studio" in request.fixturenames else None
    if window is not None:
        window.problems.clear()
    yield
    assert window is None or not window.problems, "\n".join(window.problems)
