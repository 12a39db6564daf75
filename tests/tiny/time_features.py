"""The cosine and sine features of time that every architecture here embeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHORTEST_PERIOD = 200.0


def _frequencies(dim: int, device: torch.device | None = None) -> Tensor:
    half = dim // 2
    return torch.pow(10000, -torch.arange(half, device=device).div(half))


def timestep_embedding(timestep: Tensor, dim: int = 256) -> Tensor:
    """Embed `timestep [B]` (0 to 1000) as cosines and sines, `[B, dim]`."""
    angles = torch.outer(timestep.float(), _frequencies(dim, timestep.device))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def leave_out_fast_features(first_layer: nn.Linear) -> None:
    """Zero and freeze the weights of time features with periods under 200 of the 1000 time units.

    An hour of training is too short to learn to ignore them: they left the output rough in time, which a
    fully trained model's is not.
    """
    weight = first_layer.weight
    kept = (2 * torch.pi / _frequencies(weight.shape[1], weight.device) >= SHORTEST_PERIOD).float().repeat(2)
    weight.data.mul_(kept)
    weight.register_hook(lambda gradient: gradient * kept)
