"""Runs a calibration inside ComfyUI: its samplers make the trajectories, its guider the evaluations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.patcher_extension
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
from torch import Tensor

from ...calibration.estimator import EXTRA_EVALUATIONS, TrajectoryProbe
from .coverage import LEAST_STEPS, Coverage
from .watcher import Watcher
from .wrappers import WRAPPER_TYPES

_KEY = "sencache_calibrate"
SOME_STEPS, EVERY_STEP = "some steps", "every step"
PARTS = 6  # of the sampling: in each sensitivities are measured once, where they are at some steps
OUTER_SAMPLE, PREDICT_NOISE, CALC_COND_BATCH = WRAPPER_TYPES
# What the host's context windows put on a model beside their handler; it fails without the handler.
_WINDOW_WRAPPERS = {
    comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING: "ContextWindows_prepare_sampling",
    comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE: "ContextWindows_sampler_sample",
}


class NoisedLatents(comfy.samplers.Sampler):
    """Evaluates the given latents noised to every sigma, instead of sampling (the paper's way)."""

    def sample(
        self,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Evaluate `latent_image [B, ...]` at every sigma but the final 0, and return it."""
        sampling = guider.inner_model.model_sampling
        for sigma in sigmas[:-1]:
            x = sampling.noise_scaling(sigma, noise.clone(), latent_image)
            guider(x, sigma * x.new_ones([x.shape[0]]), **extra_args)
        return latent_image


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """Everything that one calibration sample needs but its seed."""

    model: Any
    positive: list
    negative: list | None
    latent: dict[str, Any]
    steps: int
    sampler: str
    scheduler: str
    cfg: float
    own_sampler: Any = None
    sensitivities: str = SOME_STEPS

    def latent_parts(self) -> list[Tensor]:
        """Return the latent's tensors: one, or one per stream where the model samples sound as well."""
        samples = self.latent["samples"]
        return list(samples.unbind()) if samples.is_nested else [samples]

    @property
    def from_videos(self) -> bool:
        """Whether the latent holds videos to be noised; an empty one means the model's own trajectories.

        What the mask keeps does not count: frames that image to video starts from are no video yet.
        """
        given = zip(self.latent_parts(), self._mask_parts(), strict=True)
        return any(bool((part if mask is None else part * mask).any()) for part, mask in given)

    def _mask_parts(self) -> list[Tensor | None]:
        """Return for each of the latent's tensors where it is sampled, 1 or 0; None means everywhere."""
        parts, mask = self.latent_parts(), self.latent.get("noise_mask")
        if mask is None:
            return [None] * len(parts)
        masks = list(mask.unbind())[: len(parts)] if mask.is_nested else [mask]
        fitted = [
            comfy.sampler_helpers.prepare_mask(one, part.shape, part.device)
            for one, part in zip(masks, parts, strict=False)
        ]
        return fitted + [None] * (len(parts) - len(fitted))

    def latents_digest(self) -> str:
        """Tell the given latents and their masks from others: a calibration goes on only with the same."""
        parts = self.latent_parts()
        if self.latent.get("noise_mask") is None and not any(bool(part.any()) for part in parts):
            return "empty"
        return digest([*parts, *self._mask_parts()])

    def sigmas(self) -> Tensor:
        """Return the schedule that the chosen settings sample, as KSampler would make it."""
        return self._schedule(self.steps)

    def measured_sigmas(self) -> Tensor:
        """Return the schedule that is measured: that of the chosen steps, but of enough of them."""
        return self._schedule(max(self.steps, LEAST_STEPS))

    def _schedule(self, steps: int) -> Tensor:
        device = self.model.load_device
        chosen = comfy.samplers.KSampler(self.model, steps, device, self.sampler, self.scheduler)
        return chosen.sigmas

    def expected_evaluations(self) -> int:
        """Estimate the evaluations of one sample; second-order samplers make more than one a step."""
        sigmas = self.measured_sigmas()
        coverage = self._coverage()
        at = sigmas[:-1].tolist()
        measured = {int(coverage.progress(sigma) * PARTS) for sigma in at[:-1]} if self._parts else at[:-1]
        return len(at) + EXTRA_EVALUATIONS * len(measured) + len(coverage.all_sigmas(sigmas))

    @property
    def _parts(self) -> int | None:
        return None if self.sensitivities == EVERY_STEP else PARTS

    def _coverage(self) -> Coverage:
        return Coverage(self.model.get_model_object("model_sampling"))

    def sampler_object(self) -> Any:
        """Return the sampler that makes the trajectories."""
        own = self.own_sampler
        return comfy.samplers.sampler_object(self.sampler) if own is None else own

    @property
    def sampler_name(self) -> str:
        """The sampler's name as the table's metadata say it; KSampler's own name where it has one."""
        if self.own_sampler is None:
            return self.sampler
        function = getattr(self.own_sampler, "sampler_function", None)
        return getattr(function, "__name__", type(self.own_sampler).__name__).removeprefix("sample_")

    def sampler_settings(self) -> dict[str, str]:
        """Return what tells an own sampler's settings from another's, for the table's metadata."""
        settings = [getattr(self.own_sampler, name, None) for name in ("extra_options", "inpaint_options")]
        return {"own_sampler": digest(settings)} if any(settings) else {}

    def sample(self, seed: int, on_evaluation: Callable[[], None]) -> tuple[TrajectoryProbe, int]:
        """Run one trajectory with a seed; return what was measured and how many evaluations it took."""
        sigmas = self.measured_sigmas()
        watcher = Watcher(on_evaluation, self._coverage(), float(sigmas[sigmas > 0].min()), self._parts)
        model = self.model.clone()
        model.model_options.pop("context_handler", None)  # windows would be compared with each other
        for wrapper_type, key in _WINDOW_WRAPPERS.items():
            model.remove_wrappers_with_key(wrapper_type, key)
        model.add_wrapper_with_key(OUTER_SAMPLE, _KEY, watcher.outer_sample)
        model.add_wrapper_with_key(PREDICT_NOISE, _KEY, watcher.predict_noise)
        model.add_wrapper_with_key(CALC_COND_BATCH, _KEY, watcher.calc_cond_batch)
        latent = comfy.sample.fix_empty_latent_channels(model, self.latent["samples"])
        guider = comfy.samplers.CFGGuider(model)
        guided = self.negative is not None
        guider.set_conds(self.positive, self.negative if guided else [])
        guider.set_cfg(self.cfg if guided else 1.0)
        sampler = NoisedLatents() if self.from_videos else self.sampler_object()
        noise = comfy.sample.prepare_noise(latent, seed)
        guider.sample(
            noise, latent, sampler, sigmas, self.latent.get("noise_mask"), disable_pbar=True, seed=seed
        )
        return watcher.probe, watcher.evaluations


def digest(values: Any) -> str:
    """Hash every tensor, number and text in nested lists and dicts, such as a conditioning: 16 hex digits.

    A calibration goes on from an earlier one only with the same prompts, images and videos.
    """
    hashed = hashlib.sha256()
    for value in _leaves(values):
        if isinstance(value, Tensor):
            hashed.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        else:
            hashed.update(b"none" if value is None else repr(value).encode())
    return hashed.hexdigest()[:16]


def _leaves(values: Any) -> Iterator[Tensor | int | float | str | None]:
    """Yield what is inside nested containers in a fixed order; objects of other kinds are left out."""
    if values is None or isinstance(values, Tensor | int | float | str):
        yield values
    elif isinstance(values, dict):
        for key in sorted(values, key=str):
            yield str(key)
            yield from _leaves(values[key])
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _leaves(value)
