"""A sensitivity table with numbers to check by hand, and files that have visible effects when unpickled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from sencache.calibration.table import SensitivityTable, TableError, load
from torch import Tensor


def parts() -> dict[str, Tensor]:
    """Return two samples on three knots; the means are 2, 3, 5 (latent) and 0.25, 0.5, 1.5 (time)."""
    return {
        "timestep": torch.tensor([1000.0, 500.0, 100.0]),
        "sigma": torch.tensor([1.0, 0.5, 0.125]),
        "latent_sensitivity": torch.tensor([[1.0, 2.0, 4.0], [3.0, 4.0, 6.0]]),
        "time_sensitivity": torch.tensor([[0.25, 0.5, 1.0], [0.25, 0.5, 2.0]]),
    }


def build(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> SensitivityTable:
    """Make a table of knots and rows in one dictionary."""
    rows = dict(tensors)
    timestep, sigma = rows.pop("timestep"), rows.pop("sigma")
    return SensitivityTable(timestep, sigma, rows, {"fingerprint": "wan-a"} if metadata is None else metadata)


def refusal(path: Path, read=load, kind: str = "sensitivity table") -> str:
    """Read a file that must be refused, and return the reason out of the one sentence about it."""
    with pytest.raises(TableError) as caught:
        read(path)
    sentence = str(caught.value)
    start = f"The {kind} {path.name!r} can't be used: "
    assert sentence.startswith(start) and sentence.endswith("."), sentence
    assert sentence.isprintable() and ". " not in sentence and len(sentence) < 250, sentence
    return sentence[len(start) : -1]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)
