"""Compares what the panel says before a run with the run, for every sampler with every scheduler of KSampler.

    python tests/benchmarks/agreement.py

Counts of evaluations, of computed ones, and the reason of every single one; a small latent of the tiny Wan,
12 steps, by epsilon and by a wished speed-up. Needs ComfyUI (COMFYUI_PATH) and its environment; some ten
minutes on one core. Writes `results/agreement.md`.
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE)]

from host_inputs import panel_answer  # noqa: E402 - their folders have just been put on the path
from tiny_runs import TinyRuns, patch_inputs  # noqa: E402
from tqdm import tqdm  # noqa: E402

STEPS, CFG, LATENT = 12, 5.0, (1, 16, 2, 8, 8)
SETTINGS: list[dict[str, Any]] = [{"epsilon": 0.03}, {"speed_up": 2.0}]
TABLE = "tiny_wan.safetensors"


def differences(runs: TinyRuns, sampler: str, scheduler: str) -> Iterator[str]:
    """Yield where the panel and the run of a pair differ; nothing where they agree."""
    import torch
    from sencache.nodes.model_patch import SenCacheModelPatch

    told = {"steps": STEPS, "sampler": sampler, "scheduler": scheduler, "cfg": CFG}
    for settings in SETTINGS:
        shown = panel_answer({"settings": settings, "sampling": told, "tables": [TABLE]})
        model = SenCacheModelPatch.execute(runs.base, **patch_inputs(table=TABLE, **settings)).args[0]
        runs.nodes.NODE_CLASS_MAPPINGS["KSampler"]().sample(
            model, 1, STEPS, CFG, sampler, scheduler, runs.tiny.conditioning(2), runs.tiny.conditioning(0),
            {"samples": torch.zeros(LATENT)},
        )  # fmt: skip
        record = model.get_attachment("sencache").records[-1]
        real = [one.decision.reason.value for one in record.evaluations]
        if [cell["reason"] for cell in shown["cells"]] != real:
            named = any(note["code"] == "not_foreseen" for note in shown["notes"])
            counts = f"{shown['nfe']} of {shown['evaluations']} shown, {record.nfe} of {len(real)} computed"
            yield f"{next(iter(settings))}: {counts}{', named by the panel' * named}"


def main() -> None:
    """Go through all pairs, and write the page."""
    runs = TinyRuns("wan")
    import comfy.samplers

    offered = comfy.samplers.KSampler
    pairs = list(itertools.product(offered.SAMPLERS, offered.SCHEDULERS))
    found: dict[str, list[str]] = defaultdict(list)
    differing = 0
    for sampler, scheduler in tqdm(pairs, unit="pair"):
        for one in differences(runs, sampler, scheduler):
            found[sampler].append(f"{scheduler}, {one}")
            differing += 1
    lines = [
        "# What the panel says, and what the run does", "",
        "Written by `python tests/benchmarks/agreement.py`: the tiny Wan, 12 steps, cfg 5, epsilon 0.03 or",
        f"speed_up 2. Of {len(pairs) * len(SETTINGS)} runs {differing} differ in a count or a reason.", "",
        "| sampler | where |", "|---|---|",
        *(f"| {sampler} | {'; '.join(where)} |" for sampler, where in found.items()),
    ]  # fmt: skip
    (HERE / "results" / "agreement.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
