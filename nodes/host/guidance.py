"""How strongly a guider guides: the plan has to know what guidance makes of an error in one branch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import comfy.samplers

from .prompts import Prompts


def guidance_scale(guider: Any) -> float | None:
    """Return the weight of the positive branch in a guider's result, None where it is not told.

    DualCFGGuider has two numbers of its own, and leaves the one that every guider inherits at 1: nested, they
    multiply; side by side, the stronger one counts. What another pack's guider makes of its branches is its
    own affair, and the number that it inherits may mean nothing.
    """
    if not _is_hosts(getattr(type(guider), "predict_noise", None)):
        return None
    scales = [getattr(guider, name, None) for name in ("cfg1", "cfg2")]
    if all(isinstance(scale, int | float) for scale in scales):
        first, second = (float(scale) for scale in scales)
        return first * second if getattr(guider, "nested", False) else max(first, second)
    scale = getattr(guider, "cfg", None)
    return float(scale) if isinstance(scale, int | float) else None


def _is_hosts(method: Any) -> bool:
    """Tell whether a guider's way to guide is one of the host's, or there is none."""
    code = getattr(method, "__code__", None)
    if code is None:
        return method is None
    host = Path(comfy.samplers.__file__).resolve().parents[1]
    file = Path(code.co_filename).resolve()
    return any(file.is_relative_to(host / folder) for folder in ("comfy", "comfy_extras"))


def is_guided(guider: Any) -> bool:
    """Tell whether a guider's run needs the negative branch, which the host leaves out at a scale of 1.

    A guider that does not tell its scale guides if it has a negative prompt.
    """
    scale = guidance_scale(guider)
    return bool(Prompts.of(guider).negative) if scale is None else not math.isclose(scale, 1.0)
