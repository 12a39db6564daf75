"""Fixtures of the host tests: ComfyUI in this process, and the tiny model loaded by its own loader node."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_host import start_host
from latents import prompt_embedding
from wan_model import TEXT_DIM

LATENT_SHAPE = (1, 16, 8, 12, 12)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """ComfyUI's `nodes` module, with the pack's table folders registered."""
    nodes = start_host(tmp_path_factory.mktemp("comfy"))
    from sencache.nodes.table_files import register_folders

    register_folders()
    return nodes


@pytest.fixture
def wan(host: ModuleType) -> Any:
    """The tiny Wan model, a fresh ModelPatcher."""
    return host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]


def conditioning(prompt: int) -> list:
    """Return ComfyUI's conditioning for one of the tiny model's prompts."""
    return [[prompt_embedding(prompt, TEXT_DIM), {}]]


def empty_latent(batch: int = 1) -> dict[str, torch.Tensor]:
    """Return an empty latent of the tiny model's own size."""
    return {"samples": torch.zeros(batch, *LATENT_SHAPE[1:])}


@pytest.fixture(scope="session")
def sample(host: ModuleType) -> Callable[..., torch.Tensor]:
    """Sample a model through ComfyUI's KSampler node."""

    def run(
        model: Any,
        steps: int = 8,
        cfg: float = 5.0,
        sampler: str = "euler",
        seed: int = 1,
        prompt: int = 2,
        batch: int = 1,
    ) -> torch.Tensor:
        node = host.NODE_CLASS_MAPPINGS["KSampler"]()
        result = node.sample(
            model, seed, steps, cfg, sampler, "simple", conditioning(prompt), conditioning(0), empty_latent(batch)
        )
        return result[0]["samples"]

    return run
