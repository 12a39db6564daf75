"""Recognises other accelerators on a model: two of them would each reuse what the other predicted."""

from __future__ import annotations

from typing import Any

_WRAPPER_KEYS = {"easycache": "EasyCache", "lazycache": "LazyCache"}
_OPTION_KEYS = {
    "rel_l1_thresh": "TeaCache",
    "magcache_thresh": "MagCache",
    "mag_ratios": "MagCache",
    "spectrum_wan_runtime": "Spectrum",
}


def other_accelerator(
    model_options: dict[str, Any], wrappers: dict[str, dict[str, list]] | None = None
) -> str | None:
    """Name an accelerator found in a model's options and wrappers, None where there is none."""
    options = model_options.get("transformer_options", {})
    for table in (options.get("wrappers", {}), wrappers or {}):
        for by_key in table.values():
            for key, entries in by_key.items():
                if entries and key in _WRAPPER_KEYS:
                    return _WRAPPER_KEYS[key]
    for key, name in _OPTION_KEYS.items():
        if key in options:
            return name
    return None


def refuse_other_accelerator(node: str, model_options: dict[str, Any], wrappers: dict | None = None) -> None:
    """Raise ValueError in one sentence where another accelerator is on the model."""
    name = other_accelerator(model_options, wrappers)
    if name is not None:
        raise ValueError(
            f"{node}: {name} is already on this model, and SenCache can't work beside it; remove one of them."
        )
