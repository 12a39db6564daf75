"""The settings of one patched model."""

from __future__ import annotations

import math
from dataclasses import dataclass

RULES = ("plan", "joint", "paper")
FORECASTS = ("linear", "hold")
CACHE_DEVICES = ("model", "cpu")


@dataclass(frozen=True, slots=True)
class SenCacheConfig:
    """What may be reused; `rule="paper"`, `forecast="hold"` are the published method.

    `epsilon` is the tolerated predicted error, 0 and up: under the rule "plan" (ours) the rms error of the
    finished latent, under "joint" and "paper" the rms change of the network's output since it was last
    computed. Latents and outputs have rms near 1. A `speed_up` above 1 takes epsilon's place: the least error
    at that many evaluations per computed one. `max_reuse` is the paper's n, the most reuses in a row. 0 in
    epsilon or n turns reuse off. Evaluations
    before `start_percent` or from `end_percent` on, shares of the sampling progress from 0 to 1, are always
    computed; before `strict_percent` the tolerance is `strict_epsilon`. `cache_device` says where stored
    outputs wait. Raises ValueError.
    """

    rule: str = "plan"
    forecast: str = "linear"
    epsilon: float = 0.01
    speed_up: float = 0.0
    max_reuse: int = 30
    start_percent: float = 0.0
    end_percent: float = 1.0
    strict_percent: float = 0.0
    strict_epsilon: float = 0.01
    cache_device: str = "model"

    def __post_init__(self) -> None:
        for name, allowed in (("rule", RULES), ("forecast", FORECASTS), ("cache_device", CACHE_DEVICES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        for name in ("epsilon", "strict_epsilon"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be a finite number from 0 up")
        if not (self.speed_up == 0 or (math.isfinite(self.speed_up) and self.speed_up >= 1)):
            raise ValueError(f"speed_up is {self.speed_up}; it must be 0 (by epsilon) or from 1 up")
        for name in ("start_percent", "end_percent", "strict_percent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if not (isinstance(self.max_reuse, int) and self.max_reuse >= 0):
            raise ValueError(f"max_reuse is {self.max_reuse!r}; it must be a whole number from 0 up")

    @property
    def reuses(self) -> bool:
        """Whether any evaluation can be reused with these settings."""
        return self.epsilon > 0 and self.max_reuse > 0


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
