"""Makes the pack importable as `sencache` without ComfyUI, and finds the host for the tests that need it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tiny", "support", "compatibility", "survival", "benchmarks")
HOST_FOLDERS = (ROOT / "tests" / "host", ROOT / "tests" / "e2e")
REQUIRE_HOST = "SENCACHE_REQUIRE_HOST"

package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)
sys.path[1:1] = [str(ROOT / "tests" / folder) for folder in FOLDERS]

from browser import missing as browser_lacks  # noqa: E402 - their folder has just been put on the path
from comfy_host import find_host  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Fail at once where the host is required and there is none."""
    if os.environ.get(REQUIRE_HOST) and find_host() is None:
        raise pytest.UsageError("ComfyUI was not found: set COMFYUI_PATH to its folder.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs the host where there is none; the summary says so."""
    without_host = find_host() is None and any(
        collection_path.is_relative_to(folder) for folder in HOST_FOLDERS
    )
    return True if without_host else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which host ran the host tests, or how many were not run and why."""
    host = find_host()
    if host is not None:
        version = re.search(r'"(.+)"', (host / "comfyui_version.py").read_text())
        terminalreporter.write_line(f"host: ComfyUI {version.group(1) if version else 'of unknown version'}")
        lacking = browser_lacks()
        if lacking:
            terminalreporter.write_line(f"not run: the browser tests in tests/e2e, because {lacking}.")
        return
    files = [path for folder in HOST_FOLDERS for path in folder.glob("test_*.py")]
    test = re.compile(r"^\s*(?:async )?def test_", re.MULTILINE)
    count = sum(len(test.findall(path.read_text(encoding="utf-8"))) for path in files)
    terminalreporter.write_line(
        f"not run: {count} host test functions in {len(files)} files, because no ComfyUI was found; "
        "set COMFYUI_PATH to its folder to run them."
    )
