"""Measures what other values of a tuned constant change: `python tests/benchmarks/tune.py LASTING_SHARE`.

Samples a tiny model with its shipped table and each value that `caching/tuned.py` names, and prints the error
over four clips (dB of the latent's range: root mean square, worst clip) and the computed evaluations. The
settings are those that the constant acts on. Needs ComfyUI (COMFYUI_PATH) and its environment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE)]

from tiny_runs import ROOT, TinyRuns, samplers_of  # noqa: E402 - its folder has just been put on the path

FAST: list[dict[str, Any]] = [{"speed_up": 2.0}, {"speed_up": 3.0}, {"speed_up": 4.0}]
FASTEST = [{"speed_up": 4.0}, {"speed_up": 6.0}, {"speed_up": 8.0}]
JOINT = [{"rule": "joint", "epsilon": epsilon, "n": 10} for epsilon in (0.03, 0.07, 0.15)]
# What each constant acts on: settings, and a sampler in place of the model's first one.
ACTS_ON: dict[str, tuple[list[dict[str, Any]], str | None]] = {
    "UNRELIABLE": (FASTEST, None),
    "MOST_CORRECTED_GAIN": (FAST, "dpmpp_2m"),
    "UNUSUAL_MOVE": ([{"epsilon": 0.03}, {"epsilon": 0.1}], "er_sde"),
    "WISHED_LIMIT": (FAST, "euler_ancestral"),
    "UNSETTLED_SHARE": (JOINT, None),
}


def main() -> None:
    """Print one line for each value and setting."""
    from sencache.caching import tuned
    from sencache.calibration.table import load

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=tuned.TRIED)
    parser.add_argument("--model", default="wan", choices=("wan", "ltxv", "cogvideox"))
    parser.add_argument("--steps", type=int, nargs="*", default=[20, 50])
    arguments = parser.parse_args()
    runs = TinyRuns(arguments.model)
    table = load(ROOT / "tables" / f"{runs.tiny.name}.safetensors")
    settings, sampler = ACTS_ON.get(arguments.name, (FAST, None))
    sampler = sampler or next(samplers_of(arguments.model))
    print(f"| {arguments.name} | steps | setting | rms, dB | worst, dB | evaluations |")
    print("|---|---|---|---|---|---|")
    for value in tuned.TRIED[arguments.name]:
        setattr(tuned, arguments.name, value)
        for steps in arguments.steps:
            for setting in settings:
                score, record = runs.patched(table, sampler, steps, **setting)
                named = ", ".join(f"{key} {one}" for key, one in setting.items())
                shown = f"{score.rms:.1f} | {score.worst:.1f} | {record.nfe}"
                print(f"| {value:.3g} | {steps} | {sampler}, {named} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
