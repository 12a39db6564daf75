"""Fixtures of the host tests: ComfyUI in this process, and the tiny model loaded by its own loader node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_host import start_host
from host_inputs import conditioning, empty_latent
from tiny_models import MODELS, TinyModel

Sample = Callable[..., torch.Tensor]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """ComfyUI's `nodes` module, with the pack's table folders registered."""
    nodes = start_host(tmp_path_factory.mktemp("comfy"))
    from sencache.nodes.tables.files import register_folders

    register_folders()
    return nodes


@pytest.fixture
def wan(host: ModuleType) -> Any:
    """The tiny Wan model, a fresh ModelPatcher."""
    return host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]


@pytest.fixture(scope="session")
def required(host: ModuleType) -> Callable[[str], TinyModel]:
    """Return a tiny model by its name, and skip where the host lacks it: older ones have no CogVideoX."""

    def run(name: str) -> TinyModel:
        if not MODELS[name].available():
            pytest.skip(f"this host has no {MODELS[name].config_class}")
        return MODELS[name]

    return run


@pytest.fixture(scope="session")
def sample(host: ModuleType) -> Sample:
    """Sample a model through ComfyUI's KSampler node, and return the latent's samples."""

    def run(
        model: Any,
        steps: int = 6,
        cfg: float = 5.0,
        sampler: str = "euler",
        seed: int = 1,
        prompt: int = 2,
        latent: dict | None = None,
        scheduler: str = "simple",
    ) -> torch.Tensor:
        node = host.NODE_CLASS_MAPPINGS["KSampler"]()
        result = node.sample(
            model, seed, steps, cfg, sampler, scheduler, conditioning(prompt), conditioning(0),
            latent or empty_latent(),
        )  # fmt: skip
        return result[0]["samples"]

    return run


@pytest.fixture
def patch(host: ModuleType) -> Callable[..., Any]:
    """Patch a model through the Model Patch node; the shipped table unless another is named."""

    def run(model: Any, **inputs: Any) -> Any:
        from host_inputs import patch_inputs
        from sencache.nodes.model_patch import SenCacheModelPatch

        return SenCacheModelPatch.execute(model, **patch_inputs(**inputs)).args[0]

    return run


@pytest.fixture
def records() -> Callable[[Any], list]:
    """Return the records of a patched model, oldest first."""

    def run(model: Any) -> list:
        return list(model.get_attachment("sencache").records)

    return run


@pytest.fixture
def calibrate(host: ModuleType, wan: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Run the Calibrate node, 5 steps and 2 samples unless changed, under a table name of the test's own."""
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.host import calibration
    from sencache.nodes.tables import files as table_files

    target = table_files.save_target("calibration under test")
    monkeypatch.setattr(calibration, "LEAST_STEPS", 2)

    def run(model: Any = wan, **changed: Any) -> Any:
        SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
        inputs = {
            "model": model, "positive": conditioning(2), "negative": conditioning(0),
            "latent": empty_latent(), "steps": 5, "sampler": "euler", "scheduler": "simple",
            "samples": 2, "cfg": 5.0, "seed": 3, "table_name": "calibration under test",
            "sensitivities": "every step",
        }  # fmt: skip
        return SenCacheCalibrate.execute(**{**inputs, **changed})

    yield run
    target.path.unlink(missing_ok=True)
    target.partial.unlink(missing_ok=True)


@pytest.fixture
def unknown(host: ModuleType, tmp_path: Path) -> Iterator[Path]:
    """Leave out every table that there is; return the folder that measured ones go to."""
    import folder_paths

    before = folder_paths.folder_names_and_paths["sencache"]
    folder_paths.folder_names_and_paths["sencache"] = ([str(tmp_path)], {".safetensors"})
    yield tmp_path / "measured"
    folder_paths.folder_names_and_paths["sencache"] = before


@pytest.fixture
def evaluations(wan: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Count evaluations and the branches each holds; `stop_at` raises the host's Cancel at one of them."""
    import comfy.model_management

    counted = SimpleNamespace(branches=[], stop_at=None)
    apply_model = wan.model._apply_model

    def counting(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        counted.branches.append(len(x))
        if len(counted.branches) == counted.stop_at:
            raise comfy.model_management.InterruptProcessingException()
        return apply_model(x, *args, **kwargs)

    monkeypatch.setattr(wan.model, "_apply_model", counting)
    return counted
