"""The tiny models' stand-ins for a VAE and a text encoder: fixed, invertible, without weights."""

from __future__ import annotations

import functools
import math

import einops
import torch
from torch import Tensor

BLOCK = 4
CHANNELS = BLOCK * BLOCK
TEXT_TOKENS = 8
FOLD = 2
# 1 / std of each 4x4 DCT coefficient over the training clips, to the power 0.5, rounded: fine detail stays
# the quieter part of the latent, as it is in a VAE's.
GAINS = (0.7, 1.4, 2.1, 3.1, 1.4, 2.1, 2.9, 4.0, 2.1, 2.8, 3.5, 4.7, 3.0, 4.0, 4.6, 5.7)


@functools.cache
def _basis() -> Tensor:
    """Return the scaled 4x4 DCT-II as a matrix from 16 pixels to 16 channels, `[16, 16]`."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    dct = torch.cos(math.pi / BLOCK * (n + 0.5) * n[:, None]) * math.sqrt(2 / BLOCK)
    dct[0] /= math.sqrt(2)
    return (torch.tensor(GAINS, dtype=torch.float64)[:, None] * torch.kron(dct, dct)).float()


def encode_frames(frames: Tensor) -> Tensor:
    """Map grey frames `[..., T, H, W]` in -1 to 1 to a latent `[..., 16, T, H/4, W/4]` in model space."""
    blocks = frames.unfold(-2, BLOCK, BLOCK).unfold(-2, BLOCK, BLOCK).flatten(-2)
    return (blocks @ _basis().to(frames).T).movedim(-1, -4)


def decode_latent(latent: Tensor) -> Tensor:
    """Map a latent `[..., 16, T, h, w]` in model space back to grey frames `[..., T, 4h, 4w]`, exactly."""
    blocks = latent.movedim(-4, -1) @ torch.linalg.inv(_basis().double()).to(latent).T
    rows = blocks.unflatten(-1, (BLOCK, BLOCK)).transpose(-3, -2)
    return rows.flatten(-2).flatten(-3, -2)


def fold(latent: Tensor) -> Tensor:
    """Fold each 2x2x2 neighbourhood into channels: `[..., C, T, H, W]` to `[..., 8C, T/2, H/2, W/2]`."""
    return einops.rearrange(latent, "... c (t p) (h q) (w r) -> ... (c p q r) t h w", p=FOLD, q=FOLD, r=FOLD)


def unfold(latent: Tensor) -> Tensor:
    """Undo `fold`."""
    return einops.rearrange(latent, "... (c p q r) t h w -> ... c (t p) (h q) (w r)", p=FOLD, q=FOLD, r=FOLD)


def prompt_embedding(prompt: int, text_dim: int) -> Tensor:
    """Return the context `[1, 8, text_dim]` of a prompt number; 0 is the empty prompt."""
    token = torch.arange(1, TEXT_TOKENS + 1, dtype=torch.float64)[:, None]
    channel = torch.arange(1, text_dim + 1, dtype=torch.float64)
    phase = torch.frac((prompt * TEXT_TOKENS + token) * torch.frac(channel * math.sqrt(2)) * math.sqrt(3))
    return (math.sqrt(2) * torch.sin(2 * math.pi * phase)).float()[None]
