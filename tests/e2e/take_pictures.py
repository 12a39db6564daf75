"""Takes the pictures of README and help from the running product: `python tests/e2e/take_pictures.py`.

Needs ComfyUI's environment with playwright, and Debian's chromium (or CHROMIUM_PATH).
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from browser import CHROMIUM, QUIET, Studio  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from demo_workflow import demo_workflow, with_calibration  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, sync_playwright  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
HELP = ROOT / "web" / "docs"
NAME = "my tiny model"
STEPS = 50
PLACES = {"1": (0, 0), "8": (0, 170), "2": (400, 0), "3": (790, 0), "6": (790, 330), "4": (1130, 0),
          "7": (1130, 330)}  # fmt: skip
SIZES = {"1": (350, 120), "8": (350, 560), "2": (350, 330), "3": (300, 280), "4": (430, 200), "6": (300, 60),
         "7": (430, 330)}  # fmt: skip
PATCH, STATS, CALIBRATE = "2", "4", "8"


def lay_out(studio: Studio) -> None:
    """Load the workflow into the real frontend and place its nodes."""
    workflow = with_calibration(demo_workflow(steps=STEPS, speed_up=3.0), NAME, steps=24, samples=1)
    del workflow["5"]
    studio.load(workflow, PLACES)
    studio.page.evaluate(
        """sizes => {
            for (const node of app.graph.nodes) node.setSize(sizes[String(node.id)] ?? node.size);
            app.canvas.ds.offset = [70, 180];  // below the buttons
            app.canvas.setDirty(true, true);
        }""",
        SIZES,
    )
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))


def cut_out(studio: Studio, node: str) -> Image.Image:
    """Return a picture of one node, its title included."""
    box = studio.node(
        node,
        """(() => {
            const view = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
            const left = (node.pos[0] + view.offset[0]) * view.scale + canvas.left;
            const top = (node.pos[1] - 30 + view.offset[1]) * view.scale + canvas.top;
            const [wide, high] = node.size;
            const width = wide * view.scale + 12, height = (high + 30) * view.scale + 12;
            return {x: left - 6, y: top - 6, width, height};
        })()""",
    )
    return Image.open(io.BytesIO(studio.page.screenshot(clip=box))).convert("RGB")


def save(picture: Image.Image, name: str) -> None:
    """Keep a picture in 256 colours, which screenshots are content with."""
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


def save_states(studio: Studio, browser: Browser, server: ComfyServer) -> None:
    """Keep the panel of Model Patch in both renderings and themes, beside each other."""
    found = []
    for nodes2 in (False, True):
        window = studio if not nodes2 else Studio(browser, server, True, studio.pictures)
        window.page.set_viewport_size({"width": 1720, "height": 1180})
        lay_out(window)
        for theme in ("dark", "light"):
            window.set("Comfy.ColorPalette", theme)
            window.page.wait_for_timeout(1200)
            found.append(window.page.locator(".sencache[data-nfe]").first.screenshot())
        window.set("Comfy.ColorPalette", "dark")
    pictures = [Image.open(io.BytesIO(one)).convert("RGB") for one in found]
    wide = sum(one.width for one in pictures) + 12 * (len(pictures) - 1)
    whole = Image.new("RGB", (wide, max(one.height for one in pictures)), "#888888")
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width + 12
    save(whole, "themes.png")


def save_strip(studio: Studio) -> None:
    """Keep Cache Stats while its strip fills."""
    strip = studio.page.locator(".sencache .strip[data-filled]")

    def half_filled() -> bool:
        return strip.count() > 0 and 20 <= int(strip.first.get_attribute("data-filled")) < STEPS - 5

    studio.until(half_filled, 600)
    save(cut_out(studio, STATS), "strip.png")


def main() -> None:
    """Queue the workflow in the browser, wait for its end, and save the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base) / "server") as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            studio = Studio(browser, server, False, Path(base))
            studio.page.set_viewport_size({"width": 1720, "height": 1180})
            lay_out(studio)
            before = studio.queue()
            save_strip(studio)
            history = studio.finished(before, 600)
            studio.page.wait_for_timeout(2500)
            studio.page.keyboard.press("Escape")
            studio.page.mouse.move(900, 1010)
            studio.page.wait_for_timeout(500)
            save(Image.open(io.BytesIO(studio.page.screenshot())), "workflow.png")
            save(cut_out(studio, PATCH), "panel.png")
            nodes = {PATCH: "SenCacheModelPatch", STATS: "SenCacheStats", CALIBRATE: "SenCacheCalibrate"}
            for node, name in nodes.items():
                cut_out(studio, node).save(HELP / f"{name}.jpg", quality=85)
            save(cut_out(studio, STATS), "cache_stats.png")
            save_states(studio, browser, server)
            browser.close()
        print("\n".join([history["outputs"][STATS]["text"][0], *studio.problems]))


if __name__ == "__main__":
    main()
