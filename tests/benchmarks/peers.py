"""The accelerators that ours is compared with, each set up as its own pack or authors do.

Packs are imported from folders given on the command line; nothing of theirs is part of this project.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

CALIBRATION = ((1, 1000), (5, 1100), (8, 1200), (12, 1300))  # prompt, seed
Sample = Callable[[Any, int, int], Tensor]


class NotRunningError(Exception):
    """An accelerator does not run on a model; the message says why."""


def import_pack(folder: str | None, module: str = "nodes") -> ModuleType:
    """Import one module of a pack from its folder, as a package of its own."""
    if folder is None:
        raise NotRunningError("its folder was not given")
    name = "peer_" + "".join(filter(str.isalnum, Path(folder).name))
    package = ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
    spec = importlib.util.spec_from_file_location(f"{name}.{module}", Path(folder) / f"{module}.py")
    if spec is None or spec.loader is None:
        raise NotRunningError(f"{folder} holds no {module}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def import_pack_with_old_names(folder: str | None) -> ModuleType:
    """Import a pack that asks for a name which ComfyUI has dropped; only its LTX-Video path would use it."""
    import comfy.ldm.lightricks.model as lightricks

    if not hasattr(lightricks, "precompute_freqs_cis"):
        lightricks.precompute_freqs_cis = None
    return import_pack(folder)


def blocks_of(model: Any) -> Any:
    """Return a model's transformer blocks, whatever its network calls them."""
    network = model.model.diffusion_model
    return getattr(network, "blocks", None) or network.transformer_blocks


def native(
    model: Any, node: str, threshold: float, protected: bool = True, start: float = 0.15, end: float = 0.95
) -> Any:
    """Apply ComfyUI's EasyCache or LazyCache; EasyCache changes its input in place unless it gets a copy."""
    import comfy.patcher_extension
    from comfy_extras import nodes_easycache

    patched = getattr(nodes_easycache, f"{node}Node").execute(model, threshold, start, end, False).args[0]
    if protected:

        def copied(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return executor(x.clone(), *args, **kwargs)

        patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "copy", copied)
    return patched


def optimal_steps(steps: int) -> Tensor:
    """Return the sigmas of ComfyUI's OptimalStepsScheduler for Wan."""
    from comfy_extras.nodes_optimalsteps import OptimalStepsScheduler

    return OptimalStepsScheduler.execute("Wan", steps, 1.0).args[0]


def spectrum(model: Any, folder: str | None, flex: float, warmup: int) -> Any:
    """Apply the Chebyshev forecaster for Wan; its schedule is what sets its speed."""
    node = import_pack(folder).SpectrumApplyWAN()
    return node.apply(
        model, "wan21", "separate_fit", True, 1.0, 4, 0.10, 2.0, flex, warmup, 16, False, "legacy_dense_coeff"
    )[0]


@contextmanager
def watched(layer: torch.nn.Module, seen: Callable[[Any, Any], None]) -> Iterator[None]:
    """Call `seen(inputs, output)` whenever a layer has run."""
    handle = layer.register_forward_hook(lambda _, inputs, output: seen(inputs, output))
    try:
        yield
    finally:
        handle.remove()


def teacache(
    model: Any, folder: str | None, threshold: float, coefficients: list[float] | None = None
) -> Any:
    """Apply TeaCache to Wan with a polynomial of our tiny model's own, or with Wan 2.1 1.3B's."""
    pack = import_pack_with_old_names(folder)
    if coefficients is not None:
        pack.SUPPORTED_MODELS_COEFFICIENTS["wan2.1_t2v_1.3B"] = coefficients
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return pack.TeaCache().apply_teacache(model, "wan2.1_t2v_1.3B", threshold, 0.0, 1.0, device)[0]


def fit_teacache(model: Any, sample: Sample) -> list[float]:
    """Fit its polynomial: relative change of the output over that of the time embedding, degree 4."""
    network = model.model.diffusion_model
    changes: list[tuple[float, float]] = []
    for prompt, seed in CALIBRATION:
        embedded: list[Tensor] = []
        outputs: list[Tensor] = []
        with (
            watched(network.time_embedding, lambda _, output, kept=embedded: kept.append(output.clone())),
            watched(network.head, lambda _, output, kept=outputs: kept.append(output.clone())),
        ):
            sample(model, prompt, seed)

        def relative(values: list[Tensor]) -> list[float]:
            pairs = zip(values, values[1:], strict=False)
            return [float((b - a).abs().mean() / a.abs().mean()) for a, b in pairs]

        changes += zip(relative(embedded), relative(outputs), strict=True)
    x, y = np.array(changes).T
    return [float(value) for value in np.polyfit(x, y, 4)]


def magcache(
    model: Any,
    folder: str | None,
    threshold: float,
    most: int,
    ratios: np.ndarray[Any, Any] | None = None,
) -> Any:
    """Apply MagCache to Wan with magnitude ratios of our tiny model's own, or with Wan 2.1 1.3B's."""
    pack = import_pack_with_old_names(folder)
    if ratios is not None:
        pack.SUPPORTED_MODELS_MAG_RATIOS["wan2.1_t2v_1.3B"] = ratios
    return pack.MagCache().apply_magcache(model, "wan2.1_t2v_1.3B", threshold, 0.2, most, 0, -1)[0]


def measure_magnitudes(model: Any, sample: Sample) -> np.ndarray[Any, Any]:
    """Measure its ratios as its authors define them: mean norm of a step's residual over the one before.

    Two values a step, in the order in which ComfyUI batches the branches.
    """
    blocks = model.model.diffusion_model.blocks
    runs = []
    for prompt, seed in CALIBRATION:
        entered: list[Tensor] = []
        left: list[Tensor] = []
        with (
            watched(blocks[0], lambda inputs, _, kept=entered: kept.append(inputs[0].clone())),
            watched(blocks[-1], lambda _, output, kept=left: kept.append(output.clone())),
        ):
            sample(model, prompt, seed)
        residuals = [after - before for before, after in zip(entered, left, strict=True)]
        norms = torch.stack([one.norm(dim=-1) for one in residuals])  # [steps, branches, tokens]
        runs.append((norms[1:] / norms[:-1]).mean(dim=-1))
    ratios = torch.stack(runs).mean(dim=0)
    return np.concatenate([np.ones(ratios.shape[1]), ratios.flatten().numpy()])


class BlockResidual:
    """The authors' reuse: the whole block stack's residual, added again on a reused step.

    Works through ComfyUI's block-replace patches, so the input embedding and the head run every time. Whether
    a step is reused is decided outside: `reuse` is set before each evaluation.
    """

    def __init__(self) -> None:
        self.reuse = False
        self._input: Tensor | None = None
        self._residual: Tensor | None = None

    def apply(self, model: Any) -> Any:
        """Return a clone of a model with its blocks replaced."""
        network, blocks = model.model.diffusion_model, blocks_of(model)
        if not hasattr(network, "patch_embedding") and not hasattr(network, "patchify_proj"):
            raise NotRunningError("ComfyUI's CogVideoX has no block-replace patches")
        patched, last = model.clone(), len(blocks) - 1
        for index in range(len(blocks)):
            patched.set_model_patch_replace(self._block(index, last), "dit", "double_block", index)
        return patched

    def _block(self, index: int, last: int) -> Callable[..., dict[str, Tensor]]:
        def run(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Tensor]:
            if index == 0:
                self._input = args["img"].clone()
            if not self.reuse:
                out: dict[str, Tensor] = extra["original_block"](args)
            elif index == last and self._input is not None and self._residual is not None:
                out = {"img": self._input + self._residual}
            else:
                out = {"img": args["img"]}
            if index == last and not self.reuse and self._input is not None:
                self._residual = out["img"] - self._input
            return out

        return run
