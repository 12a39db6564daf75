"""Names what each slot of a CALC_COND_BATCH call computes: only its own earlier outputs may predict it."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor

_PLAIN = (bool, int, float, str)
_SEVERAL = (tuple, list, set, frozenset)


def plain_options(transformer_options: dict) -> dict[str, str]:
    """Return the options that are plain values, such as the flags by which a guidance pass asks for less."""
    return {str(name): repr(value) for name, value in transformer_options.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, _SEVERAL) and all(isinstance(one, _PLAIN) for one in value)
    )


def branch_keys(
    call: int,
    conds: list,
    x_in: Tensor,
    sigma: float,
    transformer_options: dict,
    first: dict[str, str] | None = None,
) -> list[Hashable | None]:
    """Return one key per slot, None where the slot holds no cond (cfg 1).

    A branch is what is computed where: the call's ordinal within the evaluation, the slot, the conds that are
    active at this sigma, the context window, what guidance such as SLG and STG asks for in this call (the
    blocks it replaces, and the plain options that are not those of the evaluation's `first` call), and the
    shape. The host's own cond ids are not unique (area copies share one).
    """
    window = transformer_options.get("context_window")
    frames = None if window is None else tuple(getattr(window, "index_list", ()))
    asked = _asked(transformer_options, first)
    shared = (frames, _replaced_blocks(transformer_options), asked, tuple(x_in.shape))
    return [
        None if cond is None else (call, slot, tuple(_active(cond, sigma)), shared)
        for slot, cond in enumerate(conds)
    ]


def computation(branch: Hashable) -> Hashable:
    """Return what a branch computes, wherever in the evaluation: its key but for call and slot."""
    assert isinstance(branch, tuple)
    return branch[2:]


def _asked(transformer_options: dict, first: dict[str, str] | None) -> Hashable:
    """Name the plain options that differ from the first call's; a step counter of another pack does not."""
    if first is None:
        return ()
    own = plain_options(transformer_options)
    changed = {name for name in own.keys() | first.keys() if own.get(name) != first.get(name)}
    return tuple(sorted((name, own.get(name, "")) for name in changed))


def _single(value: float) -> float:
    """Round to single precision, in which the host compares a sigma with a range."""
    return struct.unpack("f", struct.pack("f", value))[0]


def _within(sigma: float, start: float | None, end: float | None) -> bool:
    return (start is None or sigma <= _single(start)) and (end is None or sigma >= _single(end))


def _active(cond: list[dict[str, Any]], sigma: float) -> Iterator[Hashable]:
    """Name the conds of a slot whose range contains sigma, and what of their controls and hooks is on."""
    for index, entry in enumerate(cond):
        if _within(sigma, entry.get("timestep_start"), entry.get("timestep_end")):
            controls = tuple(_controls(entry.get("control"), sigma))
            hooks = tuple(_keyframes(entry.get("hooks"), sigma))
            yield index, controls, hooks, tuple(sorted(entry.get("model_conds", {})))


def _controls(control: Any, sigma: float) -> Iterator[bool]:
    """Tell of each control in a chain whether its range contains sigma, as the host does."""
    while control is not None:
        yield _within(sigma, *(getattr(control, "timestep_range", None) or (None, None)))
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
