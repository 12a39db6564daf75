"""Goes the README's way as a new user does: `python tests/e2e/new_user.py` writes `results/new_user.json`.

A fresh folder, the pack cloned into its `custom_nodes`, the tiny workflow from the template browser, *Run*
with the mouse, until Cache Stats says what was saved. Keeps a screenshot of each step in `--pictures`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "support")]

from browser import CHROMIUM, QUIET, SIZE  # noqa: E402
from comfy_host import find_host  # noqa: E402
from comfy_server import PACK, free_port  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
PATIENCE = 120_000  # milliseconds


class Diary:
    """Writes down each step with the seconds it took."""

    def __init__(self, pictures: Path | None) -> None:
        self.steps: list[dict[str, Any]] = []
        self.pictures = pictures
        self._last = time.monotonic()

    def did(self, step: str, page: Any = None) -> None:
        """Take note of a finished step, and keep what the screen shows."""
        now = time.monotonic()
        self.steps.append({"step": step, "seconds": round(now - self._last, 1)})
        print(f"{now - self._last:6.1f} s  {step}", flush=True)
        if page is not None and self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=self.pictures / f"new_user_{len(self.steps)}.png")
        self._last = time.monotonic()


def install(base: Path, diary: Diary) -> None:
    """Clone the pack as the README says."""
    folder = base / "custom_nodes"
    folder.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / PACK)], check=True)
    diary.did("cloned the pack into custom_nodes")


def start(base: Path, diary: Diary) -> tuple[subprocess.Popen[bytes], str]:
    """Start ComfyUI, with nothing but the pack in it."""
    port = free_port()
    command = [sys.executable, "main.py", "--cpu", "--port", str(port), "--disable-auto-launch",
               "--base-directory", str(base), "--database-url", "sqlite:///:memory:"]  # fmt: skip
    log = (base / "server.log").open("wb")
    process = subprocess.Popen(command, cwd=find_host(), stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    while True:
        if process.poll() is not None:
            raise RuntimeError((base / "server.log").read_text()[-3000:])
        try:
            urllib.request.urlopen(f"{address}/system_stats", timeout=5).close()
            break
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    diary.did("started ComfyUI")
    return process, address


def walk(page: Any, address: str, diary: Diary) -> str:
    """Open the tiny workflow from the template browser, run it, and return what Cache Stats says."""
    page.goto(address, wait_until="domcontentloaded")
    page.get_by_role("button", name="Templates").first.wait_for()
    page.wait_for_timeout(1000)
    diary.did("opened the page", page)
    if not page.get_by_text(PACK, exact=True).count():  # the first start opens the templates by itself
        page.get_by_role("button", name="Templates").first.click()
    page.get_by_text(PACK, exact=True).first.click()
    page.get_by_text("1 Start here").first.wait_for()
    page.wait_for_timeout(1000)
    diary.did(f"opened Templates and chose {PACK} under the extensions", page)
    page.get_by_text("1 Start here").first.click()
    page.locator(".sencache[data-nfe]:not([data-nfe=''])").first.wait_for()
    page.wait_for_timeout(1000)
    diary.did("opened 1 Start here; the panel says what to expect", page)
    page.get_by_test_id("queue-button").or_(page.get_by_role("button", name="Run", exact=True)).first.click()
    page.locator(".sencache", has_text="saved").first.wait_for()
    page.wait_for_timeout(1000)
    diary.did("pressed Run; Cache Stats says what was saved", page)
    return str(page.locator(".sencache", has_text="saved").first.inner_text())


def main() -> None:
    """Go all the way and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    diary = Diary(parser.parse_args().pictures)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "ComfyUI"
        install(base, diary)
        process, address = start(base, diary)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
                page = browser.new_page(viewport=SIZE)
                page.set_default_timeout(PATIENCE)
                page.on("pageerror", lambda error: problems.append(str(error)))
                said = walk(page, address, diary)
                browser.close()
        finally:
            process.terminate()
            process.wait()
    whole = round(sum(step["seconds"] for step in diary.steps), 1)
    found = {"steps": diary.steps, "seconds": whole, "cache_stats": said.split("\n"), "errors": problems,
             "load": os.getloadavg()[0]}  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "new_user.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{whole:6.1f} s in all\n{said}", *problems, sep="\n")


if __name__ == "__main__":
    main()
