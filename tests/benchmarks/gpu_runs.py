"""Samples the GPU benchmark's models, and times, counts and weighs every run."""

from __future__ import annotations

import gc
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import comfy.model_management
import comfy.samplers
import peers
import torch
from gpu_cases import OURS, PACKS, TEXT_TOKENS, Case
from host_inputs import Kept, patch_inputs
from sencache.caching.config import SenCacheConfig
from sencache.nodes.host.wrappers import Patch
from sencache.nodes.model_patch import SenCacheModelPatch
from torch import Tensor

logger = logging.getLogger(__name__)

CFG, SAMPLER, SHARE, SEED = 5.0, "euler", 2.0, 7
MIB = 2**20
ON_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if ON_CUDA else "cpu"
SYNCHRONISING = "called a synchronizing CUDA operation"
RESERVE_SECONDS = 30  # kept at the end of the time for writing


def _wait() -> None:
    if ON_CUDA:
        torch.cuda.synchronize()


@dataclass(slots=True)
class Run:
    """One sampled run: seconds of each evaluation, whether it was computed, and memory in MiB.

    `peak` counts from what was allocated before the run; the whole is in `seconds`.
    """

    evaluations: list[float] = field(default_factory=list)
    computed: list[bool] = field(default_factory=list)
    seconds: float = 0.0
    peak: float = 0.0
    left: float = 0.0
    synchronisations: int = 0
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return what the page shows."""
        kinds = {
            kind: [one for one, computed in zip(self.evaluations[1:], self.computed[1:], strict=True)
                   if computed == wanted]
            for kind, wanted in (("computed", True), ("reused", False))
        }  # fmt: skip
        medians = {f"{kind}_seconds": statistics.median(one) if one else None for kind, one in kinds.items()}
        kept = {key: value for key, value in asdict(self).items() if key not in ("evaluations", "computed")}
        return {"nfe": sum(self.computed), "steps": len(self.computed), **medians, **kept}


@dataclass(slots=True)
class Sampling:
    """One model on the device, sampled again and again from the same noise."""

    base: Any
    case: Case
    steps: int = 0
    latents: dict[str, Tensor] = field(default_factory=dict)
    _blocks: int = 0

    def __post_init__(self) -> None:
        self.steps = self.case.steps
        blocks = peers.blocks_of(self.base)
        blocks[len(blocks) // 2].register_forward_pre_hook(self._block)

    def _block(self, *args: Any) -> None:
        self._blocks += 1

    def run(
        self, model: Any, steps: int = 0, latent: tuple[int, ...] = (), name: str = "", records: Any = None
    ) -> Run:
        """Sample one clip with a model; keep its latent on the CPU under `name`.

        `records` says which evaluations were computed where hooks on a block would disturb (torch.compile).
        """
        run, shape = Run(), latent or self.case.latent
        guider = comfy.samplers.CFGGuider(model)
        prompts = [self.case.architecture.conditioning(one, TEXT_TOKENS) for one in (1, 2)]
        guider.set_conds(*prompts)
        guider.set_cfg(CFG)
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps or self.steps)
        inner = guider.predict_noise

        def predict(*args: Any, **kwargs: Any) -> Any:
            before = self._blocks
            _wait()
            began = time.perf_counter()
            output = inner(*args, **kwargs)
            _wait()
            run.evaluations.append(time.perf_counter() - began)
            run.computed.append(self._blocks > before)
            return output

        guider.predict_noise = predict
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
        sampler = comfy.samplers.sampler_object(SAMPLER)
        held = _allocated(reset=True)
        began = time.perf_counter()
        try:
            found = guider.sample(noise, torch.zeros(shape), sampler, sigmas, disable_pbar=True, seed=SEED)
        except Exception as error:  # another pack's failure, or too little memory, is a result
            logger.exception("%s", name)
            run.error = f"{type(error).__name__}: {error}"[:300]
            return run
        _wait()
        run.seconds = time.perf_counter() - began
        run.peak, run.left = _peak() - held, _allocated() - held
        if records is not None:
            run.computed = [not one.decision.reuse for one in records[-1].evaluations]
        if name:
            self.latents[name] = found.cpu()
        return run


    def identical(self, one: str, other: str) -> bool:
        """Tell whether two runs ended, with the same bits."""
        found = [self.latents.get(name) for name in (one, other)]
        return found[0] is not None and found[1] is not None and bool(torch.equal(found[0], found[1]))


def _allocated(reset: bool = False) -> float:
    if not ON_CUDA:
        return 0.0
    if reset:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / MIB


def _peak() -> float:
    return torch.cuda.max_memory_allocated() / MIB if ON_CUDA else 0.0


def planned(model: Any, table: Any, **settings: Any) -> Any:
    """Patch a model to compute about half of its steps."""
    inputs = patch_inputs(**{"sensitivity": table, "any_model": True, "speed_up": SHARE, **settings})
    return SenCacheModelPatch.execute(model, **inputs).args[0]


def measuring(model: Any) -> tuple[Any, Kept]:
    """Patch a model of which nothing is known; the table that its run measures is kept."""
    kept = Kept()
    return Patch(SenCacheConfig(), kept).apply(model), kept


@contextmanager
def counted_synchronisations(run: list[int]) -> Iterator[None]:
    """Append how often the device was waited for."""
    if not ON_CUDA:
        yield
        run.append(0)
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        run.append(sum(SYNCHRONISING in str(one.message) for one in caught))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def small_runs(sampling: Sampling, table: Any) -> dict[str, Any]:
    """Sample a small latent: what is bit-identical, and how often the device is waited for."""
    base, shape = sampling.base, sampling.case.small_latent
    first, _ = measuring(base)
    models = {
        "unpatched": base,
        "epsilon 0": planned(base, table, epsilon=0.0, speed_up=0.0),
        "measuring": first,
        "planned": planned(base, table),
    }
    counts: list[int] = []
    rows: dict[str, Any] = {}
    sampling.run(base, 2, shape)
    for name, model in models.items():
        with counted_synchronisations(counts):
            run = sampling.run(model, 12, shape, f"small {name}")
        run.synchronisations = counts[-1]
        rows[name] = run.row()
        rows[name]["identical"] = sampling.identical("small unpatched", f"small {name}")
    return rows


def run_case(
    case: Case, folders: dict[str, str | None], seconds: float, save: Callable[[dict[str, Any]], None]
) -> None:
    """Measure one model, and `save` what is known after every run.

    Trials that would take longer than `seconds` are left out and named.
    """
    ends = time.monotonic() + seconds - RESERVE_SECONDS
    rows: dict[str, Any] = {"latent": list(case.latent), "runs": {}, "left_out": []}
    if seconds < RESERVE_SECONDS:
        return None
    sampling = Sampling(case.architecture.build(0, torch.bfloat16, DEVICE), case)
    runs = rows["runs"]
    parameters = sampling.base.model.diffusion_model.parameters()
    rows["parameters"] = sum(one.numel() for one in parameters)
    warm = sampling.run(sampling.base, 1)
    if warm.error:
        return save({**rows, "left_out": [f"everything: {warm.error}"]})

    def trial(name: str, steps: float, sample: Callable[[], Run]) -> Run | None:
        if time.monotonic() + steps * warm.seconds > ends:
            rows["left_out"].append(name)
            return None
        run = sample()
        runs[name] = run.row()
        save(rows)
        logger.warning("%s, %s: %.1f s, %d computed", case.name, name, run.seconds, sum(run.computed))
        return run

    trial("unpatched", case.steps, lambda: sampling.run(sampling.base, name="unpatched"))
    first, kept = measuring(sampling.base)
    trial("measuring", case.steps, lambda: sampling.run(first, name="measuring"))
    if "measuring" in runs:
        runs["measuring"]["identical"] = sampling.identical("unpatched", "measuring")
    if kept.table is None:
        return save({**rows, "left_out": [*rows["left_out"], "everything that needs the table"]})
    trial(OURS, case.steps / SHARE, lambda: sampling.run(planned(sampling.base, kept.table)))
    rows["small"] = small_runs(sampling, kept.table)
    for extra in case.extra:
        EXTRAS[extra](sampling, kept.table, trial, folders)
    save(rows)


def forget() -> None:
    """Free a model that nothing holds any more."""
    gc.collect()
    comfy.model_management.soft_empty_cache()


Trial = Callable[[str, float, Callable[[], Run]], Run | None]


def _released() -> None:
    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()


def _again(sampling: Sampling, table: Any, trial: Trial, folders: Any) -> None:
    """Sample without the patch once more: how far two equal runs are apart."""
    trial("unpatched again", sampling.steps, lambda: sampling.run(sampling.base))


def _held_on_cpu(sampling: Sampling, table: Any, trial: Trial, folders: Any) -> None:
    model = planned(sampling.base, table, cache_device="cpu")
    trial(f"{OURS}, cache_device cpu", sampling.steps / SHARE, lambda: sampling.run(model))


def _compiled(sampling: Sampling, table: Any, trial: Trial, folders: Any) -> None:
    """Compile every block, as the packs do; the first run compiles."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    blocks = peers.blocks_of(sampling.base)
    hook = blocks[len(blocks) // 2]
    hook._forward_pre_hooks.clear()  # its count would be a guard of the compiled code
    model = sampling.base.clone()
    keys = [f"diffusion_model.blocks.{index}" for index in range(len(blocks))]
    set_torch_compile_wrapper(model, "inductor", keys=keys)

    def unpatched(steps: int) -> Run:
        run = sampling.run(model, steps)
        run.computed = [True] * len(run.evaluations)
        return run

    trial("compiled: first run", sampling.steps, lambda: unpatched(2))
    trial("compiled: unpatched", sampling.steps, lambda: unpatched(sampling.steps))
    ours = planned(model, table)
    records = ours.get_attachment("sencache").records
    trial(f"compiled: {OURS}", sampling.steps / SHARE, lambda: sampling.run(ours, records=records))
    hook.register_forward_pre_hook(sampling._block)


def _peers(sampling: Sampling, table: Any, trial: Trial, folders: dict[str, str | None]) -> None:
    """Run the other accelerators as their packs ship them; those that stay on the model come last."""
    base = sampling.base
    applied: dict[str, Callable[[], Any]] = {
        "EasyCache": lambda: peers.native(base, "EasyCache", 0.2, protected=False),
        "teacache": lambda: peers.teacache(base, folders["teacache"], 0.07),
        "magcache": lambda: peers.magcache(base, folders["magcache"], 0.12, 2),
        "spectrum": lambda: peers.spectrum(base, folders["spectrum"], 0.0, 3),
    }
    for name, apply in applied.items():
        if name in PACKS and folders[name] is None:
            continue
        try:
            model = apply()
        except Exception as error:
            logger.exception("%s", name)
            trial(name, 0.0, lambda error=error: Run(error=f"{type(error).__name__}: {error}"[:300]))
            continue
        trial(name, sampling.steps, lambda model=model: sampling.run(model))


def _fp8(sampling: Sampling, table: Any, trial: Trial, folders: Any) -> None:
    """Build the model anew with fp8 weights, and sample the small latent."""
    case = sampling.case
    _released()
    base = case.architecture.build(0, torch.float8_e4m3fn, DEVICE, torch.bfloat16)
    small = Sampling(base, case, latents=sampling.latents)
    _plain_and_planned(small, table, trial, "fp8 weights")


def _offloaded(sampling: Sampling, table: Any, trial: Trial, folders: Any) -> None:
    """Leave the device too little memory for the weights: the host keeps about half of them on the CPU."""
    management = comfy.model_management
    base, before = sampling.base, management.EXTRA_RESERVED_VRAM
    if ON_CUDA:
        base.detach()
        _released()
        room = base.model_size() // 2 + base.memory_required([2, *sampling.case.small_latent[1:]])
        management.EXTRA_RESERVED_VRAM = max(0, int(management.get_free_memory(torch.device(DEVICE)) - room))
    try:
        _plain_and_planned(sampling, table, trial, "offloaded")
    finally:
        management.EXTRA_RESERVED_VRAM = before
        if ON_CUDA:
            base.detach()
            _released()


def _plain_and_planned(sampling: Sampling, table: Any, trial: Trial, name: str) -> None:
    shape, base = sampling.case.small_latent, sampling.base
    sampling.run(base, 1, shape)
    trial(f"{name}: unpatched", 1.0, lambda: sampling.run(base, 8, shape))
    trial(f"{name}: {OURS}", 1.0, lambda: sampling.run(planned(base, table), 8, shape))


EXTRAS = {
    "again": _again,
    "held on the CPU": _held_on_cpu,
    "compiled": _compiled,
    "peers": _peers,
    "fp8": _fp8,
    "offloaded": _offloaded,
}
