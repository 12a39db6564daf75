"""A compact CogVideoX 1.0 text-to-video network with the layout of ComfyUI's checkpoints.

For training only; sampling it is ComfyUI's: `tests/host/test_tiny_models.py` holds both to the same output.
Written from the paper's block diagram and the checkpoint's key names.
"""

from __future__ import annotations

import torch
from rotary import rotate
from time_features import timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F

TEXT_DIM = 4096
HEAD_DIM = 64  # ComfyUI takes this width for granted and reads the number of heads off the checkpoint.
LATENT_CHANNELS = 16
PATCH = 2
ROTARY_DIMS = (HEAD_DIM // 4, HEAD_DIM // 8 * 3, HEAD_DIM // 8 * 3)
SPATIAL_SCALE = 1.875


def rotary_table(frames: int, height: int, width: int) -> Tensor:
    """Return the rotary angles of every token as cosine and sine, `[2, frames*height*width, 32]`."""
    axes = (
        torch.arange(frames).float(),
        torch.arange(height) * SPATIAL_SCALE,
        torch.arange(width) * SPATIAL_SCALE,
    )
    angles = []
    for positions, dim in zip(torch.meshgrid(*axes, indexing="ij"), ROTARY_DIMS, strict=True):
        angles.append(positions.reshape(-1, 1) / 10000 ** (torch.arange(0, dim, 2) / dim))
    table = torch.cat(angles, dim=1)
    return torch.stack([table.cos(), table.sin()])


class ModulatedNorm(nn.Module):
    """Layer norms of latent and text tokens, shifted and scaled by the time, and both residuals' gates."""

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(time_dim, 6 * dim), nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, text: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        modulation = self.linear(F.silu(time))[:, None].chunk(6, dim=-1)
        shift, scale, gate, text_shift, text_scale, text_gate = modulation
        x = self.norm(x) * (1 + scale) + shift
        text = self.norm(text) * (1 + text_scale) + text_shift
        return torch.cat([text, x], dim=1), gate, text_gate


class Block(nn.Module):
    """Attention over text and latent tokens together, then a feed-forward layer, both modulated."""

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ModulatedNorm(dim, time_dim), ModulatedNorm(dim, time_dim)
        self.q, self.k, self.v, self.attn_out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.LayerNorm(HEAD_DIM, eps=1e-6), nn.LayerNorm(HEAD_DIM, eps=1e-6)
        self.ff_proj, self.ff_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def _attention(self, tokens: Tensor, length: int, table: Tensor) -> Tensor:
        q, k, v = (layer(tokens).unflatten(-1, (-1, HEAD_DIM)) for layer in (self.q, self.k, self.v))
        q, k = self.norm_q(q).transpose(1, 2), self.norm_k(k).transpose(1, 2)
        q, k = (torch.cat([a[:, :, :length], rotate(a[:, :, length:], table)], dim=2) for a in (q, k))
        out = F.scaled_dot_product_attention(q, k, v.transpose(1, 2))
        return self.attn_out(out.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, text: Tensor, time: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        length = text.shape[1]
        tokens, gate, text_gate = self.norm1(x, text, time)
        out = self._attention(tokens, length, table)
        x, text = x + gate * out[:, length:], text + text_gate * out[:, :length]
        tokens, gate, text_gate = self.norm2(x, text, time)
        out = self.ff_out(F.gelu(self.ff_proj(tokens), approximate="tanh"))
        return x + gate * out[:, length:], text + text_gate * out[:, :length]


class PatchEmbedding(nn.Module):
    """Latent patches and the prompt's embedding as tokens of the network's width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(LATENT_CHANNELS, dim, PATCH, PATCH)
        self.text_proj = nn.Linear(TEXT_DIM, dim)


class HeadNorm(nn.Module):
    """The last layer norm, shifted and scaled by the time."""

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(time_dim, 2 * dim), nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.linear(F.silu(time))[:, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class TinyCogVideoX(nn.Module):
    """The CogVideoX network: noisy latent of unit variance, timestep and prompt in, v out."""

    def __init__(self, dim: int = 128, time_dim: int = 64, num_layers: int = 8) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(dim)
        self.time_embedding_linear_1 = nn.Linear(dim, time_dim)
        self.time_embedding_linear_2 = nn.Linear(time_dim, time_dim)
        self.blocks = nn.ModuleList(Block(dim, time_dim) for _ in range(num_layers))
        self.norm_final = nn.LayerNorm(dim, eps=1e-5)
        self.norm_out = HeadNorm(dim, time_dim)
        self.proj_out = nn.Linear(dim, PATCH * PATCH * LATENT_CHANNELS)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Return `v = sqrt(alpha) noise - sqrt(1 - alpha) clean`, `[B, 16, T, H, W]`.

        `x` is the noisy latent `[B, 16, T, H, W]` (H and W even), `timestep [B]` runs from 0 to 999, and
        `context` is the prompt embedding `[B, L, 4096]`.
        """
        frames, height, width = x.shape[2], x.shape[3] // PATCH, x.shape[4] // PATCH
        patches = self.patch_embed.proj(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, frames))
        tokens, text = patches.movedim(2, -1).flatten(1, 3), self.patch_embed.text_proj(context)
        features = timestep_embedding(timestep, tokens.shape[-1])
        time = self.time_embedding_linear_2(F.silu(self.time_embedding_linear_1(features)))
        table = rotary_table(frames, height, width)
        for block in self.blocks:
            tokens, text = block(tokens, text, time, table)
        out = self.proj_out(self.norm_out(self.norm_final(tokens), time))
        out = out.unflatten(-1, (LATENT_CHANNELS, PATCH, PATCH)).unflatten(1, (frames, height, width))
        return torch.einsum("bfhwcqr->bcfhqwr", out).reshape(x.shape)
