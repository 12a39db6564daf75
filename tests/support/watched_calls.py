"""Watches from outside what a model's CALC_COND_BATCH calls get and give, our reuses included."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Call = tuple[tuple[int, ...] | None, Tensor, Tensor, list[Tensor]]


def watched(model: Any) -> tuple[Any, list[Call]]:
    """Return a clone and what each of its CALC_COND_BATCH calls got and gave, ours included."""
    import comfy.patcher_extension

    clone: Any = model.clone()
    calls: list[Call] = []

    def watch(executor: Any, inner: Any, conds: list, x_in: Tensor, sigma: Tensor, options: dict) -> Any:
        x = x_in.clone()
        outputs = executor(inner, conds, x_in, sigma, options)
        window = options["transformer_options"].get("context_window")
        frames = None if window is None else tuple(window.index_list)
        calls.append((frames, x, sigma.clone(), [output.clone() for output in outputs]))
        return outputs

    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, "test_watch", watch)
    return clone, calls


def raw_outputs(model: Any, calls: list[Call]) -> list[tuple[tuple[int, ...] | None, Tensor]]:
    """Return each call's window and the raw output of its first branch."""
    from sencache.nodes.wrappers import raw_output

    sampling = model.get_model_object("model_sampling")
    return [(frames, raw_output(sampling, sigma, outputs[0], x)) for frames, x, sigma, outputs in calls]
