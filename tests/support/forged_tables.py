"""Tables that no code of ours would write, under a checksum that fits all the same."""

from __future__ import annotations

from typing import Any

import safetensors.torch
from torch import Tensor


def forged(table: Any, **changed: Tensor | None) -> bytes:
    """Return a table's file with other tensors in it, None for none; nothing is checked."""
    from sencache.calibration import table as tables
    from sencache.calibration.checks import DIGEST_KEY, VERSION_KEY

    held = safetensors.torch.load(tables.to_bytes(table)) | changed
    tensors = {name: tensor.contiguous() for name, tensor in held.items() if tensor is not None}
    metadata = {**table.metadata, VERSION_KEY: tables.FORMAT_VERSION}
    metadata[DIGEST_KEY] = tables._digest(tensors, metadata)
    return bytes(safetensors.torch.save(tensors, metadata))
