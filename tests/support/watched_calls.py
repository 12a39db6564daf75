"""Watches from outside what a model's CALC_COND_BATCH calls get and give, our reuses included."""

from __future__ import annotations

from dataclasses import dataclass
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
    from sencache.nodes.host.sampling import raw_output

    sampling = model.get_model_object("model_sampling")
    return [(frames, raw_output(sampling, sigma, outputs[0], x)) for frames, x, sigma, outputs in calls]


@dataclass(slots=True)
class Stop:
    """Raises an error at one of the evaluations that it sees."""

    seen: int = 0
    evaluation: int = 0
    error: BaseException | None = None

    def at(self, evaluation: int, error: BaseException) -> BaseException:
        """Raise `error` at the given evaluation, counted from now, 1 and up."""
        self.seen, self.evaluation, self.error = 0, evaluation, error
        return error

    def never(self) -> None:
        """Let everything pass, counted from now."""
        self.seen, self.evaluation, self.error = 0, 0, None

    def look(self) -> None:
        """Count an evaluation, and stop at it where told."""
        self.seen += 1
        if self.seen == self.evaluation and self.error is not None:
            raise self.error


def stopping(model: Any, where: str) -> tuple[Any, Stop]:
    """Return a clone that can be stopped inside the network, or after each step of the sampler."""
    import comfy.patcher_extension

    wrappers = comfy.patcher_extension.WrappersMP
    clone, stop = model.clone(), Stop()

    def network(executor: Any, *args: Any, **kwargs: Any) -> Any:
        stop.look()
        return executor(*args, **kwargs)

    def step(executor: Any, *args: Any, **kwargs: Any) -> Any:
        result = executor(*args, **kwargs)
        stop.look()
        return result

    if where == "network":
        clone.add_wrapper_with_key(wrappers.DIFFUSION_MODEL, "test_stop", network)
    else:
        clone.add_wrapper_with_key(wrappers.PREDICT_NOISE, "test_stop", step)
    return clone, stop
