"""How strongly a guider guides: the plan has to know what guidance makes of an error in one branch."""

from __future__ import annotations

from typing import Any


def guidance_scale(guider: Any) -> float | None:
    """Return the weight of the positive branch in a guider's result, None where it is not told.

    DualCFGGuider has two numbers of its own, and leaves the one that every guider inherits at 1: nested, they
    multiply; side by side, the stronger one counts.
    """
    scales = [getattr(guider, name, None) for name in ("cfg1", "cfg2")]
    if all(isinstance(scale, int | float) for scale in scales):
        first, second = (float(scale) for scale in scales)
        return first * second if getattr(guider, "nested", False) else max(first, second)
    scale = getattr(guider, "cfg", None)
    return float(scale) if isinstance(scale, int | float) else None
