"""Sequence parallelism with ComfyUI's own patches: a Wan model's tokens are split over a group's ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def gathered(part: Tensor) -> Tensor:
    """Return the tokens `[B, L, C]` of all ranks, from each rank's part `[B, L / ranks, C]`."""
    parts = [torch.empty_like(part) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts, dim=1)


def own_part(whole: Tensor) -> Tensor:
    """Return this rank's share of the tokens, dimension 1."""
    parts = whole.chunk(torch.distributed.get_world_size(), dim=1)
    return parts[torch.distributed.get_rank()]


def split(model: Any) -> Any:
    """Return a clone of a ModelPatcher whose blocks work on this rank's tokens alone.

    Queries stay where they are; every block's keys and values are gathered from all ranks, and so is the last
    block's output.
    """
    clone = model.clone()
    last = len(clone.model.diffusion_model.blocks) - 1

    def block(index: int) -> Any:
        def run(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            img = own_part(args["img"]) if index == 0 else args["img"]
            out = extra["original_block"]({**args, "img": img, "pe": own_part(args["pe"])})
            return {"img": gathered(out["img"])} if index == last else out

        return run

    def attention(function: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if q.shape == k.shape:  # not the prompt's keys, which every rank has
            k, v = gathered(k), gathered(v)
        return function(q, k, v, *args, **kwargs)

    for index in range(last + 1):
        clone.set_model_patch_replace(block(index), "dit", "double_block", index)
    clone.model_options["transformer_options"]["optimized_attention_override"] = attention
    return clone
