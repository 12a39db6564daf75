"""A compact Wan 2.1 text-to-video network with the checkpoint layout of the original.

Its weights load in ComfyUI's own loader and ComfyUI's weights load here: `tests/host/test_tiny_wan.py` holds
both to the same output. Written from the paper's block diagram and the published checkpoint's key names; no
host is needed.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from time_features import timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F

FREQ_DIM = 256
TEXT_DIM = 4096  # ComfyUI reads every other width off the checkpoint, and takes this one for granted.
HEAD_DIM = 128
LATENT_CHANNELS = 16
PATCH = (1, 2, 2)
EPS = 1e-6


def rotary_table(frames: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the rotary angles of every token as cosine and sine, `[2, frames*height*width, 64]`."""
    spatial = 2 * (HEAD_DIM // 6)
    grid = torch.meshgrid(*(torch.arange(n, device=device) for n in (frames, height, width)), indexing="ij")
    angles = []
    for positions, dim in zip(grid, (HEAD_DIM - 2 * spatial, spatial, spatial), strict=True):
        omega = 10000.0 ** -torch.linspace(0, (dim - 2) / dim, dim // 2, dtype=torch.float64, device=device)
        angles.append(positions.reshape(-1, 1).double() * omega)
    table = torch.cat(angles, dim=1)
    return torch.stack([table.cos(), table.sin()]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn neighbouring channel pairs of `x [B, L, heads, 128]` by the angles of `rotary_table`."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table[:, None, :, None, :]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).type_as(x)


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; self-attention turns them by position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=EPS), nn.RMSNorm(dim, eps=EPS)

    def forward(self, x: Tensor, context: Tensor, table: Tensor | None = None) -> Tensor:
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
        q, k, v = (a.unflatten(-1, (-1, HEAD_DIM)) for a in (q, k, v))
        if table is not None:
            q, k = rotate(q, table), rotate(k, table)
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.o(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention, cross-attention and a feed-forward layer, modulated by the time embedding."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(dim), Attention(dim)
        self.norm3 = nn.LayerNorm(dim, EPS)
        self.ffn = nn.Sequential(
            nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim)
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x: Tensor, e: Tensor, context: Tensor, table: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + e).chunk(6, dim=1)
        y = F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale1) + shift1
        x = x + self.self_attn(y, y, table) * gate1
        x = x + self.cross_attn(self.norm3(x), context)
        y = F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale2) + shift2
        return x + self.ffn(y) * gate2


class Head(nn.Module):
    """Modulated projection of every token to its latent patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, math.prod(PATCH) * LATENT_CHANNELS)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        shift, scale = (self.modulation + e.unsqueeze(1)).chunk(2, dim=1)
        return self.head(F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift)


class TinyWan(nn.Module):
    """The Wan 2.1 T2V network: noisy latent, timestep and prompt in, flow velocity out."""

    def __init__(self, dim: int = 128, ffn_dim: int = 512, num_layers: int = 10) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv3d(LATENT_CHANNELS, dim, PATCH, PATCH)
        self.text_embedding = nn.Sequential(
            nn.Linear(TEXT_DIM, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(FREQ_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim * 6))
        self.blocks = nn.ModuleList(Block(dim, ffn_dim) for _ in range(num_layers))
        self.head = Head(dim)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Return the velocity `noise - clean`, `[B, 16, T, H, W]`.

        `x` is the noisy latent `[B, 16, T, H, W]` (H and W even), `timestep [B]` runs from 0 to 1000, and
        `context` is the prompt embedding `[B, L, 4096]`.
        """
        frames, height, width = (size // patch for size, patch in zip(x.shape[2:], PATCH, strict=True))
        tokens = self.patch_embedding(x).flatten(2).transpose(1, 2)
        e = self.time_embedding(timestep_embedding(timestep, FREQ_DIM).to(x.dtype))
        e6 = self.time_projection(e).unflatten(1, (6, -1))
        context = self.text_embedding(context)
        table = rotary_table(frames, height, width, x.device)
        for block in self.blocks:
            tokens = block(tokens, e6, context, table)
        patches = self.head(tokens, e).unflatten(-1, (*PATCH, LATENT_CHANNELS))
        out = patches.unflatten(1, (frames, height, width))
        return torch.einsum("bfhwpqrc->bcfphqwr", out).reshape(x.shape)

    @classmethod
    def from_checkpoint(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> TinyWan:
        """Load a Wan 2.1 T2V checkpoint with heads of 128 channels; its tensors tell widths and depth."""
        weights = load_file(path)
        depth = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
        ffn_dim, dim = weights["blocks.0.ffn.0.weight"].shape
        model = cls(dim, ffn_dim, depth)
        model.load_state_dict(weights)
        return model.to(dtype).eval().requires_grad_(False)
