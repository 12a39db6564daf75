"""Drives the real frontend in a real Chromium, as a person with a mouse does."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer

CHROMIUM = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
PATIENCE = 180_000  # milliseconds, on a machine that others use as well
SIZE = {"width": 1720, "height": 980}
READY = "window.app && window.app.graph && window.app.extensionManager && window.app.extensionManager.setting"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.WarnBlueprintOverwrite": False,
    "Comfy.Graph.CanvasInfo": False,
}


def missing() -> str | None:
    """Say why the browser tests do not run, None where they do."""
    if not os.environ.get("SENCACHE_BROWSER"):
        return "they have a command of their own, nox -s browser"
    if CHROMIUM is None:
        return "no chromium was found; install it, or set CHROMIUM_PATH"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "the package playwright is not installed"
    return None


class Studio:
    """One browser window on a server, in one of ComfyUI's two renderings."""

    def __init__(self, browser: Any, server: ComfyServer, nodes2: bool, pictures: Path) -> None:
        self.server, self.nodes2, self.pictures = server, nodes2, pictures
        self.problems: list[str] = []
        server.settings({**SETTINGS, "Comfy.VueNodes.Enabled": nodes2})
        self.page = browser.new_page(viewport=SIZE)
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.problems.append(f"{error}\n{error.stack}"))
        self.page.on("console", self._heard)
        self.open()

    def _heard(self, message: Any) -> None:
        """Keep what went wrong in the console because of the pack."""
        ours = "sencache" in (message.text + str(message.location)).lower()
        if message.type in ("error", "warning") and ours:
            self.problems.append(message.text)

    def open(self) -> None:
        """Load the page anew, as the reload button does."""
        self.page.goto(self.server.address, wait_until="domcontentloaded")
        self.page.wait_for_function(READY)
        self.page.wait_for_timeout(500)

    def load(self, workflow: dict[str, Any], places: dict[str, tuple[int, int]] | None = None) -> None:
        """Open a workflow, in API format or in the frontend's own, and place its nodes."""
        call = "loadGraphData" if "nodes" in workflow else "loadApiJson"
        self.page.evaluate(f"workflow => window.app.{call}(workflow, 'sencache')", workflow)
        self.page.wait_for_timeout(800)
        self.page.evaluate(
            """places => {
                for (const node of window.app.graph.nodes) {
                    if (places[String(node.id)]) node.pos = places[String(node.id)];
                    const after = node.widgets?.find(one => one.name === "control_after_generate");
                    if (after) after.value = "fixed";  // otherwise each queue has another seed
                }
                const view = window.app.canvas.ds;
                view.scale = 1; view.offset = [90, 60];
                window.app.canvas.setDirty(true, true);
            }""",
            places or {},
        )
        self.page.wait_for_timeout(600)

    def set(self, setting: str, value: Any) -> None:
        """Change one of ComfyUI's settings."""
        change = "([name, value]) => window.app.extensionManager.setting.set(name, value)"
        self.page.evaluate(change, [setting, value])

    def node(self, node_id: str, expression: str) -> Any:
        """Evaluate JavaScript on a node of the open graph."""
        return self.page.evaluate(f"id => {{ const node = app.graph.getNodeById(id) ?? app.graph.getNodeById("
                                  f"Number(id)); return {expression}; }}", node_id)  # fmt: skip

    def value(self, node_id: str, widget: str) -> Any:
        """Read a widget."""
        return self.node(node_id, f"node.widgets.find(one => one.name === '{widget}')?.value")

    def panel(self) -> Any:
        """Return Model Patch's panel, the first where there are several."""
        return self.page.locator(".sencache[data-nfe]").first

    def panel_with(self, text: str) -> Any:
        """Return the first panel that says something."""
        return self.page.locator(".sencache", has_text=text).first

    def until(self, what: Callable[[], Any], seconds: float = 40) -> Any:
        """Wait until something is true, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            self.page.wait_for_timeout(25)
        raise TimeoutError(f"it did not happen in {seconds} s: {self.panels()}")

    def panels(self) -> list[str]:
        """Read every panel that can be seen."""
        return list(self.page.locator(".sencache:visible").all_inner_texts())

    def queue(self) -> set[str]:
        """Press Run; return the prompts that were there before."""
        before = set(self.server.get("/history"))
        self.page.evaluate("window.app.queuePrompt(0, 1)")
        return before

    def finished(self, before: set[str], seconds: float = 240) -> dict[str, Any]:
        """Wait for the prompt that was queued after `before`, and return its history."""
        new = self.until(lambda: set(self.server.get("/history")) - before, seconds)
        return self.server.wait(next(iter(new)), seconds)

    def picture(self, name: str) -> None:
        """Keep a screenshot."""
        rendering = "nodes2" if self.nodes2 else "classic"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}_{rendering}.png")
