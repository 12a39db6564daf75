"""Joins what was measured in different parts of the sampling: slices, image to image, an expert's half."""

from __future__ import annotations

import torch
from torch import Tensor

from .modes import OutputModes, from_gram
from .table import SensitivityTable

SLIGHT = 1e-3  # of the strongest: weaker directions are not told apart where two parts meet


def joined(table: SensitivityTable, part: SensitivityTable) -> SensitivityTable:
    """Return a table with what `part` measured where the table has nothing; the table's metadata stay.

    Both are of one model and as many branches; rows become means. Returns the table itself where the part
    has nothing new.
    """
    assert table.modes is not None and part.modes is not None, "both were measured by watching a run"
    modes = joined_modes(table.modes, part.modes)
    if modes is table.modes:
        return table
    new = ~table.modes.covers(part.timestep.tolist())
    timestep, order = torch.sort(torch.cat([table.timestep, part.timestep[new]]), descending=True)
    rows = {}
    for name in table.rows.keys() & part.rows.keys():
        own, other = table.mean(name), part.mean(name)
        rows[name] = torch.cat([torch.tensor([own]), torch.tensor([other])[:, new]], dim=1)[:, order]
    sigma = torch.cat([table.sigma, part.sigma[new]])[order]
    return SensitivityTable(timestep, sigma, rows, table.metadata, modes)


def joined_modes(modes: OutputModes, part: OutputModes) -> OutputModes:
    """Return modes with those of another run where they have measured nothing themselves.

    What both say of the times that they share, or of the edges where they meet, shows how the part's
    directions have to be turned to lie as these do (Procrustes); what the part has beside that is taken to be
    unrelated to them (ours).
    """
    new = ~modes.covers(part.timestep.tolist())
    if not bool(new.any()):
        return modes
    own, foreign = (_flat(one.at(_shared(modes, part))) for one in (modes, part))
    added = _flat(part.values.double()[:, :, new])
    left, strengths, right = torch.linalg.svd(own @ foreign.T)
    rank = int((strengths > SLIGHT * strengths[0]).sum())
    known = right[:rank] @ added  # in the directions that both parts know; turned, never stretched
    rest = added - right[:rank].T @ known
    held = _flat(modes.values.double())
    above = torch.cat([held, left[:, :rank] @ known], dim=1)
    below = torch.cat([held.new_zeros(len(rest), held.shape[1]), rest], dim=1)
    both = torch.cat([above, below]).T
    branches = modes.values.shape[1]
    place = _places(branches, len(modes.timestep), int(new.sum()))
    timestep, order = torch.sort(torch.cat([modes.timestep, part.timestep[new]]), descending=True)
    sorted_rows = both[place][:, order].flatten(0, 1)
    return from_gram(timestep, sorted_rows @ sorted_rows.T, branches)


def _flat(values: Tensor) -> Tensor:
    """Put branches and times on one axis: `[R, B, T]` to `[R, B * T]`."""
    return values.flatten(1)


def _places(branches: int, held: int, added: int) -> Tensor:
    """Return where each branch's columns stand, the held times before the added: `[B, held + added]`."""
    first = torch.arange(branches * held).reshape(branches, held)
    second = branches * held + torch.arange(branches * added).reshape(branches, added)
    return torch.cat([first, second], dim=1)


def _shared(modes: OutputModes, part: OutputModes) -> list[float]:
    """Return the model times that both have measured, and some around the edges where they meet.

    There each goes on straight for a step, so that not only places but also directions are compared.
    """
    times = part.timestep.tolist()
    found = {time for time, held in zip(times, modes.covers(times).tolist(), strict=True) if held}
    for edge, step in _edges(modes):
        for end, _ in _edges(part):
            if abs(edge - end) <= 2 * step or not found and (edge, step) == _nearest(modes, part):
                found |= {edge - step, edge, edge + step, end}
    return sorted(found, reverse=True)


def _edges(modes: OutputModes) -> list[tuple[float, float]]:
    """Return both ends of what was measured, and the step next to each."""
    times = modes.timestep.tolist()
    return [(times[0], times[0] - times[1]), (times[-1], times[-2] - times[-1])]


def _nearest(modes: OutputModes, part: OutputModes) -> tuple[float, float]:
    """Return the edge of the modes, with its step, that is nearest to one of the part's."""
    ends = [end for end, _ in _edges(part)]
    return min(_edges(modes), key=lambda edge: min(abs(edge[0] - end) for end in ends))
