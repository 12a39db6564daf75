"""The settings of one patched model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .forecast import FORECASTS
from .rules import RULES

CACHE_DEVICES = ("model", "cpu")
LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SenCacheConfig:
    """What may be reused; `rule="paper"`, `forecast="hold"` are the published method.

    `epsilon` is the tolerated predicted error, 0 and up: under the rule "plan" (ours) the rms error of the
    finished latent, under "joint" and "paper" the rms change of the network's output since it was last
    computed. Latents and outputs have rms near 1. A `speed_up` takes epsilon's place: the least error at that
    many evaluations per computed one; 0 leaves it to epsilon. `max_reuse` is the paper's n, the most reuses
    in a row. 0 in epsilon or n, and a speed-up of 1, turn reuse off. Evaluations before `start_percent` or
    from `end_percent` on, shares of the sampling progress from 0 to 1, are always computed; before
    `strict_percent` the tolerance is `strict_epsilon`. `cache_device` says where stored
    outputs wait. Raises ValueError.
    """

    rule: str = "plan"
    forecast: str = "linear"
    epsilon: float = 0.03
    speed_up: float = 0.0
    max_reuse: int = 30
    start_percent: float = 0.0
    end_percent: float = 1.0
    strict_percent: float = 0.0
    strict_epsilon: float = 0.01
    cache_device: str = "model"

    def __post_init__(self) -> None:
        for name, allowed in (("rule", RULES), ("forecast", FORECASTS), ("cache_device", CACHE_DEVICES)):
            if getattr(self, name) not in tuple(allowed):
                raise ValueError(f"{name} is {self._shown(name)}; it must be one of {', '.join(allowed)}")
        for name in ("epsilon", "strict_epsilon"):
            if not 0 <= self._number(name) < math.inf:
                raise ValueError(f"{name} is {self._shown(name)}; it must be a finite number from 0 up")
        speed_up = self._number("speed_up")
        if not (speed_up == 0 or 1 <= speed_up < math.inf):
            raise ValueError(f"speed_up is {self._shown('speed_up')}; it must be 0 (by epsilon) or from 1 up")
        for name in ("start_percent", "end_percent", "strict_percent"):
            if not 0 <= self._number(name) <= 1:
                raise ValueError(f"{name} is {self._shown(name)}; it must lie between 0 and 1")
        if not (isinstance(self.max_reuse, int) and self.max_reuse >= 0):
            raise ValueError(f"max_reuse is {self._shown('max_reuse')}; it must be a whole number from 0 up")

    def _number(self, name: str) -> float:
        """Return a setting that has to be a number; NaN, which no limit allows, where it is none."""
        value = getattr(self, name)
        try:
            return float(value) if isinstance(value, int | float) else math.nan
        except OverflowError:  # a whole number beyond every float
            return math.nan

    def _shown(self, name: str) -> str:
        """Return a setting's value as text, cut off where a stranger's workflow made it long."""
        try:
            text = repr(getattr(self, name))
        except ValueError:  # Python writes out no whole number of more than 4300 digits
            return "a number of thousands of digits"
        return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ..."

    @property
    def reuses(self) -> bool:
        """Whether any evaluation can be reused with these settings."""
        return self.epsilon > 0 and self.max_reuse > 0 and self.speed_up != 1


    @property
    def governs(self) -> str:
        """Name what decides how much is computed: "speed", "epsilon", or "off" if nothing may be reused."""
        if self.epsilon == 0 or self.max_reuse == 0:
            return "off"
        return "speed" if self.speed_up > 0 else "epsilon"


@dataclass(frozen=True, slots=True)
class Zones:
    """Where in sigma the settings' percentages lie: progress is judged by sigma, never by counting calls."""

    start_sigma: float
    end_sigma: float
    strict_sigma: float

    def allows_reuse(self, sigma: float) -> bool:
        """Tell whether an evaluation at `sigma` lies in the range where reuse is allowed."""
        return self.end_sigma < sigma <= self.start_sigma

    def epsilon(self, config: SenCacheConfig, sigma: float) -> float:
        """Return the tolerance at `sigma`: the strict one before the strict zone's end."""
        return config.strict_epsilon if sigma > self.strict_sigma else config.epsilon
