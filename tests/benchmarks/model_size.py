"""Shows whether the margins hold for larger models: `python tests/benchmarks/model_size.py NAME=FILE ...`.

Every file is a Wan network trained by `tests/tiny/train.py --width`; `tiny_wan` alone stands for the shipped
one. A first run measures each, and sixteen clips of other prompts are sampled with its plans and with fewer
steps. Writes rows to a file, and with `--page FILES` the page `results/model_size.md` of several.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "tiny")]

from rows import CLIPS, Row, errors, read_rows, rms, write_rows  # noqa: E402 - its folder has just been put on the path

FIRST_STEPS, STEPS, WISHES = 30, (50, 20), (2.0, 3.0)
SAMPLERS = ("euler", "uni_pc", "dpmpp_2m")


def measured(files: dict[str, Path], samplers: list[str], on_gpu: bool) -> Iterator[Row]:
    """Yield a row for every model, sampler, number of steps, wish and method."""
    from tiny_runs import MODELS, TinyRuns

    runs = TinyRuns("wan", ("--fp32-unet",) if on_gpu else ("--cpu",))
    import folder_paths  # of the host, which runs now

    for name, file in files.items():
        shipped = MODELS["wan"]
        runs.tiny = dataclasses.replace(shipped, name=file.stem) if file.name else shipped
        if file.name:
            folder_paths.add_model_folder_path("diffusion_models", str(file.parent))
        runs.base = runs.tiny.load(runs.nodes)
        parameters = sum(one.numel() for one in runs.base.model.diffusion_model.parameters())
        table = runs.first_run("euler", FIRST_STEPS)
        for sampler in samplers:
            for steps in STEPS:
                references = [runs.sample(runs.base, sampler, steps, clip) for clip in CLIPS]
                about = {"model": name, "parameters": parameters, "sampler": sampler, "steps": steps}
                for wish in WISHES:
                    found, record = runs.planned(table, sampler, steps, CLIPS, speed_up=wish)
                    fewer = [runs.sample(runs.base, sampler, record.nfe, clip) for clip in CLIPS]
                    about |= {"wish": wish, "nfe": record.nfe, "predicted": record.predicted_error}
                    for method, clips in (("SenCache", found), ("fewer steps", fewer)):
                        row = about | {"method": method, "errors": errors(clips, references)}
                        print(json.dumps(row), flush=True)
                        yield row


def page(rows: list[Row], machine: str) -> str:
    """Write the page: the trend over sizes, then every setting."""
    lines = ["# Whether the margins hold for larger models", ""]
    lines += [
        f"Regenerate with `python tests/benchmarks/model_size.py`. Machine: {machine}. Wan networks of",
        "eight blocks trained on the same clips; 16 clips of prompts that no table was measured on, cfg 5;",
        f"a table from one first run of Euler at {FIRST_STEPS} steps. Errors are rms over clips in the",
        "latent's units, the worst clip's in brackets. *Margin* is ours over that of fewer steps with as",
        "many evaluations.",
        "",
        "| model | parameters | margin, geometric mean | least | most | worst clip behind fewer steps |",
        "|---|---|---|---|---|---|",
    ]
    settings: dict[str, list[tuple[Row, Row]]] = {}
    ours = [row for row in rows if row["method"] == "SenCache"]
    for row in ours:
        same = ("model", "sampler", "steps", "wish")
        fewer = next(
            one
            for one in rows
            if one["method"] == "fewer steps" and all(one[key] == row[key] for key in same)
        )
        settings.setdefault(row["model"], []).append((row, fewer))
    for name, pairs in settings.items():
        margins = [rms(row) / rms(fewer) for row, fewer in pairs]
        behind = sum(max(row["errors"]) > max(fewer["errors"]) for row, fewer in pairs)
        lines.append(
            f"| {name} | {pairs[0][0]['parameters'] / 1e6:.1f} M | {statistics.geometric_mean(margins):.3f} "
            f"| {min(margins):.3f} | {max(margins):.3f} | {behind} of {len(pairs)} |"
        )
    lines += ["", "| model | sampler | steps | computed | ours | fewer steps | margin | real / predicted |"]
    lines += ["|---" * 8 + "|"]
    for name, pairs in settings.items():
        lines += [
            f"| {name} | {row['sampler']} | {row['steps']} | {row['nfe']} | {_cell(row)} | {_cell(fewer)} "
            f"| {rms(row) / rms(fewer):.3f} | {rms(row) / row['predicted']:.2f} |"
            for row, fewer in pairs
        ]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    return f"{rms(row):.4f} ({max(row['errors']):.4f})"


def main() -> None:
    """Measure the models, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="NAME=FILE", default=["tiny_wan"])
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--page", nargs="*", type=Path, help="only write the page, of these files of rows")
    parser.add_argument("--rows", type=Path, default=HERE / "results" / "model_size.json")
    parser.add_argument("--machine", default="a CPU")
    parser.add_argument("--gpu", action="store_true")
    arguments = parser.parse_args()
    files = {name: Path(file) for name, _, file in (one.partition("=") for one in arguments.models)}
    if arguments.page is None:
        write_rows(arguments.rows, measured(files, arguments.samplers, arguments.gpu))
        return
    rows = [row for file in arguments.page for row in read_rows(file)[0]]
    (HERE / "results" / "model_size.md").write_text(page(rows, arguments.machine), encoding="utf-8")


if __name__ == "__main__":
    main()
