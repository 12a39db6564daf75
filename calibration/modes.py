"""How a model's outputs go together along a sampling run: what tells the error of any forecast from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import einops
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from .checks import MAX_KNOTS, refuse_unless, validated

MAX_MODES = 24
MAX_ELEMENTS = 65536
_LIMIT = 1e6
MARGIN = 1e-3  # of the measured range: a sampler that adds noise begins a little beside its schedule
LONG_GAP = 4.0  # times as long as both gaps beside it: there one part of a run was measured, then another


@dataclass(frozen=True, slots=True, eq=False)
class OutputModes:
    """The outputs of a run as curves in a few common directions, means over the calibration samples.

    `values [R, B, M]` at the model times `timestep [M]` (descending) of the branches B (positive, then
    negative where there was guidance). Their inner products over R are those of the outputs, per element: the
    mean square of any weighted sum of outputs is the squared length of the same sum of columns. Float32;
    raises TableError for anything else.
    """

    timestep: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        refuse_unless(self.timestep.ndim == 1, "its 'modes_timestep' has not one dimension")
        knots = len(self.timestep)
        refuse_unless(2 <= knots <= MAX_KNOTS, f"it has {knots} timesteps in its modes")
        shape = tuple(self.values.shape)
        fits = len(shape) == 3 and 1 <= shape[0] <= MAX_MODES and shape[1] in (1, 2)
        refuse_unless(fits, f"its 'output_modes' has shape {list(shape[:6])}")
        timestep = validated("modes_timestep", self.timestep, (knots,), -_LIMIT, _LIMIT)
        refuse_unless(bool((timestep.diff() < 0).all()), "the timesteps of its modes do not descend")
        values = validated("output_modes", self.values, (*shape[:2], knots), -_LIMIT, _LIMIT)
        object.__setattr__(self, "timestep", timestep)
        object.__setattr__(self, "values", values)

    def guided(self, timesteps: Sequence[float], cfg: float) -> Tensor:
        """Return the guided output's columns at model times, `[len(timesteps), R]`, float64.

        `negative + cfg * (positive - negative)`; without a measured negative branch the positive one.
        """
        branches = self.at(timesteps)
        if branches.shape[1] == 2:
            return (branches[:, 1] + cfg * (branches[:, 0] - branches[:, 1])).T
        return branches[:, 0].T

    def at(self, timesteps: Sequence[float]) -> Tensor:
        """Return every branch's columns at model times, `[R, B, len(timesteps)]`, float64.

        Between the knots a natural cubic spline answers, outside them the straight line that it ends in: no
        plan relies on that (`covers`).
        """
        times = torch.as_tensor(timesteps, dtype=torch.float64)
        knots = self.timestep.double()
        columns = self.values.double().flip(2).numpy()
        spline = CubicSpline(knots.flip(0).numpy(), columns, axis=2, bc_type="natural")
        inside = times.clamp(knots[-1], knots[0]).numpy()
        return torch.from_numpy(spline(inside) + (times.numpy() - inside) * spline(inside, 1))

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest model time that counts as measured: a margin around the knots."""
        first, last = float(self.timestep[0]), float(self.timestep[-1])
        return last - MARGIN * (first - last), first + MARGIN * (first - last)

    def covers(self, timesteps: Sequence[float]) -> Tensor:
        """Tell of each model time whether it was measured, `[K]`: it lies in the span, and in no long gap."""
        low, high = self.span
        times = torch.as_tensor(timesteps, dtype=torch.float64)
        measured = (times >= low) & (times <= high)
        for before, after in self.gaps:
            measured &= (times >= before) | (times <= after)
        return measured

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The long gaps between two measured parts: the model times at their beginning and end."""
        lengths = -self.timestep.double().diff()
        beside = torch.cat([lengths.new_zeros(1), lengths, lengths.new_zeros(1)])
        long = (lengths > LONG_GAP * beside[:-2]) & (lengths > LONG_GAP * beside[2:])
        inner: list[int] = (long[1:-1].nonzero().flatten() + 1).tolist()
        return [(float(self.timestep[k]), float(self.timestep[k + 1])) for k in inner]

    def merged(self, own: int, other: OutputModes, others: int) -> OutputModes:
        """Return the modes of `own` samples measured here and `others` in another, on the same knots."""
        flat = [modes.values.double().flatten(1) for modes in (self, other)]
        gram = (own * flat[0].T @ flat[0] + others * flat[1].T @ flat[1]) / (own + others)
        return from_gram(self.timestep, gram, self.values.shape[1])


def from_gram(timestep: Tensor, gram: Tensor, branches: int) -> OutputModes:
    """Take the leading modes of inner products `gram [B*M, B*M]` of outputs, per element."""
    strengths, directions = torch.linalg.eigh(gram.double())
    kept = directions.flip(1) * strengths.flip(0).clamp_min(0).sqrt()
    values = einops.rearrange(kept[:, :MAX_MODES], "(branch m) r -> r branch m", branch=branches)
    return OutputModes(timestep.float(), values.float().contiguous())


def sketch(output: Tensor) -> Tensor:
    """Keep at most 65,536 evenly spread elements of each sample: `[B, ...]` to float32 `[B, n]` on the CPU.

    Mean squares of weighted sums of outputs stay what they are up to the sampling of elements.
    """
    flat = output.detach().flatten(1)
    if flat.shape[1] > MAX_ELEMENTS:
        at = torch.linspace(0, flat.shape[1] - 1, MAX_ELEMENTS, dtype=torch.float64).long()
        flat = flat[:, at.to(flat.device)]
    return flat.to("cpu", torch.float32, copy=True)


def from_outputs(timesteps: Sequence[float], outputs: Sequence[Sequence[Tensor]]) -> OutputModes:
    """Take the modes of one run: at each model time the sketches `[B, n]` of its branches."""
    rows = torch.stack([torch.stack(list(branches)) for branches in outputs], dim=1).double()
    flat = einops.rearrange(rows, "branch m b n -> b (branch m) n")
    gram = (flat @ flat.mT).mean(dim=0) / flat.shape[-1]
    return from_gram(torch.tensor(timesteps), gram, rows.shape[0])
