"""What the pack costs and saves on a GPU at the shapes that artists sample: `python tests/benchmarks/gpu.py`.

Needs torch, ComfyUI and this pack; the models have random weights, made on the device, since time and memory
don't depend on them. Writes `results/gpu.json` after every model, and `results/gpu.md` from it; with
`--models` the results of the others are kept. `--small` runs the same code on shapes of seconds, on a CPU
too, and is what the tests run.

    python tests/benchmarks/gpu.py --teacache FOLDER --magcache FOLDER --spectrum FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests" / name) for name in ("benchmarks", "tiny", "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import torch  # noqa: E402
from comfy_host import start_host  # noqa: E402
from gpu_cases import PACKS, Case, cases  # noqa: E402
from gpu_page import page  # noqa: E402

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Name the device and what runs on it."""
    import comfyui_version

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{name}, torch {torch.__version__}, ComfyUI {comfyui_version.__version__}"


def measure(chosen: list[Case], folders: dict[str, str | None], minutes: float, out: Path) -> dict[str, Any]:
    """Run the cases in turn until the time is used up, and write what is known after each run."""
    from gpu_runs import forget, run_case

    began = time.monotonic()
    results: dict[str, Any] = {"machine": machine(), "models": {}}
    if out.exists() and (earlier := json.loads(out.read_text()))["machine"] == results["machine"]:
        results = earlier
    for case in chosen:
        started = time.monotonic()
        left = 60 * minutes - (time.monotonic() - began)

        def save(rows: dict[str, Any], name: str = case.name, started: float = started) -> None:
            results["models"][name] = rows
            rows["minutes"] = (time.monotonic() - started) / 60
            out.write_text(json.dumps(results, indent=1) + "\n")

        run_case(case, folders, left, save)
        forget()
    return results


def main() -> None:
    """Run every case and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="shapes of seconds, to try the script itself")
    parser.add_argument("--minutes", type=float, default=8.0, help="leave out what would take longer")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.json and gpu.md")
    parser.add_argument("--models", nargs="*", default=[""], help="those whose names begin like one of these")
    parser.add_argument("--steps", type=int, help="of every model, instead of its own number")
    for name in PACKS:
        parser.add_argument(f"--{name}", help="folder of that pack")
    arguments = parser.parse_args()
    folders = {name: getattr(arguments, name) for name in PACKS}
    chosen = [
        case if arguments.steps is None else dataclasses.replace(case, steps=arguments.steps)
        for case in cases(arguments.small)
        if case.name.startswith(tuple(arguments.models))
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        start_host(Path(scratch), () if torch.cuda.is_available() else ("--cpu",))
        from sencache.nodes.tables.files import register_folders

        register_folders()
        with torch.inference_mode():
            out = arguments.out / "gpu.json"
            results = measure(chosen, folders, arguments.minutes, out)
    (arguments.out / "gpu.md").write_text(page(results))


if __name__ == "__main__":
    main()
