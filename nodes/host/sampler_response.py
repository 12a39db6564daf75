"""Where a sampler evaluates, what it makes of an output's error, and how much noise it adds: tried before a
run."""

from __future__ import annotations

import inspect
import logging
import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import comfy.samplers
import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...caching.planning.points import Array
from .sampling import shares_of

logger = logging.getLogger(__name__)

MAX_STEPS = 250
MAX_REMEMBERED = 8
NUMBERS = 4096  # of which the moves by added noise are the rms
_STILL = 1e-4
_OWN_SEED = 20260228  # the hosts' samplers draw their first noise with the run's seed, 0, or with the next

Denoised = Callable[[int, Tensor, Tensor], Tensor]

_REMEMBERED: OrderedDict[tuple[Any, ...], SamplerResponse] = OrderedDict()


@dataclass(frozen=True, slots=True, eq=False)
class SamplerResponse:
    """What a sampler does with the network's outputs, as far as it can be told before a run (ours).

    `evaluations` are the sigmas at which it evaluates, in its order; empty where that is once at every step's
    sigma, or where it can't be told. `error_gain` is the mean square of its largest answer to a disturbed
    output, Euler's method having 1: the network answers an error in the latent, and the sampler that answer,
    so the square tells best how much further off than predicted a run ends (`tests/benchmarks/method.md`).
    `noise_moves[j][i]` is how far (rms, model-input space) the noise that it adds moves the latent from
    evaluation i to j > i, `[E, E]`; None where it adds none, which is sure where it was seen to be
    `noiseless`. `told` is False where its ways depend on the
    outputs, or could not be tried; `adaptive` where even its steps depend on them.
    """

    evaluations: tuple[float, ...] = ()
    error_gain: float = 1.0
    noise_moves: Array | None = None
    told: bool = True
    adaptive: bool = False
    noiseless: bool = False


UNKNOWN = SamplerResponse(told=False)
ADAPTIVE = SamplerResponse(told=False, adaptive=True, noiseless=True)
EULER = SamplerResponse()


class _OwnRandomness(TorchFunctionMode):
    """Draws what a sampler takes from torch's shared random numbers from a generator apart.

    Asked for while another thread samples, the shared ones must not be touched at all, not even put back.
    """

    _LIKE: dict[Any, Callable[..., Tensor]] = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
    _DRAWS = frozenset(
        (torch.randn, torch.rand, torch.randint, torch.normal, Tensor.normal_, Tensor.uniform_)
    )

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._LIKE:
            dtype = kwargs.get("dtype") or args[0].dtype
            return self._LIKE[func](args[0].shape, generator=self._generator, dtype=dtype)
        if func in self._DRAWS and kwargs.get("generator") is None:
            return func(*args, **{**kwargs, "generator": self._generator})
        return func(*args, **kwargs)


class _SharedNoise:
    """The noise of a trial for a host's sampler that takes a `noise_sampler`: the same in every sample.

    Unit noise between two sigmas, of one Brownian path, as the host's own, whose tree takes half a second.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._generator = torch.Generator().manual_seed(0)
        self._times: list[float] = []
        self._path: list[Tensor] = []

    def __call__(self, sigma: Any, sigma_next: Any) -> Tensor:
        start, end = float(sigma), float(sigma_next)
        moved = self._at(end) - self._at(start)
        return (moved / math.sqrt(abs(end - start) or 1.0)).expand_as(self._like).clone()

    def _draw(self) -> Tensor:
        return torch.randn(1, *self._like.shape[1:], generator=self._generator, dtype=self._like.dtype)

    def _at(self, time: float) -> Tensor:
        """Return the path at a time: the ends known are gone on from, what lies between two is bridged."""
        after = bisect_left(self._times, time)
        if after < len(self._times) and self._times[after] == time:
            return self._path[after]
        if not self._times:
            value = torch.zeros(1, *self._like.shape[1:], dtype=self._like.dtype)
        elif after in (0, len(self._times)):
            end = 0 if after == 0 else -1
            value = self._path[end] + math.sqrt(abs(time - self._times[end])) * self._draw()
        else:
            low, high = self._times[after - 1], self._times[after]
            share = (time - low) / (high - low)
            between = self._path[after - 1] + share * (self._path[after] - self._path[after - 1])
            value = between + math.sqrt((high - low) * share * (1 - share)) * self._draw()
        self._times.insert(after, time)
        self._path.insert(after, value)
        return value


@dataclass(slots=True)
class _StandIn:
    """Stands in for the network that a sampler calls; keeps where it was asked, in its own way each time."""

    model_sampling: Any
    patcher: Any
    denoised: Denoised
    asked_for_branches: bool = False
    seen: list[Tensor] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)

    @property
    def inner_model(self) -> Any:
        """What samplers look at for the model's sampling."""
        inner = SimpleNamespace(model_sampling=self.model_sampling)
        return SimpleNamespace(inner_model=inner, model_patcher=self.patcher)

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """Return the denoised latent of the present evaluation."""
        self.seen.append(x.clone())
        self.sigmas.append(float(sigma[0]))
        denoised = self.denoised(len(self.seen) - 1, x, sigma)
        for function in kwargs.get("model_options", {}).get("sampler_post_cfg_function", ()):
            self.asked_for_branches = True  # the sampler steps by the branches of the guidance (CFG++)
            function({"denoised": denoised, "cond_denoised": denoised, "uncond_denoised": denoised})
        return denoised


def sampler_response(
    sampler: Any, sigmas: Tensor, model_sampling: Any, patcher: Any = None
) -> SamplerResponse:
    """Measure a sampler's response by running it on a few numbers over `sigmas [K+1]`; some milliseconds.

    Samplers that are no function of the host's kind can't be told; very long runs are taken for Euler's.
    """
    count = len(sigmas) - 1
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return UNKNOWN
    if not 1 <= count <= MAX_STEPS:
        return EULER
    trial = _Trial(sigmas.detach().float().cpu(), model_sampling, patcher)
    try:
        response = _tried(function, getattr(sampler, "extra_options", {}), trial)
        return replace(response, told=response.told and not trial.by_branches)
    except Exception as error:  # a sampler of another pack may need anything
        logger.debug("SenCache: the sampler's response could not be measured: %s", error)
        return UNKNOWN


def named_response(name: str | None, sigmas: Tensor, model_sampling: Any) -> SamplerResponse:
    """Return the response of a sampler by its name, Euler's for an unknown one; the last are remembered."""
    if name not in comfy.samplers.KSampler.SAMPLERS:
        return EULER
    kinds = tuple(kind.__name__ for kind in type(model_sampling).__mro__)
    key = (name, kinds, tuple(sigmas.tolist()))
    if key not in _REMEMBERED:
        sampler = comfy.samplers.sampler_object(name)
        patcher = SimpleNamespace(get_model_object=lambda _: model_sampling)  # some samplers ask it
        _REMEMBERED[key] = sampler_response(sampler, sigmas, model_sampling, patcher)
        while len(_REMEMBERED) > MAX_REMEMBERED:
            _REMEMBERED.popitem(last=False)
    return _REMEMBERED[key]


@dataclass(slots=True)
class _Trial:
    """A schedule `sigmas [K+1]` to try a sampler on; `by_branches` once it asked for the guidance's own."""

    sigmas: Tensor
    model_sampling: Any
    patcher: Any
    by_branches: bool = False

    def run(
        self, function: Any, options: dict[str, Any], x: Tensor, denoised: Denoised
    ) -> tuple[_StandIn, Tensor]:
        """Run a sampler from `x`; return what the stand-in saw, and the final latent.

        Every run draws the same noise.
        """
        network = _StandIn(self.model_sampling, self.patcher, denoised)
        if _takes_noise(function):
            options = {"noise_sampler": _SharedNoise(x), **options}
        arguments = {"extra_args": {"seed": 0, "model_options": {}}, "callback": None, "disable": True}
        with _OwnRandomness():
            final = function(network, x, self.sigmas.clone(), **arguments, **options)
        self.by_branches |= network.asked_for_branches
        return network, final

    def impulses(self, function: Any, options: dict[str, Any]) -> tuple[list[float], Tensor]:
        """Run with an output of 1 in one sample at one evaluation, 0 everywhere else; the last has none.

        Returns where the sampler evaluated, and what the outputs made of every sample at each evaluation and
        in the end, `[E + 1, K + 1]`; the last column is what is held without any: noise.
        """
        count = len(self.sigmas) - 1

        def run(size: float) -> tuple[list[float], Tensor]:
            def denoised(index: int, x: Tensor, sigma: Tensor) -> Tensor:
                output = torch.zeros_like(x)
                if index < count:
                    output[index] = size
                return self.model_sampling.calculate_denoised(sigma, output, x)

            network, final = self.run(function, options, torch.zeros(count + 1, 1, 1, 1, 1), denoised)
            return network.sigmas, torch.stack([*network.seen, final]).flatten(1)

        evaluations, held = run(1.0)
        if held.shape[1] == count + 1 and float(held[:, -1].abs().max()) >= _STILL:
            shared = len(held) > 1 and bool((held[1, 1:] == held[1, -1]).all())  # none has had its impulse
            still = held[:, -1:] if shared else run(0.0)[1][:, :-1]
            held = torch.cat([held[:, :-1] - still, held[:, -1:]], dim=1)
        return evaluations, held

    def noise(self, function: Any, options: dict[str, Any]) -> tuple[list[float], Array]:
        """Run with a perfect network, whose clean latent is 0: what is left of the latent is noise.

        Returns where the sampler evaluated, and how far the noise that it added moved the latent in between:
        the first noise alone would only have shrunk with its share.
        """
        sampling = self.model_sampling
        own = torch.Generator().manual_seed(_OWN_SEED)
        start = torch.randn(1, 1, 1, 1, NUMBERS, generator=own)
        x = sampling.noise_scaling(self.sigmas[0], start, torch.zeros_like(start))
        network, _ = self.run(function, options, x, lambda index, x, sigma: torch.zeros_like(x))
        at = [torch.full((1,), sigma) for sigma in network.sigmas]
        held = [sampling.calculate_input(one, x) for one, x in zip(at, network.seen, strict=True)]
        shares = torch.tensor([float(sampling.calculate_input(one, torch.ones(1))) for one in at])
        shares *= torch.tensor([shares_of(sampling, one)[1] for one in at])
        places = torch.stack(held).flatten(1)
        moved = torch.cdist(places, places).square() / NUMBERS - (shares[:, None] - shares[None]).square()
        return network.sigmas, moved.clamp_min(0).sqrt().numpy()


def _takes_noise(function: Any) -> bool:
    """Tell whether a sampler can be given its noise."""
    try:
        return "noise_sampler" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _tried(function: Any, options: dict[str, Any], trial: _Trial) -> SamplerResponse:
    """Try a sampler: on impulses, and where it adds noise, on noise."""
    count = len(trial.sigmas) - 1
    evaluations, held = trial.impulses(function, options)
    if held.shape[1] != count + 1:  # the size was changed
        return UNKNOWN
    once_a_step = len(evaluations) == count and np.allclose(evaluations, trial.sigmas[:-1], rtol=1e-4)
    if float(held[:, -1].abs().max()) >= _STILL:
        again, moves = trial.noise(function, options)
        told = np.allclose(again, evaluations) if len(again) == len(evaluations) else False
        gain = _gain(held, trial) if once_a_step else 1.0
        if not told:
            return SamplerResponse(told=False, adaptive=len(again) != len(evaluations))
        return SamplerResponse(tuple(evaluations), gain or 1.0, moves)
    if not once_a_step:
        again, _ = trial.noise(function, options)  # an adaptive sampler takes other steps there
        told = np.allclose(again, evaluations) if len(again) == len(evaluations) else False
        return SamplerResponse(tuple(evaluations), noiseless=True) if told else ADAPTIVE
    gain = _gain(held, trial)
    return SamplerResponse(error_gain=gain or 1.0, told=gain is not None, noiseless=gain is not None)


def _gain(held: Tensor, trial: _Trial) -> float | None:
    """Return the mean square of a sampler's largest answers to impulses, at least 1; None for no numbers."""
    own, plain = (one[:, :-1].abs().amax(dim=0) for one in (held, trial.impulses(_euler, {})[1]))
    if not bool(own.isfinite().all()):
        return None
    gain = float((own / plain).square().mean()) if bool((plain > 0).all()) else 1.0
    return max(1.0, gain) if math.isfinite(gain) else None


def _euler(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: bool) -> Tensor:
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        denoised = model(x, sigma * x.new_ones(len(x)))
        x = x + (x - denoised) * (following / sigma - 1)
    return x
