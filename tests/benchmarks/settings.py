"""What the comparison runs: every method's settings, and the ways of sampling."""

from __future__ import annotations

from typing import Any

PAPER = {"rule": "paper", "forecast": "hold"}
STRICT = {"max_reuse": 3, "strict_percent": 0.2, "strict_epsilon": 0.01}
SHARES = (2.0, 2.5, 3.0, 4.0, 5.0, 6.25, 7.0)
FEW_SHARES = (2.0, 3.0, 4.0)
EPSILONS = (0.02, 0.05, 0.1, 0.2)

Settings = list[dict[str, Any]]


def _named(**options: Any) -> dict[str, Any]:
    return {"label": ", ".join(f"{key} {value}" for key, value in options.items()), **options}


def _each(name: str, values: tuple[float, ...], **fixed: Any) -> Settings:
    return [_named(**{name: value}, **fixed) for value in values]


def _fewer(steps: int, shares: tuple[float, ...]) -> Settings:
    return _each("steps", tuple(sorted({max(2, round(steps / share)) for share in shares}, reverse=True)))


def methods(model: str, steps: int, cfg: float, sampler: str) -> dict[str, Settings]:
    """Return every method with its settings for one way of sampling; the uncached run comes first."""
    main = (steps, cfg) == (50, 5.0)
    shares = SHARES if main else FEW_SHARES
    ours = {
        "uncached": [{"label": "uncached"}],
        "fewer steps": _fewer(steps, shares),
        "SenCache": _each("speed_up", shares),
    }
    peers: dict[str, Settings] = {
        "EasyCache": _each("threshold", (0.005, 0.02, 0.1, 0.3)),
        "LazyCache": _each("threshold", (0.1, 0.2, 0.35, 0.6), protected=False),
        "TeaCache": _each("threshold", (0.05, 0.08, 0.12, 0.25), signal="raw")
        + _each("threshold", (0.02, 0.05, 0.1), signal="fitted"),
        "MagCache": [
            _named(threshold=threshold, most=most)
            for threshold, most in ((0.04, 1), (0.08, 2), (0.15, 4), (0.3, 6))
        ],
        "Spectrum": [
            _named(flex=flex, warmup=warmup) for flex, warmup in ((0.0, 5), (0.4, 5), (0.75, 5), (2.0, 5))
        ],
        "authors' reuse": _each("epsilon", (0.1, 0.4), **STRICT)
        + _each("epsilon", (0.1, 0.2, 0.5), max_reuse=10),
    }
    if not main:
        return ours | {name: peers[name][::2] for name in ("EasyCache", "LazyCache", "TeaCache")}
    variants = {
        "SenCache by epsilon": _each("epsilon", EPSILONS),
        "SenCache, hold": _each("speed_up", (2.0, 3.0, 4.0), forecast="hold"),
        "SenCache, paper's rule, hold": _each("epsilon", (0.07, 0.15, 0.3), **PAPER, max_reuse=10)
        + _each("epsilon", (0.1, 2.0), **PAPER, **STRICT),
        "SenCache, joint rule, linear": _each("epsilon", (0.03, 0.07, 0.15), rule="joint", max_reuse=10),
    }
    if sampler in ("euler", "void"):
        peers["EasyCache"] += _each("threshold", (0.02, 0.1), protected=False)
        return ours | variants | peers
    return ours | {name: settings[::2] if len(settings) > 4 else settings for name, settings in peers.items()}


def ways(model: str, samplers: tuple[str, ...]) -> list[tuple[str, float, int]]:
    """Return the ways of sampling (sampler, cfg, steps) that a model is compared in."""
    first = samplers[0]
    everywhere = [(sampler, 5.0, 50) for sampler in samplers]
    return [*everywhere, (first, 1.0, 50), (first, 5.0, 30), (first, 5.0, 20), (first, 5.0, 8)]
