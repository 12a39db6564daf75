"""Calibrates and samples the tiny models through our nodes in ComfyUI, and scores the clips."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests" / name) for name in ("benchmarks", "tiny", "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)

from comfy_host import start_host  # noqa: E402 - their folders have just been put on the path
from host_inputs import Kept, patch_inputs  # noqa: E402
from tiny_models import MODELS, OWN, TinyModel, sample, sampler_object, sigmas_of  # noqa: E402

MEASURED_PROMPT, MEASURED_SEED = 2, 3
CLIPS = ((5, 900), (8, 901), (11, 902), (13, 903))  # prompts and seeds that no table here was measured on
CFG = 5.0


@dataclass(frozen=True, slots=True)
class Score:
    """A setting's error over the clips, in dB below the latents' range: root mean square and worst clip."""

    rms: float
    worst: float


@dataclass(slots=True)
class TinyRuns:
    """One tiny model in ComfyUI; uncached clips, and clips of equal plans, are sampled once."""

    name: str
    options: tuple[str, ...] = ("--cpu",)  # of ComfyUI's command line
    nodes: Any = field(init=False)
    tiny: TinyModel = field(init=False)
    base: Any = field(init=False)
    _held: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = start_host(Path(tempfile.mkdtemp()), self.options)
        from sencache.nodes.calibrate import SenCacheCalibrate
        from sencache.nodes.tables import files

        files.register_folders()
        SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
        self.tiny = MODELS[self.name]
        self.base = self.tiny.load(self.nodes)

    def calibrate(self, sampler: str, steps: int, samples: int = 1) -> Any:
        """Measure a table through the Calibrate node."""
        from sencache.nodes.calibrate import SenCacheCalibrate
        from sencache.nodes.tables import files

        own = sampler_object(self.nodes, sampler) if sampler == OWN else None
        prompts = (self.tiny.conditioning(MEASURED_PROMPT), self.tiny.conditioning(0))
        table = SenCacheCalibrate.execute(
            self.base, prompts[0], self.tiny.empty_latent(), steps, "euler" if own else sampler, "simple",
            samples, CFG, MEASURED_SEED, "measured", prompts[1], own,
        ).args[0]  # fmt: skip
        files.save_target("measured").path.unlink()
        return table

    def sigmas(self, sampler: str, steps: int) -> Any:
        """Return the sigmas as KSampler, or for a sampler of its own BasicScheduler, makes them."""
        return sigmas_of(self.base, sampler, steps)

    def sample(self, model: Any, sampler: str, steps: int, clip: tuple[int, int]) -> Any:
        """Sample one clip; return its latent in model space."""
        return sample(self.nodes, model, self.tiny, *clip, sampler, steps, CFG)

    def uncached(self, sampler: str, steps: int) -> list[Any]:
        """Return the unpatched model's clips."""
        key = (sampler, steps)
        if key not in self._held:
            self._held[key] = [self.sample(self.base, sampler, steps, clip) for clip in CLIPS]
        return self._held[key]

    def fewer_steps(self, sampler: str, steps: int, fewer: int) -> Score:
        """Score the unpatched model with fewer steps."""
        return self.score(self.uncached(sampler, fewer), sampler, steps)

    def patched(self, table: Any, sampler: str, steps: int, **settings: Any) -> tuple[Score, Any]:
        """Score a patched model; the last clip's record comes along."""
        from sencache.nodes.model_patch import SenCacheModelPatch

        model = SenCacheModelPatch.execute(self.base, **patch_inputs(sensitivity=table, **settings)).args[0]
        records = model.get_attachment("sencache").records
        first = self.sample(model, sampler, steps, CLIPS[0])
        record = records[-1]
        plan = tuple(one.decision.reuse for one in record.evaluations)
        key = (sampler, steps, plan, record.config.forecast, float(first.double().sum()))
        if key not in self._held:  # the same decisions with the same forecasts give the same clips
            others = [self.sample(model, sampler, steps, clip) for clip in CLIPS[1:]]
            self._held[key] = self.score([first, *others], sampler, steps)
        return self._held[key], record

    def first_run(self, sampler: str, steps: int) -> Any:
        """Sample one clip of the patched model, of which nothing is known; return the table it measured."""
        from sencache.caching.config import SenCacheConfig
        from sencache.nodes.host.wrappers import Patch

        source = Kept()
        model = Patch(SenCacheConfig(), source).apply(self.base)
        self.sample(model, sampler, steps, (MEASURED_PROMPT, MEASURED_SEED))
        return source.table

    def planned(
        self, table: Any, sampler: str, steps: int, clips: list[tuple[int, int]], **settings: Any
    ) -> tuple[list[Any], Any]:
        """Sample clips with a table, and return them with the last one's record."""
        from sencache.nodes.model_patch import SenCacheModelPatch

        model = SenCacheModelPatch.execute(self.base, **patch_inputs(sensitivity=table, **settings)).args[0]
        found = [self.sample(model, sampler, steps, clip) for clip in clips]
        return found, model.get_attachment("sencache").records[-1]

    def score(self, clips: list[Any], sampler: str, steps: int) -> Score:
        """Compare clips with the uncached ones."""
        references = self.uncached(sampler, steps)
        span = float(max(one.max() for one in references) - min(one.min() for one in references))
        squares = [float((a - b).square().mean()) for a, b in zip(clips, references, strict=True)]
        return Score(*(-10 * math.log10(max(one, 1e-14) / span**2) for one in (_mean(squares), max(squares))))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def samplers_of(name: str) -> Iterator[str]:
    """Yield the samplers that a model is measured and sampled with."""
    yield from (OWN,) if OWN in MODELS[name].samplers else ("euler", "uni_pc")
