"""Estimates sensitivities by finite differences on a network that is only ever evaluated."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .modes import OutputModes, from_outputs, sketch
from .table import SensitivityTable, TableError, merge

Denoise = Callable[[Tensor, float], Tensor]
"""The raw network output `[B, ...]` for a latent `[B, ...]` in model-input space and a model time."""

CLOSE = 1e-5  # of the first model time: rounding alone moves a second look at one sigma that far
EXTRA_EVALUATIONS = 2


def comes_after(timestep: float, held: float, first: float) -> bool:
    """Tell whether an evaluation comes after that at model time `held` in a run that began at `first`.

    A second look at one sigma does not, though rounding may move it a little.
    """
    return timestep < held - CLOSE * abs(first)


def sample_rms(tensor: Tensor) -> Tensor:
    """Return `sqrt(mean(a**2))` of every sample: `[B, ...]` to `[B]`, float32."""
    flat = tensor.flatten(1).float()
    norm: Tensor = torch.linalg.vector_norm(flat, dim=1)
    return norm / math.sqrt(flat.shape[1])


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, torch.zeros_like(above))


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation: latent `x [B, ...]` (model-input space), its times, the raw `output [B, ...]`."""

    x: Tensor
    sigma: float
    timestep: float
    output: Tensor


def measure(denoise: Denoise, here: Point, following: Point) -> dict[str, Tensor]:
    """Measure the sensitivities at `here` towards the `following` point, `[B]` each, with two evaluations.

    Between the two points the latent and the time change together; here each is changed alone (paper, section
    on estimating the Jacobian norms; `alignment`, the cosine between both changes of the output, is ours).
    """
    by_latent = denoise(following.x, here.timestep) - here.output
    by_time = denoise(here.x, following.timestep) - here.output
    moved = sample_rms(following.x - here.x)
    elapsed = abs(following.timestep - here.timestep)
    latent_rms, time_rms = sample_rms(by_latent), sample_rms(by_time)
    inner = (by_latent.float() * by_time.float()).flatten(1).mean(dim=1)
    return {
        "latent_sensitivity": _ratio(latent_rms, moved),
        "time_sensitivity": time_rms / elapsed,
        "alignment": _ratio(inner, latent_rms * time_rms).clamp(-1, 1),
        "output_rms": sample_rms(here.output),
        "latent_drift": moved / elapsed,
    }


@dataclass(slots=True)
class TrajectoryProbe:
    """Watches the evaluations of one trajectory and measures sensitivities at those that are due.

    `observe` is called with every computed evaluation in order; it costs two evaluations of `denoise` for the
    one before, where `due` says so of its sigma; for the last one nothing is measured. Model time has to
    descend from knot to knot: an evaluation that does not move on, such as a second-order sampler's second
    look at one sigma or its return from a look ahead, only replaces the one before. `denoise` may raise to
    cancel; then this trajectory is lost and nothing else.
    """

    denoise: Denoise
    due: Callable[[float], bool] = lambda sigma: True
    _previous: Point | None = None
    _knots: list[tuple[float, float]] = field(default_factory=list)
    _rows: list[dict[str, Tensor]] = field(default_factory=list)
    _outputs: list[tuple[float, list[Tensor]]] = field(default_factory=list)

    def observe(
        self, x: Tensor, sigma: float, timestep: float, output: Tensor, negative: Tensor | None = None
    ) -> None:
        """Take in the evaluation of `x [B, ...]` (model-input space) that gave the raw `output [B, ...]`.

        `negative` is the negative branch's output where there is guidance. Raises TableError for a latent of
        another size than the one before.
        """
        if self._previous is not None and self._previous.x.shape != x.shape:
            raise TableError(
                "the sampler changes the latent's size on its way, so its steps can't be compared; "
                "measure with another sampler"
            )
        first = self._outputs[0][0] if self._outputs else timestep
        while self._outputs and not comes_after(timestep, self._outputs[-1][0], first):
            del self._outputs[-1]
        branches = [output] if negative is None else [output, negative]
        self._outputs.append((timestep, [sketch(one) for one in branches]))
        point = Point(x.detach().clone(), sigma, timestep, output.detach().clone())
        previous = self._previous
        moves_on = (
            previous is not None
            and comes_after(point.timestep, previous.timestep, first)
            and comes_after(previous.timestep, self._last_knot(), first)
        )
        if previous is not None and moves_on and self.due(previous.sigma):
            measured = measure(self.denoise, previous, point)
            self._rows.append({name: row.cpu() for name, row in measured.items()})
            self._knots.append((previous.timestep, previous.sigma))
        self._previous = point

    def add(self, timestep: float, branches: Sequence[Tensor]) -> None:
        """Take in the raw outputs `[B, ...]` of an evaluation beside the trajectory's, for modes alone."""
        place = bisect.bisect_left(self._outputs, -timestep, key=lambda one: -one[0])
        if place == len(self._outputs) or self._outputs[place][0] != timestep:
            self._outputs.insert(place, (timestep, [sketch(one) for one in branches]))

    def _last_knot(self) -> float:
        return self._knots[-1][0] if self._knots else math.inf

    def table(self, metadata: Mapping[str, str]) -> SensitivityTable:
        """Return what was measured as a table of `B` samples; raises TableError for fewer than two steps."""
        if not self._rows:
            raise TableError("a calibration needs at least two sampling steps")
        timestep, sigma = torch.tensor(self._knots, dtype=torch.float32).T
        rows = {name: torch.stack([row[name] for row in self._rows], dim=1) for name in self._rows[0]}
        return SensitivityTable(timestep, sigma, rows, metadata, self._modes())

    def _modes(self) -> OutputModes:
        """Return the modes; where guidance is off for a while, the output counts for both branches."""
        times, outputs = zip(*self._outputs, strict=True)
        most = max(len(one) for one in outputs)
        return from_outputs(times, [[*one, *one[:1]][:most] for one in outputs])


@dataclass(slots=True)
class Calibration:
    """Collects the samples of one calibration; finished ones survive a cancel.

    `finished` is the table of an earlier, cancelled calibration with the same `metadata`; another one is left
    out.
    """

    num_samples: int
    metadata: Mapping[str, str]
    finished: SensitivityTable | None = None

    def __post_init__(self) -> None:
        if self.finished is not None and dict(self.finished.metadata) != dict(self.metadata):
            self.finished = None

    @property
    def done(self) -> int:
        """How many samples are finished, at most `num_samples`."""
        return 0 if self.finished is None else min(self.num_samples, self.finished.num_samples)

    def add(self, probe: TrajectoryProbe) -> SensitivityTable:
        """Take in a finished trajectory, return the table so far; raises TableError if its steps differ."""
        table = probe.table(self.metadata)
        self.finished = table if self.finished is None else merge(self.finished, table)
        return self.finished
