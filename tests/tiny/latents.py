"""What the tiny models' training needs beside `demo/clip.py`: frames to latents, and LTX-Video's folding."""

from __future__ import annotations

import einops
from sencache.demo.clip import BLOCK, block_dct
from torch import Tensor

FOLD = 2


def encode_frames(frames: Tensor) -> Tensor:
    """Map grey frames `[..., T, H, W]` in -1 to 1 to a latent `[..., 16, T, H/4, W/4]` in model space."""
    blocks = einops.rearrange(frames, "... t (h p) (w q) -> ... t h w (p q)", p=BLOCK, q=BLOCK)
    return einops.rearrange(blocks @ block_dct().to(frames).T, "... t h w c -> ... c t h w")


def fold(latent: Tensor) -> Tensor:
    """Fold each 2x2x2 neighbourhood into channels: `[..., C, T, H, W]` to `[..., 8C, T/2, H/2, W/2]`."""
    return einops.rearrange(latent, "... c (t p) (h q) (w r) -> ... (c p q r) t h w", p=FOLD, q=FOLD, r=FOLD)


def unfold(latent: Tensor) -> Tensor:
    """Undo `fold`."""
    return einops.rearrange(latent, "... (c p q r) t h w -> ... c (t p) (h q) (w r)", p=FOLD, q=FOLD, r=FOLD)
