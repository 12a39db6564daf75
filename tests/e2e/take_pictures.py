"""Takes the README's pictures of the running product: `python tests/e2e/take_pictures.py`.

Needs ComfyUI's environment with playwright, and Debian's chromium (or CHROMIUM_PATH).
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "e2e")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_server import ComfyServer  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402
from workflows import artist_workflow  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
STEPS = 50
PLACES = {
    "1": (20, 60), "2": (20, 210), "3": (20, 330), "4": (20, 450), "5": (360, 60), "6": (760, 60),
    "7": (1120, 60), "8": (1120, 400),
}  # fmt: skip
SIZES = {"5": (370, 560), "6": (330, 420), "7": (330, 290), "8": (420, 330)}


def lay_out(page: Page) -> None:
    """Load the workflow into the real frontend and place its nodes."""
    page.wait_for_function("window.app && window.app.graph && window.app.extensionManager")
    page.evaluate("window.app.extensionManager.setting.set('Comfy.Minimap.Visible', false)")
    workflow = artist_workflow(STEPS, STEPS, 4, "my tiny wan")
    page.evaluate("prompt => window.app.loadApiJson(prompt, 'sencache')", workflow)
    page.wait_for_timeout(1500)
    page.evaluate(
        """([places, sizes]) => {
            for (const node of window.app.graph._nodes) {
                const place = places[String(node.id)], size = sizes[String(node.id)];
                if (place) node.pos = place;
                if (size) node.setSize(size);
            }
            const canvas = window.app.canvas;
            canvas.ds.scale = 1; canvas.ds.offset = [90, 90];
            canvas.setDirty(true, true);
        }""",
        [PLACES, SIZES],
    )


def main() -> None:
    """Queue the workflow in the browser, wait for its end, and save the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base) / "server") as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = browser.new_page(viewport={"width": 1720, "height": 880})
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(server.address, wait_until="domcontentloaded")
            lay_out(page)
            page.evaluate("window.app.queuePrompt(0, 1)")
            history = server.wait_for_next()
            page.wait_for_timeout(2500)
            page.keyboard.press("Escape")
            page.screenshot(path=PICTURES / "workflow.png")
            browser.close()
        for node, name in (("8", "cache_stats.png"), ("5", "sensitivity.png")):
            data = server.view(history["outputs"][node]["images"][0])
            Image.open(io.BytesIO(data)).convert("RGB").save(PICTURES / name, optimize=True)
        print(history["outputs"]["8"]["text"][0])
        print(json.dumps(problems))


if __name__ == "__main__":
    main()
