"""Rotary position embedding of neighbouring channel pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn channel pairs of `x [..., L, dim]` by angles given as cosine and sine, `[2, L, dim/2]`."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
