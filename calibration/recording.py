"""Measures a model by watching an ordinary sampling run: nothing more is evaluated (ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import torch
from torch import Tensor

from .checks import MAX_KNOTS, TableError
from .estimator import comes_after, sample_rms
from .modes import from_outputs
from .table import SOURCE, SensitivityTable

MOST_BYTES = 48 << 20  # of main memory that a run's sketches take
MOST_SAMPLES = 32  # of a batch; so that a large one leaves enough elements of each
MOST_ELEMENTS = 16384  # of each sample's latent: the errors that a plan is made of are within 2 % then
LEAST_ELEMENTS = 64
LEAST_STEPS = 4
STEADY = 0.5  # the least cosine, in the middle, of the directions of two steps of a sampler without noise

ROWS = ("latent_drift", "output_rms")  # of a table that was measured by watching

Shares = Callable[[float], tuple[float, float]]
"""How much of the clean latent and of the noise is in a latent at a sigma."""


class Obstacle(str, Enum):
    """Why a run can't be measured; its sentence is the note `unmeasurable_...` in `locales/*/main.json`."""

    MASKED_OUT = "masked_out"
    SIZE_CHANGED = "size_changed"
    TOO_MANY_EVALUATIONS = "too_many_evaluations"
    TOO_FEW_STEPS = "too_few_steps"
    NOT_FINITE = "not_finite"
    NOISE_ADDED = "noise_added"
    CONDS_CHANGED = "conds_changed"
    NO_POSITIVE = "no_positive"
    UNKNOWN_GUIDER = "unknown_guider"
    OTHER_MODEL = "other_model"
    NOT_MEASURABLE = "not_measurable"


class UnmeasurableError(Exception):
    """A run that can't be measured."""

    def __init__(self, why: Obstacle) -> None:
        super().__init__(why.value)
        self.why = why


def is_recorded(table: SensitivityTable) -> bool:
    """Tell whether a table was measured by watching a run, and not by SenCache Calibrate."""
    return table.metadata.get("source") == SOURCE


@dataclass(frozen=True, slots=True)
class Sketch:
    """One evaluation: latent `x [B, n]` and raw `outputs [B, n]` of its branches, at chosen elements.

    `after_reuse` tells whether evaluations that were not computed lie between it and the one before.
    """

    sigma: float
    timestep: float
    x: Tensor
    outputs: tuple[Tensor, ...]
    after_reuse: bool = False


def chosen_elements(
    shape: Sequence[int], steps: int, mask: Tensor | None = None, tensors: int = 3
) -> Tensor:
    """Choose evenly spread elements of each sample of a latent of `shape [B, ...]`: int64 `[n]`.

    So many that `tensors` sketches of `steps` evaluations fit into MOST_BYTES. Where a `mask [B, ...]` is 0
    the latent is given, not sampled, and nothing is chosen. Raises UnmeasurableError where too little is
    left, or the evaluations are too many.
    """
    batch = min(MOST_SAMPLES, max(1, int(shape[0])))
    fitting = MOST_BYTES // (4 * tensors * batch * max(1, steps))
    everywhere = int(torch.Size(shape[1:]).numel())
    if mask is None:
        candidates = torch.arange(everywhere)
    else:
        sampled = mask.detach().expand(tuple(shape)).flatten(1).cpu().amin(dim=0) > 0
        candidates = sampled.nonzero().flatten()
    count = min(len(candidates), fitting, MOST_ELEMENTS)
    for enough, why in ((len(candidates), Obstacle.MASKED_OUT), (fitting, Obstacle.TOO_MANY_EVALUATIONS)):
        if enough < min(LEAST_ELEMENTS, everywhere):
            raise UnmeasurableError(why)
    return candidates[torch.linspace(0, len(candidates) - 1, count, dtype=torch.float64).long()]


def chosen_samples(tensor: Tensor) -> Tensor:
    """Return evenly spread samples of a batch `[B, ...]`, at most MOST_SAMPLES of them, without a copy."""
    return tensor[:: -(-len(tensor) // MOST_SAMPLES)]


@dataclass(slots=True)
class Recording:
    """The evaluations of one run, as sketches in main memory.

    Model time has to descend: an evaluation that does not move on, such as a second-order sampler's second
    look at one sigma, takes the place of those before it. A run of more evaluations than `most` can't be
    measured. A sampler that is known to be `noiseless` is not judged by its latents: with few steps a
    high-order one leaves the straight way.
    """

    most: int = MAX_KNOTS
    noiseless: bool = False
    _held: list[Sketch] = field(default_factory=list)
    _passed: bool = False

    def pass_by(self) -> None:
        """Take note of an evaluation that was not computed."""
        self._passed = True

    def add(self, sketch: Sketch) -> None:
        """Take in an evaluation; raises UnmeasurableError for one of another size than the others."""
        first = self._held[0].timestep if self._held else sketch.timestep
        while self._held and not comes_after(sketch.timestep, self._held[-1].timestep, first):
            self._passed |= self._held.pop().after_reuse
        if self._held and self._held[0].x.shape != sketch.x.shape:
            raise UnmeasurableError(Obstacle.SIZE_CHANGED)
        if len(self._held) >= self.most:
            raise UnmeasurableError(Obstacle.TOO_MANY_EVALUATIONS)
        self._held.append(replace(sketch, after_reuse=self._passed))
        self._passed = False

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Free the sketches."""
        self._held.clear()

    @property
    def branches(self) -> int:
        """How many branches were seen: 2 where there was guidance, at least for a while."""
        return max((len(one.outputs) for one in self._held), default=0)

    def table(self, metadata: Mapping[str, str], shares: Shares) -> SensitivityTable:
        """Return what was measured, `B` samples; raises UnmeasurableError where the run was not a clean one.

        Where guidance is off for a while, the output counts for both branches.
        """
        held = self._held
        if len(held) < LEAST_STEPS:
            raise UnmeasurableError(Obstacle.TOO_FEW_STEPS)
        tensors = [tensor for one in held for tensor in (one.x, *one.outputs)]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise UnmeasurableError(Obstacle.NOT_FINITE)
        if not self.noiseless and adds_noise(held, shares):
            raise UnmeasurableError(Obstacle.NOISE_ADDED)
        outputs = [[*one.outputs, *one.outputs[:1]][: self.branches] for one in held]
        times = torch.tensor([one.timestep for one in held])
        pairs = list(zip(held, held[1:], strict=False))
        drifts = [
            sample_rms(after.x - before.x) / (before.timestep - after.timestep) for before, after in pairs
        ]
        rows = {
            "latent_drift": torch.stack([*drifts, drifts[-1]], dim=1),
            "output_rms": torch.stack([sample_rms(one.outputs[0]) for one in held], dim=1),
        }
        sigmas = torch.tensor([one.sigma for one in held])
        try:
            return SensitivityTable(times, sigmas, rows, metadata, from_outputs(times.tolist(), outputs))
        except TableError as error:
            raise UnmeasurableError(Obstacle.NOT_FINITE) from error


def adds_noise(held: Sequence[Sketch], shares: Shares) -> bool:
    """Tell whether the sampler added noise on its way, from the latents alone.

    A latent over its share of noise, `x / b`, moves with the signal-to-noise ratio `a / b` in the direction
    of the denoised latent, which changes slowly from step to step. Noise added at a step points anywhere.
    Over reused evaluations it may have changed much: only directions of neighbouring ones are compared.
    Raises UnmeasurableError where no neighbouring ones are left to tell by.
    """
    ratios = torch.tensor([shares(one.sigma) for one in held], dtype=torch.float64)
    places = torch.stack([one.x.double() / b for one, (_, b) in zip(held, ratios.tolist(), strict=True)])
    lengths = (ratios[:, 0] / ratios[:, 1]).diff()
    slopes = (places.diff(dim=0) / lengths[:, None, None]).flatten(1)
    cosines = torch.nn.functional.cosine_similarity(slopes[:-1], slopes[1:], dim=1)
    near = torch.tensor([not one.after_reuse for one in held[1:]])
    compared = cosines[near[:-1] & near[1:]]
    if len(cosines) and not len(compared):
        raise UnmeasurableError(Obstacle.NOT_MEASURABLE)
    return bool(compared.nanmedian() < STEADY)

