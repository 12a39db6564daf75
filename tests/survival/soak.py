"""Queues hundreds of runs with changing settings on one real server and watches its memory and its pace.

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
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "tiny")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_host import find_host  # noqa: E402 - its folder has just been put on the path
from comfy_server import ComfyServer  # noqa: E402
from tqdm import tqdm  # noqa: E402
from workflows import artist_workflow  # noqa: E402

STEPS = 5
SEED = 20261124
WINDOW = 50
NUMBERS = ("memory_mib", "seconds", "processor")
CALIBRATE, PATCH, SAMPLER, STATS = "5", "6", "7", "8"


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
    """Run everything on one server; return memory, seconds and failures per run."""
    rng, measured = random.Random(SEED), {"memory_mib": [], "seconds": [], "processor": [], "failures": []}
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
        for index in tqdm(range(runs), unit="run"):
            began, used = time.perf_counter(), processor_seconds(server)
            problem = one_run(server, prompt_of(rng, index))
            measured["seconds"].append(time.perf_counter() - began)
            measured["processor"].append(processor_seconds(server) - used)
            measured["memory_mib"].append(resident(server))
            measured["failures"] += [f"run {index}: {problem}"] if problem else []
            if (index + 1) % WINDOW == 0:
                server.forget_history()
                write(measured)
    return measured


def one_run(server: ComfyServer, prompt: dict[str, Any]) -> str | None:
    """Queue a run and read what Cache Stats tells of it; return what went wrong, None where nothing did."""
    try:
        text = server.run(prompt)["outputs"][STATS]["text"][0]
    except (RuntimeError, OSError) as error:
        return str(error)[:200]
    return None if re.match(r"\d+ of \d+ evaluations computed", text) else str(text[:100])


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
    return f"""# One server, {len(memory)} runs

Written by `python tests/survival/soak.py`: ComfyUI {version} on a CPU, each run of {STEPS} steps queued over
HTTP with another size, batch, sampler, rule, forecast, epsilon, n, speed-up and place of the stored outputs
(seed {SEED}). The host keeps every prompt in its history, which is emptied every {WINDOW} runs. Seconds
by the clock hold whatever else the machine was doing.

| | |
|---|---|
| runs that failed | {len(measured["failures"])} |
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
    written = json.dumps({**rounded, "failures": measured["failures"]})
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
