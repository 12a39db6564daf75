"""Lays the example workflows out in the real frontend: `python tests/e2e/make_examples.py`.

Writes `example_workflows/*.json` and their thumbnails. Needs what `take_pictures.py` needs.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from browser import CHROMIUM, QUIET, Studio  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from examples_demo import Example  # noqa: E402
from examples_models import examples  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from workflows import numbered  # noqa: E402

FOLDER = ROOT / "example_workflows"
LAY_OUT = """([columns, names, note, title]) => {
    const graph = app.graph, ids = new Map(names.map((name, index) => [name, String(index + 1)]));
    const text = LiteGraph.createNode("MarkdownNote");
    graph.add(text);
    text.title = title;
    text.widgets[0].value = note;
    text.size = [340, 190];
    let left = 0;
    for (const column of columns) {
        let top = 0, width = 0;
        for (const name of column) {
            const node = name === "note" ? text : graph.nodes.find(one => String(one.id) === ids.get(name));
            const least = node.computeSize();
            const [wide, high] = node.size;
            if (name !== "note") node.size = [Math.max(wide, least[0], 300), Math.max(high, least[1])];
            if (/CLIPTextEncode/.test(node.comfyClass ?? "")) node.size = [340, 130];
            if (/SenCacheModelPatch/.test(node.comfyClass ?? "")) node.size = [360, node.size[1]];
            if (/SenCacheCompare/.test(node.comfyClass ?? "")) node.size = [460, 430];
            if (/SenCacheStats/.test(node.comfyClass ?? "")) node.size = [380, 190];
            if (/Preview|SaveAnimated/.test(node.comfyClass ?? "")) node.size = [420, 360];
            node.pos = [left, top];
            top += node.size[1] * 1.15 + 70;  // Nodes 2.0 draws them a little higher
            width = Math.max(width, node.size[0]);
        }
        left += width + 60;
    }
    for (const node of graph.nodes) {
        const after = node.widgets?.find(one => one.name === "control_after_generate");
        if (after) after.value = "fixed";
    }
    return graph.nodes.length;
}"""
SHOWN = """kinds => {  // the place on the page of these kinds of nodes, of all where there are none
    const nodes = app.graph.nodes, view = app.canvas.ds, wanted = new RegExp(kinds);
    const chosen = nodes.filter(one => wanted.test(one.comfyClass ?? ""));
    const boxes = (chosen.length ? chosen : nodes).map(one => {
        const [left, top] = [0, 1].map(axis => (one.pos[axis] + view.offset[axis]) * view.scale);
        return [left, top - 45 * view.scale, left + one.size[0] * view.scale, top + one.size[1] * view.scale];
    });
    return [0, 1, 2, 3].map(side => Math[side < 2 ? "min" : "max"](...boxes.map(box => box[side])));
}"""
SHOWN_LARGE = "SenCacheCompare|PreviewImage"
CARD = (640, 360)
FIT = """() => {
    const nodes = app.graph.nodes, view = app.canvas.ds, canvas = app.canvas.canvas;
    const left = Math.min(...nodes.map(one => one.pos[0]));
    const top = Math.min(...nodes.map(one => one.pos[1] - 30));
    const right = Math.max(...nodes.map(one => one.pos[0] + one.size[0]));
    const bottom = Math.max(...nodes.map(one => one.pos[1] + one.size[1]));
    const wide = canvas.clientWidth - 120, high = canvas.clientHeight - 230;
    view.scale = Math.min(1, wide / (right - left), high / (bottom - top));
    view.offset = [70 / view.scale - left, 165 / view.scale - top];
    app.canvas.min_font_size_for_lod = 0;  // texts stay readable however small they are
    app.canvas.setDirty(true, true);
}"""


def cleaned(value: Any) -> Any:
    """Leave out what the frontend fills in by itself."""
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    if not isinstance(value, dict):
        return value
    idle = {"localized_name", "showAdvanced", "frontendVersion", "workflowRendererVersion", "ds"}
    kept = {key: one for key, one in value.items() if key not in idle}
    return {key: cleaned(one) for key, one in kept.items() if one is not None or key in ("link", "links")}


def pretend_models(server: ComfyServer, example: Example) -> None:
    """Put empty files where an artist has the model's, so that their names can be chosen."""
    folders = {"unet_name": "diffusion_models", "clip_name": "text_encoders", "vae_name": "vae",
               "ckpt_name": "checkpoints"}  # fmt: skip
    for node in example.prompt.values():
        for name in folders.keys() & node["inputs"].keys():
            path = server.base / "models" / folders[name] / node["inputs"][name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def make(studio: Studio, example: Example, run: bool) -> None:
    """Write one workflow and its thumbnail; the demo model's are run first."""
    pretend_models(studio.server, example)
    studio.open()  # ComfyUI would show the pictures of the workflow before
    studio.load(numbered(example.prompt))
    names = list(example.prompt)
    studio.page.evaluate(LAY_OUT, [example.columns, names, example.note, "About this workflow"])
    studio.page.evaluate(FIT)
    studio.page.wait_for_timeout(1500)
    workflow = cleaned(studio.page.evaluate("app.graph.serialize()"))
    # An id of its own, the same each time: ComfyUI tells open workflows apart by it.
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"sencache/{example.name}"))
    text = json.dumps(workflow, indent=1, ensure_ascii=False)
    (FOLDER / f"{example.name}.json").write_text(text + "\n", encoding="utf-8")
    if run:
        studio.finished(studio.queue())
    studio.page.wait_for_timeout(2500)
    studio.page.keyboard.press("Escape")
    left, top, right, bottom = studio.page.evaluate(SHOWN, SHOWN_LARGE if run else "SenCacheModelPatch")
    box = {"x": left - 10, "y": top - 5, "width": right - left + 20, "height": bottom - top + 15}
    shot = Image.open(io.BytesIO(studio.page.screenshot(clip=box))).convert("RGB")
    card(example.name, shot).save(FOLDER / f"{example.name}.jpg", quality=85)


def card(name: str, shot: Image.Image) -> Image.Image:
    """Return a thumbnail that can be read at the size of a card in the template browser."""
    picture = Image.new("RGB", CARD, "#20232a")
    pen = ImageDraw.Draw(picture)
    pen.text((32, 26), name.split(" ", 1)[1], font=ImageFont.load_default(52), fill="#ffffff")
    shot.thumbnail((CARD[0] - 64, CARD[1] - 130), Image.Resampling.LANCZOS)
    picture.paste(shot, ((CARD[0] - shot.width) // 2, 105))
    return picture


def main() -> None:
    """Make all of them, or those whose names hold a word from the command line."""
    FOLDER.mkdir(exist_ok=True)
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base) / "server") as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            studio = Studio(browser, server, False, Path(base))
            for example in examples():
                if not words or any(word in example.name for word in words):
                    make(studio, example, run="SenCacheDemo" in str(example.prompt))
            browser.close()


if __name__ == "__main__":
    main()
