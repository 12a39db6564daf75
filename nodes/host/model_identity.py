"""The fingerprint that ties a table to a model's architecture, and the model's readable name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

SAMPLED = 16  # weights, of which the first numbers are hashed
_UNUSUAL = re.compile(r"[^A-Za-z0-9.()+-]+")
_NOT_IDENTITY = {"dtype", "device", "operations"}


def _plain(value: Any) -> Any:
    """Turn a config value into something JSON writes the same way in every process and on every host.

    Newer hosts list more settings of the same model, switched off; so what is off or empty is left out.
    """
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if key not in _NOT_IDENTITY and not _off(entry)}
        return {str(key): _plain(entry) for key, entry in kept.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return type(value).__name__


def _off(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, dict | list | tuple | str) and not value)


def parameter_count(model: Any) -> int:
    """Count the network's parameters."""
    return sum(parameter.numel() for parameter in model.model.diffusion_model.parameters())


def fingerprint(model: Any) -> str:
    """Hash what defines a model's architecture: 16 hexadecimal digits, the same in every process and dtype.

    Weights, LoRAs, the sampling shift and the storage of quantised weights stay out of it: a table is looked
    up by model time, and serves a model's fp8 file as well as its bf16 one.
    """
    inner = model.model
    sampling = model.get_model_object("model_sampling")
    identity = {
        "model": type(inner).__name__,
        "config": type(inner.model_config).__name__,
        "unet_config": _plain(inner.model_config.unet_config),
        "latent_format": type(inner.latent_format).__name__,
        "latent_channels": inner.latent_format.latent_channels,
        # the class itself has another name once a shift node has replaced it
        "prediction": [base.__name__ for base in type(sampling).__mro__[1:]],
        "multiplier": float(getattr(sampling, "multiplier", 1.0)),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def weights_digest(model: Any) -> str:
    """Hash a sample of the model's own weights: one architecture may hold another expert, or a fine-tune.

    Weights that the host has patched in place (LoRAs) count as they were before.
    """
    hashed = hashlib.sha256()
    network = model.model.diffusion_model
    # a state dict of packed weights may hold stand-ins
    parameters = sorted((_uncompiled(name), name, value) for name, value in network.named_parameters())
    for plain, name, value in parameters[:: max(1, len(parameters) // SAMPLED)]:
        hashed.update(plain.encode())
        kept = model.backup.get(f"diffusion_model.{name}")
        hashed.update(_beginning(value if kept is None else kept.weight))
    return hashed.hexdigest()[:16]


def _uncompiled(name: str) -> str:
    """Name a weight as before torch.compile, which wraps single blocks only while the model is loaded."""
    return name.replace("_orig_mod.", "")


def loras_digest(model: Any) -> str:
    """Hash the patches on a model's weights and their strengths; empty where there are none.

    The same in every session, unlike the host's own name for a set of patches.
    """
    if not model.patches:
        return ""
    hashed = hashlib.sha256()
    keys = sorted(model.patches, key=str)
    for key in keys:
        strengths = [[entry[0], entry[2]] for entry in model.patches[key]]
        hashed.update(json.dumps([str(key), strengths], default=str).encode())
    for key in keys[:: max(1, len(keys) // SAMPLED)]:
        for tensor in _tensors(model.patches[key]):
            hashed.update(_beginning(tensor))
    return hashed.hexdigest()[:16]


def _beginning(tensor: Tensor) -> bytes:
    """Return a tensor's first numbers; its shape where it holds none, as weights that wait to be loaded."""
    try:
        if hasattr(tensor, "to_local"):  # a weight spread over cards: the first card has its beginning
            tensor = tensor.to_local()
        return bytes(tensor.detach().flatten()[:64].float().cpu().numpy().tobytes())
    except Exception:  # another pack's tensor may refuse anything, and its run is not to be stopped by that
        return str(tuple(tensor.shape)).encode()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a patch: plain ones, nested ones, and those of the host's weight adapters."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif hasattr(value, "weights"):
        yield from _tensors(value.weights)


def file_name(model: Any) -> str:
    """Return the name of the file that a model was loaded from, where the host remembers it; else nothing."""
    _, arguments, *_ = getattr(model, "cached_patcher_init", None) or (None, ())
    first = arguments[0] if arguments else ""
    return Path(first).name if isinstance(first, str) else ""


def plain_name(model: Any) -> str:
    """Return a name for a model's own files: its file's, else its class's."""
    stem = Path(file_name(model)).stem or type(model.model.model_config).__name__
    return _UNUSUAL.sub("_", stem).strip("_.")[:60] or "model"


def readable_name(model: Any) -> str:
    """Name a model for a person, such as `WAN21_T2V (1.42 B parameters)`."""
    count = parameter_count(model)
    size = f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"
    return f"{type(model.model.model_config).__name__} ({size} parameters)"
