"""Names what each slot of a CALC_COND_BATCH call computes: only its own earlier outputs may predict it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor


def branch_keys(
    call: int, conds: list, x_in: Tensor, sigma: float, transformer_options: dict
) -> list[Hashable | None]:
    """Return one key per slot, None where the slot holds no cond (cfg 1).

    A branch is what is computed where: the call's ordinal within the evaluation, the slot, the conds that are
    active at this sigma, the context window, the blocks that guidance such as SLG replaces, and the shape.
    The host's own cond ids are not unique (area copies share one).
    """
    window = transformer_options.get("context_window")
    frames = None if window is None else tuple(getattr(window, "index_list", ()))
    shared = (frames, _replaced_blocks(transformer_options), tuple(x_in.shape))
    return [
        None if cond is None else (call, slot, tuple(_active(cond, sigma)), shared)
        for slot, cond in enumerate(conds)
    ]


def _active(cond: list[dict[str, Any]], sigma: float) -> Iterator[Hashable]:
    """Name the conds of a slot whose range contains sigma, and what of their controls and hooks is on."""
    for index, entry in enumerate(cond):
        start, end = entry.get("timestep_start"), entry.get("timestep_end")
        if (start is None or sigma <= start) and (end is None or sigma >= end):
            controls = tuple(_controls(entry.get("control"), sigma))
            hooks = tuple(_keyframes(entry.get("hooks"), sigma))
            yield index, controls, hooks, tuple(sorted(entry.get("model_conds", {})))


def _controls(control: Any, sigma: float) -> Iterator[bool]:
    """Tell of each control in a chain whether its range contains sigma, as the host does."""
    while control is not None:
        start, end = getattr(control, "timestep_range", None) or (None, None)
        yield (start is None or sigma <= start) and (end is None or sigma >= end)
        control = getattr(control, "previous_controlnet", None)


def _keyframes(hooks: Any, sigma: float) -> Iterator[int]:
    """Tell of each hook, such as a scheduled LoRA, how many of its keyframes have begun at sigma."""
    for hook in getattr(hooks, "hooks", ()):
        keyframes = getattr(getattr(hook, "hook_keyframe", None), "keyframes", ())
        yield sum(keyframe.start_t >= sigma for keyframe in keyframes)


def _replaced_blocks(transformer_options: dict) -> tuple[str, ...]:
    """Name the blocks that are replaced in this call; passes of guidance differ by them."""
    replaced = transformer_options.get("patches_replace", {})
    return tuple(sorted(f"{kind}:{block}" for kind, blocks in replaced.items() for block in blocks))
