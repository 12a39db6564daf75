"""What a sensitivity table may hold: its names and limits, and the error for everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

MAX_KNOTS = 1000
MAX_SAMPLES = 1000
MAX_METADATA_ENTRIES = 64
MAX_METADATA_CHARACTERS = 4096

SENSITIVITY_ROWS = ("latent_sensitivity", "time_sensitivity")
ROW_LIMITS = {
    "latent_sensitivity": (0.0, 1e6),
    "time_sensitivity": (0.0, 1e6),
    "alignment": (-1.0, 1.0),
    "output_rms": (0.0, 1e6),
    "latent_drift": (0.0, 1e6),
}

VERSION_KEY = "format_version"
DIGEST_KEY = "sha256"

# safetensors writes UTF-8, which cannot hold these; they come from file names that are not valid UTF-8.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class TableError(ValueError):
    """A sensitivity table that can't be used; the message is one sentence for the person who chose it."""


def refuse_unless(condition: bool, message: str) -> None:
    """Raise TableError with the message unless the condition holds."""
    if not condition:
        raise TableError(message)


def validated(name: str, tensor: Tensor, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Return a CPU copy of a finite float32 tensor of that shape within [low, high], or raise TableError."""
    refuse_unless(tensor.dtype == torch.float32, f"its '{name}' is {tensor.dtype}, not float32")
    got = list(tensor.shape[:6])
    refuse_unless(tuple(tensor.shape) == shape, f"its '{name}' has shape {got}, not {list(shape)}")
    refuse_unless(bool(torch.isfinite(tensor).all()), f"its '{name}' has values that are not finite")
    inside = bool((tensor >= low).all()) and bool((tensor <= high).all())
    refuse_unless(inside, f"its '{name}' leaves the range {low:g} to {high:g}")
    return tensor.detach().cpu().clone().contiguous()


def validated_rows(rows: Mapping[str, Tensor], knots: int) -> dict[str, Tensor]:
    """Return copies of the rows `[S, knots]`, or raise TableError.

    A run that was only watched has no sensitivities; one of the two alone is a damaged table.
    """
    missing = [name for name in SENSITIVITY_ROWS if name not in rows]
    refuse_unless(len(missing) != 1, f"it has no '{missing[0] if missing else ''}'")
    refuse_unless(bool(rows), "it holds nothing measured")
    first = rows[min(rows) if missing else SENSITIVITY_ROWS[0]]
    samples = len(first) if first.ndim else 0
    allowed = f"1 to {MAX_SAMPLES} are allowed"
    refuse_unless(1 <= samples <= MAX_SAMPLES, f"it has {samples} samples; {allowed}")
    copies = {}
    for name, row in rows.items():
        refuse_unless(name in ROW_LIMITS, f"it has an unknown entry {name[:40]!r}")
        copies[name] = validated(name, row, (samples, knots), *ROW_LIMITS[name])
    return copies


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _LONE_SURROGATE.search(value)


def validated_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries without the two that describe the file itself, or raise TableError."""
    kept = {key: value for key, value in metadata.items() if key not in (VERSION_KEY, DIGEST_KEY)}
    for key, value in kept.items():
        refuse_unless(_is_text(key) and _is_text(value), "its metadata is not all text")
        short = len(key) <= 64 and len(value) <= MAX_METADATA_CHARACTERS
        refuse_unless(short, f"its metadata {key[:40]!r} is too long")
    allowed = f"{MAX_METADATA_ENTRIES} are allowed"
    refuse_unless(len(kept) <= MAX_METADATA_ENTRIES, f"it has {len(kept)} metadata entries; {allowed}")
    return kept
