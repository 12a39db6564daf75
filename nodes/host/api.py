"""Small differences between ComfyUI's versions, told by feature and never by version number."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image


def advanced(widget: Any) -> Any:
    """Fold an input away under "advanced", and return it.

    Hosts from 0.8 on take `advanced=`, older ones only keep it among an input's extra entries.
    """
    if hasattr(widget, "advanced"):
        widget.advanced = True
    else:
        widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget


def aliases(*names: str) -> dict[str, Any]:
    """Return the keyword for a node's other names in the search box, where the host has it."""
    known = "search_aliases" in inspect.signature(io.Schema.__init__).parameters
    return {"search_aliases": list(names)} if known else {}


def out_of_search() -> dict[str, Any]:
    """Return the keyword that keeps a node out of the search box, where the host has one."""
    known = "is_dev_only" in inspect.signature(io.Schema.__init__).parameters
    return {"is_dev_only": True} if known else {}


def as_image(picture: Image.Image) -> torch.Tensor:
    """Turn a picture into ComfyUI's IMAGE: `[1, H, W, 3]`, float32, 0 to 1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]
