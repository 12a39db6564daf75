"""Sends a hundred thousand hostile names, inputs, workflows and files to our nodes, with a fixed seed.

    python tests/survival/fuzz.py [--cases 100000]

Needs ComfyUI (COMFYUI_PATH) and its environment. Writes `results/fuzz.json` and
`results/fuzz.md`; the first case not answered as promised ends it with an error that holds the case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), *(str(ROOT / "tests" / folder) for folder in ("support", "tiny"))]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import hostile  # noqa: E402 - its folder has just been put on the path
import hostile_files  # noqa: E402
import hostile_store  # noqa: E402
from comfy_host import start_host  # noqa: E402
from tqdm import tqdm  # noqa: E402

SEED = 20261124
SHARES = {
    "damaged table files": 0.38, "the folder of measured tables": 0.02, "embedded tables": 0.15,
    "research archives": 0.1, "names": 0.18, "two videos": 0.02, "inputs of Model Patch": 0.1,
    "the panel's questions": 0.02, "workflows": 0.03,
}  # fmt: skip


def kinds(nodes: Any, folder: Path) -> dict[str, Callable[[random.Random], str]]:
    """Return one function per kind of case."""
    model = nodes.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def workflow(rng: random.Random) -> str:
        return str(loop.run_until_complete(hostile.answer_to_workflow(hostile.workflow(rng), 0)))

    return {
        "damaged table files": hostile_files.damaged_tables(folder),
        "the folder of measured tables": hostile_store.answers(nodes, model, folder / "store"),
        "embedded tables": hostile_files.embedded_texts(),
        "research archives": hostile_files.archives(folder),
        "names": lambda rng: hostile.answer_to_name(hostile.name(rng)),
        "two videos": lambda rng: hostile.answer_to_comparison(hostile.comparison(rng)),
        "inputs of Model Patch": lambda rng: hostile.answer_to_inputs(model, hostile.inputs(rng)),
        "the panel's questions": hostile_files.answer_to_question,
        "workflows": workflow,
    }


def register(nodes: Any) -> None:
    """Put our nodes and folders where a pack's are, and the tests' prompts; the host's log is kept short."""
    import comfy.utils
    from sencache.nodes.cache_stats import SenCacheStats
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.model_patch import SenCacheModelPatch
    from sencache.nodes.tables.files import register_folders
    from sencache.tests.e2e.tiny_prompt import TinyPrompt

    register_folders()
    for node in (SenCacheCalibrate, SenCacheModelPatch, SenCacheStats, TinyPrompt):
        nodes.NODE_CLASS_MAPPINGS[node.GET_SCHEMA().node_id] = node
    logging.disable(logging.ERROR)
    comfy.utils.PROGRESS_BAR_ENABLED = False


def main() -> None:
    """Run every kind's share, and write what was answered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    cases = parser.parse_args().cases
    told: dict[str, dict[str, float]] = {}
    lines = ["| kind | cases | accepted | refused in a sentence | slowest |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as base:
        nodes = start_host(Path(base))
        register(nodes)
        before = sorted(Path(base).rglob("*"))
        for kind, answer in kinds(nodes, Path(tempfile.mkdtemp(dir=base))).items():
            rng, answers, slowest = random.Random(SEED), Counter(), 0.0
            for _ in tqdm(range(round(cases * SHARES[kind])), desc=kind):
                began = time.perf_counter()
                answers[answer(rng)] += 1
                slowest = max(slowest, time.perf_counter() - began)
            counts = f"{answers.total()} | {answers['accepted']} | {answers['refused']}"
            told[kind] = {**answers, "slowest_ms": round(slowest * 1000, 1)}
            lines.append(f"| {kind} | {counts} | {slowest * 1000:.0f} ms |")
        left = [path for path in Path(base).rglob("*") if path not in before]
        written = {path.name for path in left if path.is_file()}
        assert written <= {"damaged.safetensors", "damaged.npz"}, written
    text = "# Hostile input\n\nWritten by `python tests/survival/fuzz.py`, seed "
    text += f"{SEED}. Nothing was written outside the folder of the case itself.\n\n"
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "fuzz.json").write_text(json.dumps({"seed": SEED, "kinds": told}, indent=1) + "\n")
    (HERE / "results" / "fuzz.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
