"""The models and latents of the GPU benchmark: real networks' settings, and small ones to try the script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from random_models import Architecture

PACKS = ("teacache", "magcache", "spectrum")
OURS = "SenCache"
TEXT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Case:
    """One model at one size: which steps are sampled, and what is tried besides the ordinary runs.

    `extra` names further trials: "again" (the unpatched run), "held on the CPU" and "compiled" (the planned
    run), "peers" (the other accelerators), "fp8" and "offloaded" (`small_latent`, fp8 in a model built anew).
    """

    name: str
    architecture: Architecture
    steps: int
    small_latent: tuple[int, ...]
    extra: tuple[str, ...] = ()

    @property
    def latent(self) -> tuple[int, ...]:
        """The sampled latent's shape, `[B, C, T, H, W]`."""
        return self.architecture.latent_shapes[0]


def _wan(dim: int, ffn_dim: int, heads: int, layers: int, channels: int = 16) -> dict[str, Any]:
    return {
        "image_model": "wan2.1", "model_type": "t2v", "dim": dim, "ffn_dim": ffn_dim, "num_heads": heads,
        "num_layers": layers, "in_dim": channels, "out_dim": channels, "text_dim": 4096,
    }  # fmt: skip


_WAN_LATENT, _SMALL_WAN_LATENT = (1, 16, 21, 60, 104), (1, 16, 5, 30, 52)
_LTXV = {
    "image_model": "ltxv", "cross_attention_dim": 2048, "attention_head_dim": 64, "num_attention_heads": 32,
    "caption_channels": 4096, "num_layers": 28,
}  # fmt: skip


def _mask(seed: int) -> dict[str, Any]:
    return {"attention_mask": torch.ones(1, TEXT_TOKENS, dtype=torch.int64)}


def _full() -> list[Case]:
    ltxv = Architecture("LTX-Video 2B", "LTXV", _LTXV, ((1, 128, 16, 22, 38),), 4096, extras=_mask)
    small_wan = Architecture("Wan 2.1 1.3B", "WAN21_T2V", _wan(1536, 8960, 12, 30), (_WAN_LATENT,), 4096)
    large_wan = Architecture("Wan 2.1 14B", "WAN21_T2V", _wan(5120, 13824, 40, 40), (_WAN_LATENT,), 4096)
    middle = _wan(3072, 14336, 24, 30, channels=48)
    new_wan = Architecture("Wan 2.2 5B", "WAN22_T2V", middle, ((1, 48, 31, 44, 80),), 4096)
    return [
        Case("LTX-Video 2B, 1216x704x121", ltxv, 12, (1, 128, 5, 12, 20), ("again", "held on the CPU")),
        Case("Wan 2.1 14B, 832x480x81", large_wan, 6, _SMALL_WAN_LATENT, ("again", "offloaded", "fp8")),
        Case("Wan 2.2 5B, 1280x704x121", new_wan, 8, (1, 48, 5, 22, 40)),
        Case(
            "Wan 2.1 1.3B, 832x480x81", small_wan, 12, _SMALL_WAN_LATENT,
            ("held on the CPU", "compiled", "peers"),
        ),
    ]  # fmt: skip


def _small() -> list[Case]:
    latent = (1, 16, 3, 12, 12)
    wan = Architecture("small Wan", "WAN21_T2V", _wan(128, 256, 1, 2) | {"text_dim": 64}, (latent,), 64)
    extra = ("again", "held on the CPU", "offloaded", "fp8", "peers")
    return [Case("a small Wan", wan, 8, latent, extra)]


def cases(small: bool) -> list[Case]:
    """Return the models in the order in which they are run: the most telling first."""
    return _small() if small else _full()
