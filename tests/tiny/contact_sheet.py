"""Draws training clips and generated ones side by side: `python tests/tiny/contact_sheet.py wan`.

Writes `tests/tiny/models/tiny_MODEL.png`. Needs ComfyUI and its environment, with scikit-video.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import torch  # noqa: E402
from clips import Clips  # noqa: E402
from comfy_host import TINY_MODELS, start_host  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from sencache.demo.clip import PROMPTS, decode_latent  # noqa: E402
from tiny_models import MODELS, sample  # noqa: E402
from tqdm import tqdm  # noqa: E402

SHOWN = (0, 2, 5, 7)
SIDE, GAP, LABEL = 96, 4, 170
STEPS, CFG = 50, 5.0


def picture(frame: torch.Tensor) -> Image.Image:
    """Turn a grey frame `[H, W]` in -1 to 1 into a picture."""
    return Image.fromarray(((frame.clamp(-1, 1) + 1) * 127.5).byte().numpy()).resize((SIDE, SIDE))


def draw(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Image.Image:
    """Draw a training clip and a generated one, `[8, 48, 48]` each, for every prompt."""
    columns = 2 * len(SHOWN)
    size = (LABEL + columns * (SIDE + GAP) + 4 * GAP, 20 + len(pairs) * (SIDE + GAP))
    sheet = Image.new("RGB", size, (24, 26, 31))
    pen = ImageDraw.Draw(sheet)
    for text, column in (("training clip", 0), ("generated", len(SHOWN))):
        pen.text((LABEL + column * (SIDE + GAP) + 2 * GAP, 5), text, fill=(226, 229, 235))
    for row, (prompt, clips) in enumerate(pairs.items()):
        top = 20 + row * (SIDE + GAP)
        pen.text((8, top + SIDE // 2 - 6), prompt, fill=(226, 229, 235))
        for half, clip in enumerate(clips):
            for position, frame in enumerate(SHOWN):
                column = half * len(SHOWN) + position
                sheet.paste(picture(clip[frame]), (LABEL + column * (SIDE + GAP) + 3 * GAP * half, top))
    return sheet


def main() -> None:
    """Sample every prompt once and draw it beside a training clip of the same prompt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    arguments = parser.parse_args()
    tiny, clips = MODELS[arguments.model], Clips()
    generator = torch.Generator().manual_seed(1)
    with tempfile.TemporaryDirectory() as scratch:
        nodes = start_host(Path(scratch))
        model, pairs = tiny.load(nodes), {}
        for prompt in tqdm(range(1, len(PROMPTS)), desc="sampling", unit="clip"):
            latent = sample(nodes, model, tiny, prompt, prompt, tiny.samplers[0], STEPS, CFG)
            generated = decode_latent(tiny.to_pictures(latent))[0]
            pairs[PROMPTS[prompt]] = (clips.clip(prompt, generator), generated)
        draw(pairs).save(TINY_MODELS / f"{tiny.name}.png")


if __name__ == "__main__":
    main()
