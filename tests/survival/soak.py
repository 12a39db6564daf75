"""Queues hundreds of runs with changing settings on one real server and watches its memory and its pace.

Half of the runs are of models that nobody has measured: fine-tunes that come and go, whose first runs measure
them, or a part of them, and whose next ones are planned.

    python tests/survival/soak.py [--runs 500]

Needs ComfyUI (COMFYUI_PATH) and its environment. Writes `results/soak.json` and `results/soak.md`, also every
fifty runs on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "tiny")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_host import find_host  # noqa: E402 - its folder has just been put on the path
from comfy_server import ComfyServer  # noqa: E402
from tqdm import tqdm  # noqa: E402
from unmeasured import Unmeasured  # noqa: E402
from workflows import artist_workflow  # noqa: E402

STEPS = 5
SEED = 20261124
WINDOW = 50
NUMBERS = ("memory_mib", "seconds", "processor")
CALIBRATE, PATCH, SAMPLER, STATS = "5", "6", "7", "8"
COUNTS = re.compile(r"\d+ of \d+ (steps|model calls \(\d+ steps\)) computed")  # of Cache Stats
KINDS = ("measured", "planned", "not measurable", "with its table")


def prompt_of(rng: random.Random, index: int) -> dict[str, Any]:
    """Return a workflow with other settings, size and sampler than the one before."""
    prompt = artist_workflow(STEPS, 6, 1, "soak", seed=index)
    del prompt[CALIBRATE], prompt[PATCH]["inputs"]["sensitivity"]
    prompt["4"]["inputs"].update(
        width=rng.choice([64, 96]), height=64, length=rng.choice([5, 9]), batch_size=rng.choice([1, 1, 2])
    )
    prompt[PATCH]["inputs"].update(
        epsilon=rng.choice([0.0, 0.02, 0.1, 0.5]), n=rng.choice([1, 4, 30]), speed_up=rng.choice([0, 0, 2.0]),
        rule=rng.choice(["plan", "joint", "paper"]), forecast=rng.choice(["linear", "hold"]),
        cache_device=rng.choice(["model", "cpu"]),
    )  # fmt: skip
    prompt[SAMPLER]["inputs"]["sampler_name"] = rng.choice(
        ["euler", "uni_pc", "dpmpp_2m", "heun", "dpmpp_sde"]
    )
    return prompt


def resident(server: ComfyServer) -> float:
    """Return the server's resident memory in MiB."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def processor_seconds(server: ComfyServer) -> float:
    """Return the processor time that the server has used, whatever else the machine was doing."""
    times = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def soak(runs: int) -> dict[str, Any]:
    """Run everything on one server; return memory, seconds, failures and what became of each run."""
    rng = random.Random(SEED)
    measured = {name: [] for name in (*NUMBERS, "failures", "kinds", "parts", "tables")}
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
        models = Unmeasured(Path(base) / "models", rng)
        for index in tqdm(range(runs), unit="run"):
            prompt = prompt_of(rng, index)
            part = models.change(prompt) if rng.random() < 0.5 else ""
            one_run(server, prompt, part, measured)
            measured["tables"].append(models.tables)
            measured["memory_mib"].append(resident(server))
            if (index + 1) % WINDOW == 0:
                server.forget_history()
                write(measured)
    return measured


def one_run(server: ComfyServer, prompt: dict[str, Any], part: str, measured: dict[str, Any]) -> None:
    """Queue a run, and add what it cost and what became of it, or what went wrong."""
    began, used = time.perf_counter(), processor_seconds(server)
    try:
        kind, problem = outcome(server.run(prompt)["outputs"][STATS], part)
    except (RuntimeError, OSError) as error:
        kind, problem = "failed", str(error)[:200]
    measured["seconds"].append(time.perf_counter() - began)
    measured["processor"].append(processor_seconds(server) - used)
    measured["kinds"].append(kind)
    measured["parts"].append(part)
    measured["failures"] += [f"run {len(measured['kinds']) - 1}: {problem}"] if problem else []


def outcome(told: dict[str, Any], part: str) -> tuple[str, str | None]:
    """Read what Cache Stats tells of a run: its kind, and what went wrong, None where nothing did."""
    text, (run,) = told["text"][0], told["sencache"]
    codes = {note["code"] for note in run["notes"]}
    wrong = None if COUNTS.match(text) else str(text[:100])
    if not part:
        return KINDS[3], wrong
    if any(code.startswith("unmeasurable") for code in codes):
        return KINDS[2], wrong
    kind = KINDS[0] if codes & {"measured", "measured_rest"} else KINDS[1]
    answered = run["planned"] is not None or kind == KINDS[0]
    return kind, wrong or (None if answered else f"neither measured nor planned: {text[-300:]}")


def summary(measured: dict[str, Any], version: str) -> str:
    """Write what was measured in a few sentences."""
    memory = measured["memory_mib"]
    half = len(memory) // 2
    slope = np.polyfit(np.arange(len(memory) - half), memory[half:], 1)[0]
    pace = [
        f"{mean(measured[kind][:WINDOW]):.2f}, {mean(measured[kind][-WINDOW:]):.2f}"
        for kind in ("processor", "seconds")
    ]
    at = ", ".join(f"{memory[run]:.0f}" for run in (0, half - 1, -1))
    kinds = Counter(measured["kinds"])
    both = zip(measured["kinds"], measured["parts"], strict=True)
    parts = sum(kind == KINDS[0] and part != "whole" for kind, part in both)
    return f"""# One server, {len(memory)} runs

Written by `python tests/survival/soak.py`: ComfyUI {version} on a CPU, each run of {STEPS} steps queued over
HTTP with another size, batch, sampler, rule, forecast, epsilon, n, speed-up and place of the stored outputs
(seed {SEED}). Half of the runs have a model that nobody measured, one of many fine-tunes: their first
runs measure, whole ones and parts of the sampling; now and then the tables are taken away. The host keeps
every prompt in its history, which is emptied every {WINDOW} runs. Seconds by the clock hold whatever else the
machine was doing.

| | |
|---|---|
| runs that failed | {len(measured["failures"])} |
| runs that measured their model; of these, a part of the sampling | {kinds[KINDS[0]]}, {parts} |
| planned by what runs had measured | {kinds[KINDS[1]]} |
| not measurable, and said why (noise at every step) | {kinds[KINDS[2]]} |
| with a table that was there before | {kinds[KINDS[3]]} |
| most measured tables on the disk at once | {max(measured["tables"])} |
| resident memory after run 1, {half}, {len(memory)} | {at} MiB |
| slope over the second half, least squares | {slope * 1024:.1f} KiB a run |
| mean processor seconds of the first {WINDOW} runs, of the last {WINDOW} | {pace[0]} |
| mean seconds by the clock of the first {WINDOW} runs, of the last {WINDOW} | {pace[1]} |
"""


def write(measured: dict[str, Any]) -> None:
    """Write the results, of as many runs as there are."""
    host = find_host()
    version = re.search(r'"(.+)"', (host / "comfyui_version.py").read_text()).group(1)
    (HERE / "results").mkdir(exist_ok=True)
    rounded = {name: [round(one, 3) for one in measured[name]] for name in NUMBERS}
    told = {name: measured[name] for name in ("failures", "kinds", "parts", "tables")}
    written = json.dumps({**rounded, **told})
    (HERE / "results" / "soak.json").write_text(written + "\n")
    (HERE / "results" / "soak.md").write_text(summary(measured, version))


def main() -> None:
    """Soak, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    measured = soak(parser.parse_args().runs)
    write(measured)
    sys.exit(1 if measured["failures"] else 0)


if __name__ == "__main__":
    main()
