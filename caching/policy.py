"""Whether to compute or to reuse an evaluation: what every rule is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from .forecast import Forecast, Hold

if TYPE_CHECKING:
    from .config import SenCacheConfig


class Action(str, Enum):
    """What an evaluation does: run the network, or serve a prediction from earlier outputs."""

    COMPUTE = "compute"
    REUSE = "reuse"


class Reason(str, Enum):
    """Why; these words go over the wire, their sentences are in `locales/*/main.json`."""

    OFF = "off"
    MEASURING = "measuring"
    NO_TABLE = "no_table"
    UNPLANNED = "unplanned"
    FIRST = "first"
    NEW_SHAPE = "new_shape"
    OUTSIDE_RANGE = "outside_range"
    UNMEASURED = "unmeasured"
    MAX_REUSE = "max_reuse"
    PLANNED = "planned"
    OVER_LIMIT = "over_limit"
    NO_STORED_OUTPUT = "no_stored_output"
    OTHER_RANK = "other_rank"
    WITHIN_LIMIT = "within_limit"


class Unit(str, Enum):
    """What a score measures: the output's rms change, or the finished latent's rms error."""

    OUTPUT_CHANGE = "output_change"
    RESULT_ERROR = "result_error"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one evaluation does and why.

    `score` is what was predicted and `limit` the number that it was really compared with, both in `unit`;
    None where nothing was compared.
    """

    action: Action
    reason: Reason
    score: float | None = None
    limit: float | None = None
    unit: Unit = Unit.OUTPUT_CHANGE

    @property
    def reuse(self) -> bool:
        """Whether the network is left out."""
        return self.action is Action.REUSE


@dataclass(frozen=True, slots=True)
class Arrival:
    """An evaluation that begins, and how far it lies from the last computed one, the reference.

    `sigma` and `timestep` (model time) are its own. `moved` holds rms(x_j - x_i) of every sample of the
    batch, model-input space, and `elapsed` is |t_j - t_i|; `moved` is None where there is no reference to
    compare with, because none was computed yet or, with `new_shape`, because the latent's shape changed.
    """

    sigma: float
    timestep: float
    moved: tuple[float, ...] | None = None
    elapsed: float = 0.0
    new_shape: bool = False


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a forecast in a computed evaluation's place would have been: its damping, and by the table the rms
    error of each branch's output, the positive one first."""

    damping: float
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Handling:
    """How the outputs of the present evaluation are served or stored (`branch.py`).

    `weight` is what a change of the output changes in the finished latent, `damping` the share of the
    forecast that is followed; `weight_ahead` sums the weights of a reused evaluation's whole window. A
    computed evaluation `corrects` where those after it make up for residuals, and an output closer to the one
    before than `apart` (on the forecast's axis) takes its place. `foreseen` is what a computed output is
    compared with, where the policy knows it.
    """

    weight: float = 0.0
    damping: float = 1.0
    weight_ahead: float = 0.0
    corrects: bool = False
    apart: float = 0.0
    foreseen: Foreseen | None = None


class Policy(Protocol):
    """A rule at work in one run. `decide` changes nothing; `take` and `forget` move its state on.

    `config` are the settings in effect: the rule and forecast that really work, epsilon solved for. `planned`
    is how many evaluations it means to compute and `predicted_error` the rms error of the finished latent
    that it expects, None where it predicts neither. A policy that `stores` nothing never reuses.
    """

    config: SenCacheConfig
    forecast: Forecast
    stores: bool
    planned: int | None
    predicted_error: float | None

    def decide(self, arrival: Arrival) -> Decision:
        """Decide on an evaluation that has a reference."""

    def take(self, arrival: Arrival, decision: Decision) -> Handling:
        """Take note of what the evaluation does, and return how its outputs are handled."""

    def learn(self, missed: float, expected: float) -> None:
        """Take note of how far (rms) a forecast would have been from the outputs computed last.

        `expected` is how far the table has it. Called before the evaluation that follows is decided on.
        """

    def forget(self) -> None:
        """Take note that no stored output is left."""


def decide(policy: Policy, arrival: Arrival) -> Decision:
    """Decide on an evaluation: without a reference it is computed whatever the rule."""
    if not policy.stores:
        return policy.decide(arrival)
    if arrival.moved is None:
        return Decision(Action.COMPUTE, Reason.NEW_SHAPE if arrival.new_shape else Reason.FIRST)
    return policy.decide(arrival)


class ComputeAll:
    """Computes everything and stores nothing: reuse is off, or nothing is known of the model yet."""

    forecast: Forecast = Hold()
    stores = False
    planned: int | None = None
    predicted_error: float | None = 0.0

    def __init__(self, config: SenCacheConfig, reason: Reason = Reason.OFF) -> None:
        self.config = config
        self._reason = reason

    def decide(self, arrival: Arrival) -> Decision:
        """Compute."""
        return Decision(Action.COMPUTE, self._reason)

    def take(self, arrival: Arrival, decision: Decision) -> Handling:
        """Keep nothing."""
        return Handling()

    def learn(self, missed: float, expected: float) -> None:
        """Have nothing to learn."""

    def forget(self) -> None:
        """Have nothing to forget."""
