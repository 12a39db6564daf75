"""Ranks of a `torch.distributed` group that sample one video together: all of them reuse, or all compute.

Each decides by its own scores, and those differ by the rounding of its card. One that computes while another
reuses would wait for tensors that never come, or mix two steps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed


class Ranks:
    """The default process group, if it has more than one rank."""

    @classmethod
    def find(cls) -> Ranks | None:
        """Return the ranks that sample together with this one, None where there are no others."""
        distributed = torch.distributed
        if not distributed.is_available() or not distributed.is_initialized():
            return None
        return cls() if distributed.get_world_size() > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the rank that speaks and writes for all."""
        return torch.distributed.get_rank() == 0

    def from_first(self, value: Any) -> Any:
        """Return the first rank's value on every rank; each has to ask at the same place."""
        held = [value]
        torch.distributed.broadcast_object_list(held, src=0)
        return held[0]

    def all_agree(self, agrees: bool, device: torch.device) -> bool:
        """Tell whether every rank agrees, to begin a run or to reuse; each has to ask at the same place.

        `device` is the model's: NCCL reduces on GPUs alone.
        """
        agreed = torch.tensor(int(agrees), dtype=torch.int32, device=device)
        torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MIN)
        return bool(agreed.item())
