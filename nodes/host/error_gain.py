"""How much more than Euler's method a sampler makes of an output's error: multistep samplers amplify it."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import comfy.samplers
import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

MAX_STEPS = 250
MAX_REMEMBERED = 32
SHARED_NOISE = ("heunpp2",)  # draw from torch's own generator whatever the seed; never foreseen
_NOISE = 1e-4
_REMEMBERED: OrderedDict[tuple[Any, ...], float | None] = OrderedDict()


class _Impulses:
    """A stand-in for the network: the output is 1 in one sample at one evaluation, and 0 everywhere else.

    Sample k is disturbed at evaluation k, the last one never. What the sampler holds at every evaluation is
    kept.
    """

    def __init__(self, model_sampling: Any, patcher: Any, count: int) -> None:
        self.inner_model = SimpleNamespace(
            inner_model=SimpleNamespace(model_sampling=model_sampling), model_patcher=patcher
        )
        self.seen: list[Tensor] = []
        self.sigmas: list[float] = []
        self._sampling, self._count = model_sampling, count

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """Return the denoised latent that belongs to the impulse."""
        output = torch.zeros_like(x)
        if len(self.seen) < self._count:
            output[len(self.seen)] = 1
        self.seen.append(x.flatten().clone())
        self.sigmas.append(float(sigma[0]))
        return self._sampling.calculate_denoised(sigma, output, x)


def error_gain(
    sampler: Any, sigmas: Tensor, model_sampling: Any, patcher: Any = None, between_runs: bool = True
) -> float | None:
    """Return the mean square of a sampler's largest answer to a disturbed output, Euler's being 1 (ours).

    The real sampler runs on one number per step over `sigmas [K+1]`, some milliseconds. The network answers
    an error in the latent, and the sampler that answer; so the square tells best how much further off than
    predicted a run ends (`tests/benchmarks/method.md`). None where it can't be told: samplers that add noise,
    that do not evaluate once at every step's sigma, that change the latent's size, or that are no function of
    the host's kind. Torch's random numbers are left as they were, which only the thread that samples may see
    to (`between_runs`).
    """
    count = len(sigmas) - 1
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return None
    if not 1 <= count <= MAX_STEPS:
        return 1.0
    at = sigmas.detach().float().cpu()
    kept = torch.random.fork_rng(devices=[]) if between_runs else contextlib.nullcontext()
    with kept:
        own = _largest(function, getattr(sampler, "extra_options", {}), at, model_sampling, patcher)
    plain = _largest(_euler, {}, at, model_sampling, patcher)
    if own is None:
        return None
    if plain is None or not bool((plain > 0).all()):
        return 1.0
    return max(1.0, float((own / plain).square().mean()))


def named_error_gain(name: str | None, sigmas: Tensor, model_sampling: Any) -> float | None:
    """Return the error gain of a sampler by its name, 1 for an unknown one; remembered, for sliders move.

    None where it can't be told, as `error_gain` says. Asked for while another thread samples: there torch's
    random numbers must not be touched at all, not even put back, or that run would draw others.
    """
    if name not in comfy.samplers.KSampler.SAMPLERS:
        return 1.0
    if name in SHARED_NOISE:
        return None
    kinds = tuple(kind.__name__ for kind in type(model_sampling).__mro__)
    key = (name, kinds, tuple(sigmas.tolist()))
    if key not in _REMEMBERED:
        sampler = comfy.samplers.sampler_object(name)
        patcher = SimpleNamespace(get_model_object=lambda _: model_sampling)  # some samplers ask it
        _REMEMBERED[key] = error_gain(sampler, sigmas, model_sampling, patcher, between_runs=False)
        while len(_REMEMBERED) > MAX_REMEMBERED:
            _REMEMBERED.popitem(last=False)
    return _REMEMBERED[key]


def _largest(
    function: Any, options: dict[str, Any], sigmas: Tensor, model_sampling: Any, patcher: Any
) -> Tensor | None:
    """Return every impulse's largest trace in the latent, `[K]`, None where the sampler can't be told."""
    count = len(sigmas) - 1
    impulses = _Impulses(model_sampling, patcher, count)
    x = torch.zeros(count + 1, 1, 1, 1, 1)
    extra = {"seed": 0, "model_options": {}}
    try:
        arguments = {"extra_args": extra, "callback": None, "disable": True, **options}
        final = function(impulses, x, sigmas.clone(), **arguments)
    except Exception as error:  # a sampler of another pack may need anything
        logger.debug("SenCache: the sampler's response could not be measured: %s", error)
        return None
    held = [*impulses.seen, final.flatten()]
    each_step = len(impulses.sigmas) == count and np.allclose(impulses.sigmas, sigmas[:-1], rtol=1e-4)
    if not each_step or any(len(one) != count + 1 for one in held):  # the size was changed
        return None
    traces = torch.stack(held).abs()
    told = bool(traces.isfinite().all())
    return traces[:, :-1].amax(dim=0) if told and float(traces[:, -1].max()) < _NOISE else None


def _euler(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: bool) -> Tensor:
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        denoised = model(x, sigma * x.new_ones(len(x)))
        x = x + (x - denoised) * (following / sigma - 1)
    return x
