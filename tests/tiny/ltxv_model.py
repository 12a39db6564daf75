"""A compact LTX-Video text-to-video network with the checkpoint layout of the original.

For training only; sampling it is ComfyUI's: `tests/host/test_tiny_models.py` holds both to the same output.
Written from the paper's block diagram and the published checkpoint's key names.
"""

from __future__ import annotations

import math

import torch
from rotary import rotate
from time_features import timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F

FREQ_DIM = 256
TEXT_DIM = 4096
HEADS = 32  # ComfyUI takes 32 heads for granted and reads their width off the checkpoint.
LATENT_CHANNELS = 128
VAE_SCALE = (8, 32, 32)
MAX_POSITION = (20, 2048, 2048)
FRAME_RATE = 25


def rotary_table(frames: int, height: int, width: int, dim: int) -> Tensor:
    """Return the rotary angles of every token as cosine and sine, `[2, frames*height*width, dim/2]`."""
    axes = [
        torch.arange(n) * scale / limit
        for n, scale, limit in zip((frames, height, width), VAE_SCALE, MAX_POSITION, strict=True)
    ]
    axes[0] = axes[0] / FRAME_RATE
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
    frequencies = 10000 ** torch.linspace(0, 1, dim // 6) * math.pi / 2
    angles = (frequencies[:, None] * (2 * positions[:, None] - 1)).flatten(1)
    angles = F.pad(angles, (dim // 2 - angles.shape[1], 0))
    return torch.stack([angles.cos(), angles.sin()])


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; self-attention turns them by position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_norm, self.k_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x: Tensor, context: Tensor, table: Tensor | None = None) -> Tensor:
        q, k, v = self.q_norm(self.to_q(x)), self.k_norm(self.to_k(context)), self.to_v(context)
        if table is not None:
            q, k = rotate(q, table), rotate(k, table)
        q, k, v = (a.unflatten(-1, (HEADS, -1)).transpose(1, 2) for a in (q, k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GeluProjection(nn.Module):
    """The first half of the feed-forward layer."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """The feed-forward layer, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GeluProjection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """Self-attention, cross-attention and a feed-forward layer; the time modulates the first and the last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn1, self.attn2, self.ff = Attention(dim), Attention(dim), FeedForward(dim)
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)

    def forward(self, x: Tensor, time: Tensor, context: Tensor, table: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table + time).chunk(6, dim=1)
        y = F.rms_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
        x = x + self.attn1(y, y, table) * gate1
        x = x + self.attn2(x, context)
        y = F.rms_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
        return x + self.ff(y) * gate2


class TimeEmbedder(nn.Module):
    """Two layers from the time's features to its embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(FREQ_DIM, dim), nn.Linear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(features)))


class TimeModulation(nn.Module):
    """The time's embedding `[B, dim]`, and every block's modulation `[B, 6, dim]`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.emb = nn.ModuleDict({"timestep_embedder": TimeEmbedder(dim)})
        self.linear = nn.Linear(dim, 6 * dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.emb["timestep_embedder"](features)
        return embedded, self.linear(F.silu(embedded)).unflatten(1, (6, -1))


class TextProjection(nn.Module):
    """Two layers from the prompt's embedding to the network's width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(TEXT_DIM, dim), nn.Linear(dim, dim)

    def forward(self, context: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(context), approximate="tanh"))


class TinyLTXV(nn.Module):
    """The LTX-Video network: noisy latent, time and prompt in, flow velocity out."""

    def __init__(self, dim: int = 128, num_layers: int = 8) -> None:
        super().__init__()
        self.patchify_proj = nn.Linear(LATENT_CHANNELS, dim)
        self.adaln_single = TimeModulation(dim)
        self.caption_projection = TextProjection(dim)
        self.transformer_blocks = nn.ModuleList(Block(dim) for _ in range(num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, LATENT_CHANNELS)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Return the velocity `noise - clean`, `[B, 128, T, H, W]`.

        `x` is the noisy latent `[B, 128, T, H, W]`, `timestep [B]` is sigma, 0 to 1, and `context` is the
        prompt embedding `[B, L, 4096]`.
        """
        tokens = self.patchify_proj(x.flatten(2).transpose(1, 2))
        embedded, modulation = self.adaln_single(timestep_embedding(1000 * timestep, FREQ_DIM))
        context = self.caption_projection(context)
        table = rotary_table(*x.shape[2:], tokens.shape[-1])
        for block in self.transformer_blocks:
            tokens = block(tokens, modulation, context, table)
        shift, scale = (self.scale_shift_table + embedded[:, None]).chunk(2, dim=1)
        tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift
        return self.proj_out(tokens).transpose(1, 2).reshape(x.shape)
