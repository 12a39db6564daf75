"""Shows whether what is predicted comes true: `python tests/benchmarks/predicted.py`.

A first run of each tiny model measures it; sixteen clips of other prompts are then sampled with other numbers
of steps and samplers, and their real errors stand beside the predicted one, and beside those with a table
that was calibrated on eight samples. Each clip's LPIPS and SSIM say what its error looks like. Needs ComfyUI
(COMFYUI_PATH) and its environment; `--models` names some of the models, each takes about 20 minutes on one
core. Writes `results/predicted-MODEL.json`, and the page `results/predicted.md` of all there are.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "tiny")]

from rows import CLIPS, Row, errors, read_rows, rms, write_rows  # noqa: E402 - its folder has just been put on the path

MODELS = ("wan", "ltxv", "cogvideox")
FIRST_STEPS = 30  # neither of those that the table then serves
STEPS, WISHES = (50, 20), (2.0, 3.0, 4.0)
NEAR, FAR = 1.5, 3.0  # the bars: real over predicted within 1.5 either way, never above 3
BEHIND = 1.0  # dB that the first run's table may be behind the calibrated one
LEVELS = ((0.0, 0.005), (0.005, 0.01), (0.01, 0.02), (0.02, 0.03), (0.03, 0.05), (0.05, 0.08), (0.08, 0.12),
          (0.12, 0.2), (0.2, 0.3), (0.3, 2.0))  # fmt: skip


TABLES = ("first run", "Calibrate as it is set", "8 samples")


def measured(name: str, wanted: list[str]) -> Iterator[Row]:
    """Yield a row for every sampler, number of steps, wanted table and wish."""
    from tiny_runs import ROOT, TinyRuns

    runs, metrics, load = TinyRuns(name), _metrics(), _loader()
    sampler = runs.tiny.samplers[0]
    own = {"void": "void"}.get(sampler, "euler")
    tables = {
        "first run": lambda: runs.first_run(sampler, FIRST_STEPS),
        "Calibrate as it is set": lambda: runs.calibrate(own, 24),
        "8 samples": lambda: load(ROOT / "tables" / f"{runs.tiny.name}.safetensors"),
    }
    made = {label: tables[label]() for label in wanted}
    for sampler in runs.tiny.samplers:
        for steps in STEPS:
            references = [runs.sample(runs.base, sampler, steps, clip) for clip in CLIPS]
            for label, table in made.items():
                for wish in WISHES:
                    found, record = runs.planned(table, sampler, steps, CLIPS, speed_up=wish)
                    looks = [
                        metrics.against(*map(runs.tiny.to_pictures, pair))
                        for pair in zip(found, references, strict=True)
                    ]
                    yield {
                        "model": name, "sampler": sampler, "steps": steps, "table": label, "wish": wish,
                        "nfe": record.nfe, "predicted": round(record.predicted_error, 5),
                        "surprise": None if record.surprise is None else round(record.surprise, 3),
                        "errors": errors(found, references),
                        "lpips": [round(one["lpips"], 5) for one in looks],
                        "ssim": [round(one["ssim"], 5) for one in looks],
                    }  # fmt: skip


def _metrics() -> Any:
    """Return LPIPS and SSIM; `tiny_runs` has put the pack on the path."""
    import torch
    from metrics import Metrics

    return Metrics(torch.zeros(2, 8, 48, 48))


def _loader() -> Any:
    from sencache.calibration.table import load

    return load


def _order(row: Row) -> tuple[Any, ...]:
    return row["sampler"], -row["steps"], TABLES.index(row["table"]), row["wish"]


def page(rows: list[Row]) -> str:
    """Write the page: the bars, every setting, and what an error looks like."""
    return "\n".join([*_verdict(rows), *_settings(rows), *_looks(rows)]) + "\n"


def _verdict(rows: list[Row]) -> Iterator[str]:
    yield "# Whether what is predicted comes true"
    yield ""
    yield "Regenerate with `python tests/benchmarks/predicted.py`. Tiny models, cfg 5, 16 clips of prompts"
    yield f"and seeds that no table was measured on. The first run had {FIRST_STEPS} steps of the model's"
    yield "usual sampler, Calibrate 24 of Euler's; both of one prompt. Eight samples: four prompts, 50 steps."
    yield ""
    yield f"| table | settings | real / predicted within 2/3 to 3/2 (bar 90 %) | largest (bar {FAR:g}) |"
    yield "|---|---|---|---|"
    for table in dict.fromkeys(row["table"] for row in rows):
        ratios = [rms(row) / row["predicted"] for row in rows if row["table"] == table]
        near = sum(1 / NEAR <= ratio <= NEAR for ratio in ratios)
        yield f"| {table} | {len(ratios)} | {near} ({near / len(ratios):.0%}) | {max(ratios):.1f} |"
    for table in TABLES[:2]:
        short = [_behind(row, rows) for row in rows if row["table"] == table]
        if short:
            near = sum(one <= BEHIND for one in short)
            yield ""
            yield (
                f"Of {len(short)} settings with the table of *{table}*, {near} are at most {BEHIND:g} dB "
                "(rms over clips) behind the one of eight samples; the largest shortfall is "
                f"{max(short):.1f} dB, in the mean it is {statistics.fmean(short):.1f} dB."
            )


def _behind(row: Row, rows: list[Row]) -> float:
    same = ("model", "sampler", "steps", "wish")
    other = next(
        one for one in rows if one["table"] == "8 samples" and all(one[name] == row[name] for name in same)
    )
    return 20 * math.log10(rms(row) / rms(other))


def _settings(rows: list[Row]) -> Iterator[str]:
    yield ""
    yield "## Every setting"
    yield ""
    yield "| model | sampler | steps | computed | table | predicted | real: rms, median, worst | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        ratio = rms(row) / row["predicted"]
        told = f"{ratio:.2f}" if 1 / NEAR <= ratio <= NEAR else f"**{ratio:.2f}**"
        yield (
            f"| {row['model']} | {row['sampler']} | {row['steps']} | {row['nfe']} | {row['table']} "
            f"| {row['predicted']:.4f} | {rms(row):.4f}, {statistics.median(row['errors']):.4f}, "
            f"{max(row['errors']):.4f} | {told} |"
        )


def _looks(rows: list[Row]) -> Iterator[str]:
    yield ""
    yield "## What an error looks like"
    yield ""
    yield "Every clip above by its own error. LPIPS: 0 is alike; SSIM: 1 is alike. The words of panel and"
    yield "report are: up to 0.02 *invisible*, to 0.05 *hardly visible*, to 0.12 *details change*, above that"
    yield "*another video* (`caching/visibility.py`)."
    yield ""
    yield "| error (rms) | clips | LPIPS: median, 90 % below | SSIM: median, 90 % above | by model: LPIPS |"
    yield "|---|---|---|---|---|"
    clips = [
        (error, lpips, ssim, row["model"])
        for row in rows
        for error, lpips, ssim in zip(row["errors"], row["lpips"], row["ssim"], strict=True)
    ]
    for low, high in LEVELS:
        found = [one for one in clips if low <= one[0] < high]
        if not found:
            continue
        lpips, ssim = sorted(one[1] for one in found), sorted(one[2] for one in found)
        tenth = len(found) // 10
        models = ", ".join(
            f"{model} {statistics.median(one[1] for one in found if one[3] == model):.4f}"
            for model in dict.fromkeys(one[3] for one in found)
        )
        yield (
            f"| {low:g} to {high:g} | {len(found)} | {statistics.median(lpips):.4f}, {lpips[-1 - tenth]:.4f} "
            f"| {statistics.median(ssim):.4f}, {ssim[tenth]:.4f} | {models} |"
        )


def main() -> None:
    """Measure the chosen models, and write the page of all that are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES), help="others are kept")
    arguments = parser.parse_args()
    results = HERE / "results"
    for name in arguments.models:
        file = results / f"predicted-{name}.json"
        before = read_rows(file)[0] if file.exists() else []
        kept = [row for row in before if row["table"] not in arguments.tables]
        rows = sorted([*kept, *measured(name, arguments.tables)], key=_order)
        write_rows(file, rows)
    files = [results / f"predicted-{name}.json" for name in MODELS]
    rows = [row for file in files if file.exists() for row in read_rows(file)[0]]
    (results / "predicted.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
