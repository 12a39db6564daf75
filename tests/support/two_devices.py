"""Two devices for ComfyUI's own MultiGPU nodes, on a machine that has one: its CPU under two names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

DEVICES = (torch.device("cpu"), torch.device("cpu:0"))
NODE = "MultiGPU_WorkUnits"


@contextmanager
def two_devices() -> Iterator[None]:
    """Let ComfyUI find both devices for a while."""
    import comfy.model_management as management

    earlier = management.get_all_torch_devices
    management.get_all_torch_devices = lambda *args, **kwargs: list(DEVICES)
    try:
        yield
    finally:
        management.get_all_torch_devices = earlier


def is_there(nodes: Any) -> bool:
    """Tell whether this host has the node; older ones lack it."""
    return NODE in nodes.NODE_CLASS_MAPPINGS


def split(nodes: Any, model: Any) -> Any:
    """Run ComfyUI's node on a model: its second network is loaded anew from the model's file."""
    import comfy.model_management as management

    # the node stumbles over models of earlier tests that are gone
    management.current_loaded_models[:] = [one for one in management.current_loaded_models if one.model]
    with two_devices():
        return nodes.NODE_CLASS_MAPPINGS[NODE].execute(model, len(DEVICES)).args[0]
