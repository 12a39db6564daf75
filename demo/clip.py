"""The demo model's stand-ins for a text encoder and a VAE: fixed formulas instead of gigabytes of weights."""

from __future__ import annotations

import functools
import math

import einops
import torch
from torch import Tensor

TEXT_TOKENS, TEXT_DIM = 8, 4096
BLOCK = 4
# How much louder than a plain 4x4 DCT the model was trained to see each coefficient: 1 / std over the clips,
# to the power 0.5, rounded. Fine detail stays the quieter part of the latent, as it is in a VAE's.
GAINS = (0.7, 1.4, 2.1, 3.1, 1.4, 2.1, 2.9, 4.0, 2.1, 2.8, 3.5, 4.7, 3.0, 4.0, 4.6, 5.7)
PROMPTS = (
    "", "bunny leaves its burrow", "bunny stretches", "bunny yawns", "street from above", "man and taxi",
    "cyclist waits", "cars behind a fence", "walker and bollard", "man talks in a car", "man turns in a car",
    "disc moves", "square moves", "two shapes move",
)  # fmt: skip


def prompt_embedding(prompt: int) -> Tensor:
    """Return the context `[1, 8, 4096]` that the model was trained with for a prompt; 0 is the empty one."""
    token = torch.arange(1, TEXT_TOKENS + 1, dtype=torch.float64)[:, None]
    channel = torch.arange(1, TEXT_DIM + 1, dtype=torch.float64)
    phase = torch.frac((prompt * TEXT_TOKENS + token) * torch.frac(channel * math.sqrt(2)) * math.sqrt(3))
    return (math.sqrt(2) * torch.sin(2 * math.pi * phase)).float()[None]


@functools.cache
def block_dct() -> Tensor:
    """Return the scaled 4x4 DCT-II, the matrix from a block's pixels to its channels, `[16, 16]`, float64."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    dct = torch.cos(math.pi / BLOCK * (n + 0.5) * n[:, None]) * math.sqrt(2 / BLOCK)
    dct[0] /= math.sqrt(2)
    return torch.tensor(GAINS, dtype=torch.float64)[:, None] * torch.kron(dct, dct)


def decode_latent(latent: Tensor) -> Tensor:
    """Map a latent `[..., 16, T, h, w]` (model space) to grey frames `[..., T, 4h, 4w]`, -1 is black."""
    channels = einops.rearrange(latent, "... c t h w -> ... t h w c")
    blocks = channels @ torch.linalg.inv(block_dct()).to(latent).T
    return einops.rearrange(blocks, "... t h w (p q) -> ... t (h p) (w q)", p=BLOCK, q=BLOCK)


def frames_of(latent: Tensor) -> Tensor:
    """Turn a latent `[B, 16, T, h, w]` (model space) into grey frames `[B * T, 4h, 4w]` from 0 to 1."""
    frames = einops.rearrange(decode_latent(latent.double()), "b t h w -> (b t) h w")
    return ((frames.float() + 1) / 2).clamp(0, 1)
