"""Runs methods on one model in a process of their own: `compare_worker.py JOB.json`; rows go to stdout.

A row holds one setting's results over all clips. Packs that stay on the shared model get a process each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / name) for name in ("benchmarks", "tiny", "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_host import start_host  # noqa: E402
from peers import blocks_of  # noqa: E402
from rows import CLIPS, errors  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_models import MODELS, TinyModel  # noqa: E402
from tiny_models import sample as sample_clip  # noqa: E402

DATA_CLIPS = 128
ONLY_WAN = {
    "OptimalSteps": "it has no schedule for this model",
    "Spectrum": "the pack patches Wan only",
    "TeaCache": "the pack does not know this model as ComfyUI has it now",
    "MagCache": "the pack does not know this model",
}


def cases(count: int) -> list[tuple[int, int]]:
    """Return prompts, on which no table and no peer is measured, and seeds: every prompt in turn."""
    return [*CLIPS[::2], *CLIPS[1::2]][:count]


@dataclass(slots=True)
class Counter:
    """Counts what ran: branches through the first block, and the sampler's evaluations."""

    branches: int = 0
    evaluations: int = 0

    def watch(self, model: Any) -> None:
        """Count on the network itself: no accelerator leaves out a block without leaving out them all."""
        blocks = blocks_of(model)
        blocks[len(blocks) // 2].register_forward_pre_hook(self._block, with_kwargs=True)

    def _block(self, _: Any, args: tuple, kwargs: dict) -> None:
        tokens = args[0] if args else kwargs["hidden_states"]
        self.branches += len(tokens)

    def evaluate(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Pass a wrapped evaluation through."""
        self.evaluations += 1
        return executor(*args, **kwargs)


@dataclass(slots=True)
class Job:
    """Methods with their settings on one model under one way of sampling."""

    model: str
    sampler: str
    cfg: float
    steps: int
    clips: int
    methods: dict[str, list[dict[str, Any]]]
    folders: dict[str, str | None]
    references: str
    nodes: ModuleType = field(init=False)
    tiny: TinyModel = field(init=False)
    counter: Counter = field(default_factory=Counter)

    def sample(
        self, model: Any, prompt: int, seed: int, steps: int | None = None, sigmas: Any = None
    ) -> Any:
        """Sample one clip in model space."""
        steps = self.steps if steps is None else steps
        return sample_clip(self.nodes, model, self.tiny, prompt, seed, self.sampler, steps, self.cfg, sigmas)

    def fewer(self, model: Any, steps: int) -> Callable[[int, int], Any]:
        """Return how to sample the unpatched model with a number of steps; clips found on the disk are read.

        Other ways of sampling need the same clips: as many steps can be a half of one and a third of another.
        """

        def sampled(prompt: int, seed: int) -> Any:
            name = f"{self.model}-{self.sampler}-{self.cfg:g}-{steps}"
            path = Path(self.references) / name / f"{prompt}-{seed}.safetensors"
            if path.exists():
                self.counter.evaluations = steps
                self.counter.branches = steps * self.branches
                return load_file(path)["latent"]
            latent = self.sample(model, prompt, seed, steps)
            path.parent.mkdir(parents=True, exist_ok=True)
            written = path.with_suffix(f".{os.getpid()}")
            save_file({"latent": latent.contiguous()}, written)
            written.replace(path)
            return latent

        return sampled

    @property
    def branches(self) -> int:
        """How many branches guidance evaluates."""
        return 1 if self.cfg == 1 else 2


def patched(
    job: Job, method: str, base: Any
) -> Iterator[tuple[dict[str, Any], Callable[[int, int], Any], Any]]:
    """Yield every setting, how to sample with it, and the patch whose records tell more."""
    import peers
    from host_methods import paper_residual, sencache

    def plain(model: Any) -> Callable[[int, int], Any]:
        return lambda prompt, seed: job.sample(model, prompt, seed)

    def calibrated(measure: Callable) -> Any:
        return measure(base.clone(), lambda model, prompt, seed: job.sample(model, prompt, seed))

    measured = None
    if method in ONLY_WAN and job.model != "wan":
        raise peers.NotRunningError(ONLY_WAN[method])
    for setting in job.methods[method]:
        options = {key: value for key, value in setting.items() if key != "label"}
        if method in ("uncached", "fewer steps"):
            yield setting, job.fewer(base.clone(), options.get("steps", job.steps)), None
        elif method == "OptimalSteps":
            sample = partial(job.sample, base.clone(), sigmas=peers.optimal_steps(**options))
            yield setting, sample, None
        elif method.startswith("SenCache"):
            model, patch = sencache(base, job.tiny, **options)
            yield setting, plain(model), patch
        elif method in ("EasyCache", "LazyCache"):
            yield setting, plain(peers.native(base, method, **options)), None
        elif method == "Spectrum":
            yield setting, plain(peers.spectrum(base, job.folders["spectrum"], **options)), None
        elif method == "TeaCache":
            measured = measured or calibrated(peers.fit_teacache)
            signal = measured if options.pop("signal") == "fitted" else [1.0, 0.0]
            model = peers.teacache(base, job.folders["teacache"], coefficients=signal, **options)
            yield setting, plain(model), None
        elif method == "MagCache":
            measured = calibrated(peers.measure_magnitudes) if measured is None else measured
            yield (
                setting,
                plain(peers.magcache(base, job.folders["magcache"], ratios=measured, **options)),
                None,
            )
        elif method == "authors' reuse":
            yield setting, plain(paper_residual(base, job.tiny, **options)), None
        else:
            raise ValueError(f"no method is called {method!r}")


def measured_clips(job: Job, method: str, base: Any, metrics: Any) -> Iterator[dict[str, Any]]:
    """Sample every setting of a method over all clips, and compare with the uncached ones."""
    from peers import NotRunningError

    reference = job.fewer(base.clone(), job.steps)
    try:
        for setting, sample, patch in patched(job, method, base):
            rows, latents = [], []
            for prompt, seed in cases(job.clips):
                job.counter.branches = job.counter.evaluations = 0
                latent = sample(prompt, seed)
                row = {"nfe": job.counter.branches / job.branches, "evaluations": job.counter.evaluations}
                if patch is not None:
                    record = patch.sink.records[-1]
                    row |= {"planned": record.planned, "predicted_error": record.predicted_error}
                pair = latent, reference(prompt, seed)
                pictures = [job.tiny.to_pictures(one) for one in pair]
                [error] = errors(*zip(pair))
                rows.append(row | {"rms": error} | metrics.against(*pictures))
                latents.append(pictures[0])
            yield {"setting": setting, "clips": rows, "distance": metrics.distance_to_data(latents)}
    except NotRunningError as error:
        yield {"not_running": str(error)}
    except Exception as error:  # a peer's own failure is a result
        yield {"not_running": f"{type(error).__name__}: {error}"}


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Run every method in turn on one loaded model."""
    import comfy.patcher_extension
    import torch
    from clips import Clips
    from metrics import Metrics

    base = job.tiny.load(job.nodes)
    job.counter.watch(base)
    generator = torch.Generator().manual_seed(0)
    metrics = Metrics((Clips().batch(DATA_CLIPS, generator)[0].clamp(-1, 1) + 1) / 2)
    counting = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
    base.add_wrapper_with_key(counting, "count", job.counter.evaluate)
    for method in job.methods:
        for row in measured_clips(job, method, base, metrics):
            yield {"method": method, **row}


def main() -> None:
    """Read the job, run it, and print one JSON row per setting."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    job.tiny = MODELS[job.model]
    with tempfile.TemporaryDirectory() as scratch:
        job.nodes = start_host(Path(scratch))
        import torch
        from sencache.nodes.tables.files import register_folders

        register_folders()
        torch.set_num_threads(1)
        with torch.inference_mode():
            for row in run(job):
                print("ROW " + json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
