"""What the comparison runs: every method's settings, and the ways of sampling."""

from __future__ import annotations

from typing import Any

PAPER = {"rule": "paper", "forecast": "hold"}
STRICT = {"max_reuse": 3, "strict_percent": 0.2, "strict_epsilon": 0.01}
SHARES = {50: (2.0, 3.0, 4.0, 5.0, 7.0), 30: (2.0, 3.0, 4.0), 20: (2.0, 2.5, 3.0, 4.0), 8: (2.0, 3.0)}
MAIN = (50, 5.0)
LEAST_OPTIMAL = 3  # steps that OptimalStepsScheduler makes

Settings = list[dict[str, Any]]


def _named(**options: Any) -> dict[str, Any]:
    return {"label": ", ".join(f"{key} {value}" for key, value in options.items()), **options}


def _each(name: str, values: tuple[float, ...], **fixed: Any) -> Settings:
    return [_named(**{name: value}, **fixed) for value in values]


def _ours(steps: int) -> dict[str, Settings]:
    """Return ours, and as many steps of the same sampler as ours computes."""
    shares = SHARES[steps]
    fewer = sorted({max(2, int(steps / share)) for share in shares}, reverse=True)
    return {
        "uncached": [{"label": "uncached"}],
        "fewer steps": _each("steps", tuple(fewer)),
        "OptimalSteps": _each("steps", tuple(count for count in fewer if count >= LEAST_OPTIMAL)),
        "SenCache": _each("speed_up", shares),
    }


VARIANTS: dict[str, Settings] = {  # our other rules and forecasts, the paper's among them
    "SenCache, paper's rule, hold": _each("epsilon", (0.07, 0.15, 0.3), **PAPER, max_reuse=10)
    + _each("epsilon", (0.1, 2.0), **PAPER, **STRICT),
    "SenCache by epsilon": _each("epsilon", (0.005, 0.01, 0.02, 0.05)),
    "SenCache, hold": _each("speed_up", (2.0, 3.0, 4.0), forecast="hold"),
    "SenCache, joint rule, linear": _each("epsilon", (0.03, 0.07, 0.15), rule="joint", max_reuse=10),
}


def _peers(broad: bool) -> dict[str, Settings]:
    """Return the peers' settings: a broad range, or those around the best of the first sampler."""
    if not broad:
        return {
            "EasyCache": _each("threshold", (0.1,)),
            "LazyCache": _each("threshold", (0.2, 0.35), protected=False),
            "TeaCache": _each("threshold", (0.08, 0.12, 0.25), signal="raw"),
            "MagCache": _magnitudes((0.04, 1), (0.15, 4)),
            "Spectrum": _windows(0.0, 0.75),
            "authors' reuse": _each("epsilon", (0.1, 0.3), max_reuse=10),
        }
    return {
        "EasyCache": _each("threshold", (0.02, 0.1, 0.3)) + _each("threshold", (0.1,), protected=False),
        "LazyCache": _each("threshold", (0.1, 0.2, 0.35, 0.6), protected=False),
        "TeaCache": _each("threshold", (0.05, 0.08, 0.12, 0.25), signal="raw")
        + _each("threshold", (0.05,), signal="fitted"),
        "MagCache": _magnitudes((0.04, 1), (0.08, 2), (0.15, 4), (0.3, 6)),
        "Spectrum": _windows(0.0, 0.75, 2.0),
        "authors' reuse": _each("epsilon", (0.1,), **STRICT)
        + _each("epsilon", (0.1, 0.2, 0.5), max_reuse=10),
    }


def _magnitudes(*limits: tuple[float, int]) -> Settings:
    return [_named(threshold=threshold, most=most) for threshold, most in limits]


def _windows(*flexes: float) -> Settings:
    return [_named(flex=flex, warmup=5) for flex in flexes]


def methods(steps: int, cfg: float, sampler: str) -> dict[str, Settings]:
    """Return every method with its settings for one way of sampling; the uncached run comes first."""
    first = sampler in ("euler", "void")
    if (steps, cfg) == MAIN and first:
        return _ours(steps) | VARIANTS | _peers(broad=True)
    return _ours(steps) | _peers(broad=False)


def ways(samplers: tuple[str, ...]) -> list[tuple[str, float, int]]:
    """Return the ways of sampling (sampler, cfg, steps) that a model is compared in."""
    everywhere = [(sampler, 5.0, steps) for steps in (50, 30, 20) for sampler in samplers]
    return [*everywhere, (samplers[0], 1.0, 50), (samplers[0], 5.0, 8)]
