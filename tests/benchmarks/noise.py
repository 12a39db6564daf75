"""Shows what samplers that add noise gain, and res_multistep: `python tests/benchmarks/noise.py`.

A first run of each tiny model measures it with Euler's method; sixteen clips of other prompts are sampled by
each sampler with 20 and 30 steps, at half and at 0.6 of the evaluations, beside the same sampler with fewer
steps, and beside Spectrum where `--spectrum FOLDER` names its pack (it patches Wan only). Needs ComfyUI
(COMFYUI_PATH) and its environment. Writes `results/noise-MODEL.json`, and the page `results/noise.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "tiny")]

from rows import CLIPS, Row, errors, read_rows, rms, write_rows  # noqa: E402 - its folder has just been put on the path

MODELS = ("wan", "ltxv")
SAMPLERS = ("er_sde", "euler_ancestral", "res_multistep", "res_multistep_ancestral", "dpmpp_2m_sde")
FIRST_STEPS, STEPS, WISHES = 30, (20, 30), (2.0, 5 / 3)
OURS, FEWER, SPECTRUM = "SenCache", "fewer steps", "Spectrum"
BAR = 0.5  # of the error of fewer steps, in rms over the clips


def measured(name: str, spectrum: str | None) -> Iterator[Row]:
    """Yield a row for every sampler, number of steps, wish and method; Spectrum, which stays, comes last."""
    from tiny_runs import TinyRuns

    runs = TinyRuns(name)
    table = runs.first_run("euler", FIRST_STEPS)
    references: dict[tuple[str, int], list[Any]] = {}
    for sampler in SAMPLERS:
        for steps in STEPS:
            whole = references[sampler, steps] = _sampled(runs, runs.base, sampler, steps)
            about = {"model": name, "sampler": sampler, "steps": steps}
            for wish in WISHES:
                found, record = runs.planned(table, sampler, steps, CLIPS, speed_up=wish)
                fewer = _sampled(runs, runs.base, sampler, record.nfe)
                about |= {"wish": round(wish, 2), "nfe": record.nfe}
                predicted = round(record.predicted_error, 5)
                yield about | {"method": OURS, "predicted": predicted, "errors": errors(found, whole)}
                yield about | {"method": FEWER, "errors": errors(fewer, whole)}
    if spectrum is not None and name == "wan":
        yield from _of_spectrum(runs, spectrum, references)


def _of_spectrum(runs: Any, folder: str, references: dict[tuple[str, int], list[Any]]) -> Iterator[Row]:
    """Yield the rows of Spectrum as its pack is set."""
    from compare_worker import Counter
    from peers import spectrum

    counter = Counter()
    counter.watch(runs.base)
    model = spectrum(runs.base, folder, 0.0, 5)
    for (sampler, steps), whole in references.items():
        counter.branches = 0
        found = _sampled(runs, model, sampler, steps)
        nfe = counter.branches / 2 / len(CLIPS)
        about = {"model": runs.name, "sampler": sampler, "steps": steps, "wish": 0.0, "nfe": round(nfe, 1)}
        yield about | {"method": SPECTRUM, "errors": errors(found, whole)}


def _sampled(runs: Any, model: Any, sampler: str, steps: int) -> list[Any]:
    return [runs.sample(model, sampler, steps, clip) for clip in CLIPS]


def page(rows: list[Row]) -> str:
    """Write the page: the verdict, then every setting."""
    head = "| model | sampler | steps | computed | ours: rms, worst | fewer steps: rms, worst | ratio "
    lines = [
        "# Samplers that add noise, and res_multistep",
        "",
        "Regenerate with `python tests/benchmarks/noise.py`. Tiny models, cfg 5, 16 clips of prompts that no",
        f"table was measured on; a table from one first run of {FIRST_STEPS} Euler steps. Rms error of the",
        "latent against the uncached clip of the same seed, over the clips and of the worst one; *ratio* is",
        f"ours over that of the same sampler with as many steps (the bar: {BAR}). Spectrum chooses its own",
        "number of evaluations, named in brackets.",
        "",
    ]
    table = [head + "| real / predicted | Spectrum: rms, worst |", "|---" * 9 + "|"]
    met = worst_behind = total = 0
    for row in rows:
        if row["method"] != OURS:
            continue
        keys = ("model", "sampler", "steps")
        same = [one for one in rows if all(one[key] == row[key] for key in keys)]
        fewer = next(one for one in same if one["method"] == FEWER and one["wish"] == row["wish"])
        other = next((one for one in same if one["method"] == SPECTRUM), None)
        ratio = rms(row) / rms(fewer)
        total, met = total + 1, met + (ratio <= BAR)
        worst_behind += max(row["errors"]) > max(fewer["errors"])
        beside = "" if other is None else f"{_cell(other)} ({other['nfe']:g})"
        table.append(
            f"| {row['model']} | {row['sampler']} | {row['steps']} | {row['nfe']} | {_cell(row)} "
            f"| {_cell(fewer)} | {ratio:.2f} | {rms(row) / row['predicted']:.1f} | {beside} |"
        )
    lines.append(
        f"{met} of {total} settings meet the bar; in {worst_behind} the worst clip is behind fewer steps'."
    )
    return "\n".join([*lines, "", *table]) + "\n"


def _cell(row: Row) -> str:
    return f"{rms(row):.3f}, {max(row['errors']):.3f}"


def main() -> None:
    """Measure the chosen models, and write the page of all that are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--spectrum", help="folder of the pack ComfyUI-Spectrum-WAN-Proper")
    arguments = parser.parse_args()
    results = HERE / "results"
    for name in arguments.models:
        write_rows(results / f"noise-{name}.json", measured(name, arguments.spectrum))
    files = [results / f"noise-{name}.json" for name in MODELS]
    rows = [row for file in files if file.exists() for row in read_rows(file)[0]]
    (results / "noise.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
