"""Models that nobody measured, for the soak: fine-tunes that come and go, and tables that are taken away."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import torch
from comfy_host import DEMO_MODEL
from safetensors.torch import load_file, save_file

LOADER, PATCH, SAMPLER = "1", "6", "7"
RUNS_OF_ONE = 3  # in the mean, before the next fine-tune: some measure, some are planned
REMOVED = 0.04  # of the runs find their tables gone
FOLDERS_REMOVED = 0.004
PARTS = ("whole", "whole", "denoise", "first half", "second half")
SAMPLERS = ("euler", "euler", "uni_pc", "dpmpp_2m", "heun", "dpmpp_sde")


class Unmeasured:
    """A fine-tune of the tiny Wan model at a time, and the tables that the server's runs measure."""

    def __init__(self, models: Path, rng: random.Random) -> None:
        self._models, self._rng, self._number = models, rng, 0
        self._file = models / "diffusion_models" / "none"
        self._weights = load_file(DEMO_MODEL)

    @property
    def tables(self) -> int:
        """How many tables the runs' folder holds now."""
        return len(list((self._models / "sencache" / "measured").glob("*.safetensors")))

    def change(self, prompt: dict[str, Any]) -> str:
        """Let a prompt sample a model of these, or a part of its sampling; return which part."""
        rng, steps = self._rng, prompt[SAMPLER]["inputs"]["steps"]
        if not self._number or rng.random() < 1 / RUNS_OF_ONE:
            self._next()
        elif rng.random() < REMOVED:
            self._remove_tables()
        prompt[LOADER]["inputs"]["unet_name"] = self._file.name
        patch = prompt[PATCH]["inputs"]
        patch.update(table="automatic", rule="plan", epsilon=max(patch["epsilon"], 0.02))
        part, sampler = rng.choice(PARTS), prompt[SAMPLER]["inputs"]
        sampler.update(cfg=rng.choice([5.0, 5.0, 1.0]), sampler_name=rng.choice(SAMPLERS))
        if part == "denoise":
            sampler["denoise"] = 0.6
        elif part != "whole":
            prompt[SAMPLER] = sliced(sampler, steps, part == "first half")
        return part

    def _next(self) -> None:
        """Write the next fine-tune in place of the last: the server has seen no weights like these."""
        self._file.unlink(missing_ok=True)
        self._number += 1
        self._file = self._models / "diffusion_models" / f"tuned {self._number}.safetensors"
        noise = torch.Generator().manual_seed(self._number)  # a common factor may be rounded away again
        tuned = {
            name: (one * (1 + 0.01 * torch.randn(one.shape, generator=noise))).to(one.dtype)
            for name, one in self._weights.items()
        }
        save_file(tuned, self._file)

    def _remove_tables(self) -> None:
        """Take this model's tables away, or now and then the whole table folder."""
        measured = self._models / "sencache" / "measured"
        if self._rng.random() < FOLDERS_REMOVED / REMOVED:
            shutil.rmtree(measured.parent, ignore_errors=True)
        for path in measured.glob(f"{self._file.stem.replace(' ', '_')} *"):
            path.unlink()


def sliced(sampler: dict[str, Any], steps: int, first: bool) -> dict[str, Any]:
    """Return a node that samples half of twice the steps, as each of two experts does."""
    kept = {name: value for name, value in sampler.items() if name not in ("seed", "denoise", "steps")}
    start, end = (0, steps) if first else (steps, 2 * steps)
    ends = {"start_at_step": start, "end_at_step": end}
    how = {"add_noise": "enable", "noise_seed": sampler["seed"], "steps": 2 * steps,
           "return_with_leftover_noise": "enable" if first else "disable"}  # fmt: skip
    return {"class_type": "KSamplerAdvanced", "inputs": {**kept, **ends, **how}}
