"""All that a conditioning may carry: parts of the picture or of the sampling, hooks, controls, windows."""

from __future__ import annotations

from typing import Any

import torch
from guidance import inputs_of
from host_inputs import conditioning
from judge import Case, HostLacksError, Scene, replaced
from random_models import ARCHITECTURES
from scenes import LATENT, changed_first, ksample, node, on_wan
from tiny_models import MODELS
from torch import Tensor

PROMPTS, WINDOWS = "Conditioning", "Context windows"


def _ranged(nodes: Any, prompt: int, start: float, end: float) -> list:
    name = "ConditioningSetTimestepRange"
    return node(nodes, name, conditioning=conditioning(prompt), start=start, end=end)


def _joined(nodes: Any, *conds: list) -> list:
    joined = conds[0]
    for cond in conds[1:]:
        joined = node(nodes, "ConditioningCombine", conditioning_1=joined, conditioning_2=cond)
    return joined


def _several(nodes: Any, model: Any) -> Tensor:
    return ksample(nodes, model, positive=_joined(nodes, conditioning(2), conditioning(5), conditioning(7)))


def _scheduled(nodes: Any, model: Any) -> Tensor:
    thirds = ((2, 0.0, 0.3), (5, 0.3, 0.7), (7, 0.7, 1.0))
    return ksample(nodes, model, positive=_joined(nodes, *(_ranged(nodes, *third) for third in thirds)))


def _ends_early(nodes: Any, model: Any) -> Tensor:
    ranged = _joined(nodes, conditioning(2), _ranged(nodes, 5, 0.0, 0.4))
    return ksample(nodes, model, positive=ranged)


def _area(nodes: Any, model: Any) -> Tensor:
    place = {"temporal": 1.0, "width": 0.5, "height": 1.0, "x": 0.0, "y": 0.0, "z": 0.0, "strength": 1.0}
    left, right = (
        node(
            nodes,
            "ConditioningSetAreaPercentageVideo",
            conditioning=conditioning(prompt),
            **{**place, "x": x},
        )
        for prompt, x in ((5, 0.0), (7, 0.5))
    )
    return ksample(nodes, model, positive=_joined(nodes, conditioning(2), left, right))


def _masks(nodes: Any, model: Any) -> Tensor:
    mask = torch.zeros(1, 8, 8)
    mask[:, :, 4:] = 1.0
    masked = node(
        nodes, "ConditioningSetMask", conditioning=conditioning(5), mask=mask, set_cond_area="default",
        strength=1.0,
    )  # fmt: skip
    return ksample(nodes, model, positive=_joined(nodes, conditioning(2), masked))


def _batching(memory: float) -> Any:
    """Sample with CFG's branches together (memory enough) or one after the other (never enough)."""

    def sample(nodes: Any, model: Any) -> Tensor:
        with replaced(model.model, "memory_required", lambda *args, **kwargs: memory):
            return ksample(nodes, model)

    return sample


def lora(model: Any, strength: float = 0.02) -> dict[str, Tensor]:
    """Return a small random LoRA of rank 2 for every attention of the tiny Wan, in the host's file format."""
    generator = torch.Generator().manual_seed(6)
    weights = {}
    for name, value in sorted(model.model.diffusion_model.state_dict().items()):
        if name.endswith(("self_attn.q.weight", "self_attn.v.weight")):
            key = f"diffusion_model.{name.removesuffix('.weight')}"
            weights[f"{key}.lora_up.weight"] = torch.randn(value.shape[0], 2, generator=generator) * strength
            weights[f"{key}.lora_down.weight"] = torch.randn(2, value.shape[1], generator=generator)
    return weights


def hooked(nodes: Any, model: Any, keyframes: tuple[tuple[float, float], ...] = ()) -> list:
    """Return a conditioning with a LoRA of its own, its strength by (start percent, factor) keyframes."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora(model), 1.0, 0.0)
    if keyframes:
        group = comfy.hooks.HookKeyframeGroup()
        for start, factor in keyframes:
            group.add(comfy.hooks.HookKeyframe(factor, start))
        hooks.set_keyframes_on_hooks(group)
    return node(
        nodes, "ConditioningSetProperties", cond_NEW=conditioning(2), strength=1.0, set_cond_area="default",
        hooks=hooks,
    )  # fmt: skip


def _hook(keyframes: tuple[tuple[float, float], ...] = ()) -> Any:
    return lambda nodes, model: ksample(nodes, model, positive=hooked(nodes, model, keyframes))


def control(strength: float = 0.3) -> Any:
    """Return a control that adds a fixed pattern to the first block of a Flux network."""
    import comfy.controlnet

    class Pattern(comfy.controlnet.ControlBase):
        """A ControlNet without a network, as extension packs make them."""

        def get_control(self, x_noisy: Tensor, t: Tensor, *args: Any) -> dict[str, list] | None:
            if self.timestep_range is not None and not (
                self.timestep_range[1] <= float(t[0]) <= self.timestep_range[0]
            ):
                return None
            tokens = x_noisy.shape[-1] * x_noisy.shape[-2] // 4
            pattern = torch.linspace(-1, 1, tokens).reshape(1, tokens, 1).expand(len(x_noisy), -1, 128)
            return {"input": [pattern * strength], "output": []}

        def copy(self) -> Any:
            copied = Pattern()
            self.copy_to(copied)
            return copied

        def get_models(self) -> list:
            return []

    return Pattern()


def _controlled(start: float, end: float) -> Case:
    architecture = next(one for one in ARCHITECTURES if one.name == "Flux")

    def make(nodes: Any) -> Scene:
        from architectures import calibrated

        if not hasattr(nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"], "apply_controlnet"):
            raise HostLacksError("no ControlNetApplyAdvanced")
        model = architecture.build()
        table, _ = calibrated(nodes, model, architecture)
        prompts = [architecture.conditioning(prompt) for prompt in (2, 0)]

        def sample(model: Any) -> Tensor:
            pair = nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet(
                *prompts, control(), torch.zeros(1, 64, 64, 3), 1.0, start, end
            )
            inputs = {"positive": pair[0], "negative": pair[1], "latent_image": architecture.latent()}
            return ksample(nodes, model, **inputs)

        return Scene((model,), sample, (table,))

    return Case(PROMPTS, f"ControlNet, {start:.0%} to {end:.0%} (Flux)", make)


def _windows(schedule: str, **changed: Any) -> Case:
    frames = (LATENT[0], LATENT[1], 9, *LATENT[3:])
    inputs = {
        "context_length": 4, "context_overlap": 2, "context_schedule": schedule, "context_stride": 1,
        "closed_loop": False, "fuse_method": "pyramid", "dim": 2,
    } | changed  # fmt: skip

    def change(nodes: Any, model: Any) -> Any:
        known = inputs_of(nodes, "ContextWindowsManual")
        missing = set(changed) - known
        if missing:
            raise HostLacksError(f"no {', '.join(sorted(missing))} in ContextWindowsManual")
        rest = {"freenoise": False} if "freenoise" in known else {}
        return node(nodes, "ContextWindowsManual", model=model, **{**rest, **inputs})

    shown = "".join(f", {key} {value}" for key, value in changed.items())
    empty = {"samples": torch.zeros(frames)}
    return changed_first(WINDOWS, schedule + shown, change, latent_image=empty)


def _guided_frame(frame: int, strength: float) -> Case:
    """Make a case of LTX-Video with a guide at a frame: its tokens are appended behind the video's."""

    def make(nodes: Any) -> Scene:
        tiny = MODELS["ltxv"]
        guide = nodes.NODE_CLASS_MAPPINGS.get("LTXVAddGuide")
        if guide is None or not hasattr(guide, "append_keyframe"):
            raise HostLacksError("no LTXVAddGuide.append_keyframe")
        picture = torch.randn(1, *tiny.latent_shape[1:], generator=torch.Generator().manual_seed(8))

        def sample(model: Any) -> Tensor:
            latent = torch.zeros(tiny.latent_shape)
            mask = torch.ones(1, 1, latent.shape[2], 1, 1)
            positive, negative, latent, mask = guide.append_keyframe(
                tiny.conditioning(2), tiny.conditioning(0), frame, latent, mask,
                picture[:, :, :1], strength, (8, 32, 32),
            )  # fmt: skip
            guided = {"samples": latent, "noise_mask": mask}
            return ksample(nodes, model, positive=positive, negative=negative, latent_image=guided)

        return Scene((tiny.load(nodes),), sample)

    return Case(PROMPTS, f"LTX-Video, a guide of strength {strength:g} at frame {frame}", make)


def _average(nodes: Any, model: Any) -> Tensor:
    mixed = node(
        nodes, "ConditioningAverage", conditioning_to=conditioning(2), conditioning_from=conditioning(5),
        conditioning_to_strength=0.5,
    )  # fmt: skip
    return ksample(nodes, model, positive=mixed, negative=node(
        nodes, "ConditioningZeroOut", conditioning=conditioning(0)))  # fmt: skip


def cases() -> list[Case]:
    """List kinds of prompts, then the context windows."""
    prompts = {
        "three prompts combined": _several, "prompts averaged, negative zeroed": _average,
        "three prompts in turn (timestep ranges)": _scheduled,
        "a second prompt that ends at 40 %": _ends_early,
        "two areas beside a whole": _area, "a masked prompt": _masks, "hook LoRA": _hook(),
        "hook LoRA, off until 50 %": _hook(((0.0, 0.0), (0.5, 1.0))),
        "hook LoRA, four keyframes": _hook(((0.0, 1.0), (0.25, 0.2), (0.5, 1.0), (0.75, 0.0))),
        "CFG in one batch": _batching(0.0), "CFG one after the other": _batching(1e30),
    }  # fmt: skip
    windows = [
        _windows("standard_static"), _windows("standard_uniform"),
        _windows("looped_uniform", closed_loop=True),
        _windows("batched"), _windows("standard_static", fuse_method="relative"),
        _windows("standard_static", freenoise=True),
        _windows("standard_static", split_conds_to_windows=True),
    ]  # fmt: skip
    listed = [on_wan(PROMPTS, name, sample) for name, sample in prompts.items()]
    others = [_guided_frame(8, 1.0), _guided_frame(16, 0.6), _controlled(0.0, 1.0), _controlled(0.0, 0.5)]
    return listed + others + windows
