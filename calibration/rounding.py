"""Rounds a finished table to what was measured, so that its file and its text in a workflow stay small.

Ours. The steps are far below what the samples differ by, and at 2^-14 of the outputs' size nearly all
plans stay the same (`tests/benchmarks/table_size.py` measures it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .modes import OutputModes
from .table import SensitivityTable

ROW_BITS = 9
MODE_BITS = 14


def rounded(table: SensitivityTable) -> SensitivityTable:
    """Round every sample's values to 9 significant bits, and the modes to steps of their size / 16384."""
    rows = {name: _significant(row, ROW_BITS) for name, row in table.rows.items()}
    modes = None if table.modes is None else _rounded_modes(table.modes)
    return SensitivityTable(table.timestep, table.sigma, rows, table.metadata, modes)


def _significant(values: Tensor, bits: int) -> Tensor:
    mantissa, exponent = torch.frexp(values.double())
    return torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent).float() + 0.0  # no -0.0


def _rounded_modes(modes: OutputModes) -> OutputModes:
    """Round to one step for all, a power of two: an error in any mode counts alike."""
    values = modes.values.double()
    size = values.square().sum(dim=0).mean().sqrt().item()
    if size == 0:
        return modes
    step = 2.0 ** (math.floor(math.log2(size)) - MODE_BITS)
    return OutputModes(modes.timestep, (torch.round(values / step) * step).float() + 0.0)
