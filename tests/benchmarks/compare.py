"""Compares SenCache with everything else an artist could install, inside ComfyUI, on the tiny models.

    python tests/benchmarks/compare.py --teacache FOLDER --magcache FOLDER --spectrum FOLDER

Needs ComfyUI (COMFYUI_PATH) and its environment, with scikit-image, scikit-video, torchmetrics,
stlpips-pytorch (and IPython and torchsummary, which it imports) and matplotlib. Interrupted, it goes on from
the finished jobs when called again; `--work` holds them. Writes `results/comparison.json` and the page.
After a change to our method, `--keep tests/benchmarks/results/comparison.json` runs ours and the uncached
clips again and keeps the peers' rows.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "tiny")]

from comparison_points import (  # noqa: E402
    OURS,
    Found,
    Missing,
    from_rows,
    keep_others,
    points_of,
    rows_of,
)
from results_page import main_ways, page  # noqa: E402
from results_plots import plot  # noqa: E402
from rows import read_rows, write_rows  # noqa: E402
from settings import MAIN, VARIANTS, methods, ways  # noqa: E402
from tqdm import tqdm  # noqa: E402

SAMPLERS = {
    "wan": ("euler", "uni_pc", "dpmpp_2m"),
    "ltxv": ("euler", "uni_pc", "dpmpp_2m"),
    "cogvideox": ("void",),
}
FOLDERS = ("teacache", "magcache", "spectrum")


OWN = {"ours": [OURS], "variants": list(VARIANTS)}
PACKS = ("TeaCache", "MagCache", "Spectrum")  # stay on the shared model, so each gets its own process


@dataclass(frozen=True, slots=True)
class Task:
    """One process's work: methods on a model under one way of sampling."""

    model: str
    sampler: str
    cfg: float
    steps: int
    name: str
    methods: dict[str, list[dict[str, Any]]]

    def path(self, work: Path) -> Path:
        """Return where the task's rows are kept."""
        return work / f"{self.model}-{self.sampler}-{self.cfg:g}-{self.steps}-{self.name}.json"

    def key(self) -> dict[str, Any]:
        """Return what tells the way of sampling from others."""
        return {name: getattr(self, name) for name in ("model", "sampler", "cfg", "steps")}

    @property
    def is_main(self) -> bool:
        """Whether this is the way of sampling that every sampler is compared in."""
        return (self.steps, self.cfg) == MAIN

    @property
    def settings(self) -> int:
        """How many settings there are to run."""
        return sum(len(settings) for settings in self.methods.values())


def tasks(models: list[str]) -> list[Task]:
    """List everything to run: the main ways of sampling first, in each the uncached clips first."""
    listed = []
    for model in models:
        for sampler, cfg, steps in ways(SAMPLERS[model]):
            found = methods(steps, cfg, sampler)
            packs = PACKS if model == "wan" else ()
            groups = {"uncached": ["uncached"], **OWN, **{pack: [pack] for pack in packs}}
            apart = {member for members in groups.values() for member in members}
            groups["rest"] = [method for method in found if method not in apart]
            for name, members in groups.items():
                chosen = {member: found[member] for member in members if member in found}
                if chosen:
                    listed.append(Task(model, sampler, cfg, steps, name, chosen))
    return sorted(listed, key=_order)


def _order(task: Task) -> tuple[bool, ...]:
    return task.name != "uncached", not task.is_main, task.name != "ours", task.name == "variants"


def chosen(task: Task, arguments: argparse.Namespace) -> Task:
    """Leave out what is not to be measured anew."""
    if arguments.methods is None or task.name not in OWN:
        return task
    wanted = {name: task.methods[name] for name in arguments.methods if name in task.methods}
    return replace(task, methods=wanted)


def perform(task: Task, arguments: argparse.Namespace) -> str | None:
    """Run a task in a process of its own and keep its rows; return what went wrong, if anything."""
    job = {
        **task.key(),
        "clips": arguments.clips,
        "methods": task.methods,
        "folders": {name: getattr(arguments, name) for name in FOLDERS},
        "references": str(arguments.work / "uncached"),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        done = subprocess.run(
            [sys.executable, str(HERE / "compare_worker.py"), file.name], capture_output=True, text=True
        )
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if done.returncode != 0:
        return f"{task.key()} {task.name}: {done.stderr[-2000:]}"
    task.path(arguments.work).write_text(json.dumps({**task.key(), "rows": rows}))
    return None


def write_results(found: Found, missing: Missing, machine: str, clips: int, folder: Path) -> None:
    """Write the points, the page that shows them, and its plots."""
    folder.mkdir(exist_ok=True)
    rows = rows_of(found, missing)
    write_rows(folder / "comparison.json", rows, machine=machine, clips=clips)
    (folder / "comparison.md").write_text(page(found, missing, machine, clips))
    main = main_ways(found)
    plot(main, "rms", "rms error of the latent, over clips", folder / "comparison_rms.png")
    plot(main, "lpips", "LPIPS against the uncached clip", folder / "comparison_lpips.png")


def main() -> None:
    """Run what is not done yet, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in FOLDERS:
        parser.add_argument(f"--{name}", help="the pack's folder; without it the page says it was not given")
    parser.add_argument("--models", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2, help="each takes one core")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--keep", type=Path, help="an earlier comparison.json: run ours only, keep the rest")
    parser.add_argument("--methods", nargs="+", help="with --keep: only these of ours")
    parser.add_argument("--main", action="store_true", help="with --keep: only 50 steps at cfg 5")
    parser.add_argument("--note", default="", help="what the page should say beside the machine")
    parser.add_argument("--page-only", action="store_true", help="write the page of what is there")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    listed = tasks(arguments.models)
    earlier: tuple[Found, Missing] = {}, {}
    if arguments.keep is not None:
        earlier = from_rows(read_rows(arguments.keep)[0])
        listed = [chosen(task, arguments) for task in listed if task.name in ("uncached", *OWN)]
        listed = [task for task in listed if task.methods and (not arguments.main or task.is_main)]
    open_tasks = (
        [] if arguments.page_only else [one for one in listed if not one.path(arguments.work).exists()]
    )
    failed = []
    total = sum(task.settings for task in open_tasks)
    with tqdm(total=total, unit="setting") as bar, ThreadPoolExecutor(arguments.processes) as pool:
        for first in (True, False):  # the uncached clips are what everything else is compared with
            batch = [task for task in open_tasks if (task.name == "uncached") == first]
            running = {pool.submit(perform, task, arguments): task for task in batch}
            for finished in as_completed(running):
                bar.update(running[finished].settings)
                problem = finished.result()
                if problem:
                    failed.append(problem)
                    tqdm.write(problem)
    kept = [one.path(arguments.work) for one in listed if one.path(arguments.work).exists()]
    finished_tasks = [json.loads(path.read_text()) for path in kept]
    machine = f"{platform.machine()} CPU, one thread a process, {arguments.processes} processes at a time"
    if arguments.keep is not None:
        machine += "; what was not measured anew is kept from earlier runs of the command on such a machine"
    machine += f". {arguments.note}" if arguments.note else ""
    found, missing = points_of(finished_tasks)
    keep_others(found, missing, earlier)
    write_results(found, missing, machine, arguments.clips, HERE / "results")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
