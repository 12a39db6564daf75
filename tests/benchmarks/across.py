"""Shows whether a table measured with one setting serves others: `python tests/benchmarks/across.py`.

Tables from several steps and samplers are used for runs of other steps and samplers; each is compared with
the table that was measured with the very settings of the run, and with the same sampler at fewer steps. Needs
ComfyUI (COMFYUI_PATH) and its environment. `--models` names some of the tiny models; each takes 10 to 30
minutes on one core. Writes `results/across-MODEL.json`, and the page `results/across.md` of all there are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE), str(HERE.parent / "support")]

from rows import read_rows, write_rows  # noqa: E402 - its folder has just been put on the path

MODELS = ("wan", "ltxv", "cogvideox")
TABLE_STEPS, RUN_STEPS, WISHES = (8, 12, 20, 30, 50), (8, 20, 50), (2.0, 3.0)
BEHIND = 1.5  # dB that a table may be behind the one of the very settings
Row = dict[str, Any]
HEAD = """# One table for other steps and samplers

Regenerate with `python tests/benchmarks/across.py`. Tiny models, cfg 5, four clips of prompts that no table
was measured on; dB of the latent's range against the uncached run: root mean square over the clips, the worst
clip, and the computed evaluations. A calibration samples at least 24 steps, so tables of fewer are alike.

The bars: at most {behind} dB (rms over clips) behind the table measured with the very sampler and steps of
the run, and never behind the same sampler with as many steps as evaluations were computed.

| model | sampler | combinations | behind the very settings | behind fewer steps | largest shortfall |
|---|---|---|---|---|---|
"""


def measured(name: str) -> Iterator[Row]:
    """Yield a row for every table, run and wish, and one for fewer steps."""
    from tiny_runs import TinyRuns, samplers_of

    runs = TinyRuns(name)
    samplers = list(samplers_of(name))
    wanted = [(sampler, steps, 1) for sampler in samplers for steps in TABLE_STEPS] + [(samplers[0], 30, 8)]
    tables = {one: runs.calibrate(*one) for one in wanted}
    for sampler in samplers:
        for steps in RUN_STEPS:
            for wish in WISHES:
                about = {"model": name, "sampler": sampler, "steps": steps, "wish": wish}
                for (own, of_steps, samples), table in tables.items():
                    score, record = runs.patched(table, sampler, steps, speed_up=wish)
                    yield about | {
                        "table": f"{own}, {of_steps} steps, {samples} sample{'s' * (samples > 1)}",
                        "very": (own, of_steps, samples) == (sampler, steps, 1),
                        "predicted": round(record.predicted_error, 5),
                        **_scored(record.nfe, score),
                    }
                fewer = runs.fewer_steps(sampler, steps, record.nfe)
                yield about | {"table": "fewer steps", **_scored(record.nfe, fewer)}


def _scored(nfe: int, score: Any) -> Row:
    return {"nfe": nfe, "rms": round(score.rms, 2), "worst": round(score.worst, 2)}


def judged(rows: list[Row]) -> Iterator[tuple[Row, float, float]]:
    """Yield every table's row, and the dB that it is behind the very settings' table and fewer steps."""
    runs: dict[Any, dict[str, Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("model", "sampler", "steps", "wish"))
        runs.setdefault(key, {})[row["table"]] = row
    for by_table in runs.values():
        fewer = by_table["fewer steps"]
        very = next(row for row in by_table.values() if row.get("very"))
        for row in by_table.values():
            if row is not fewer:
                yield row, round(very["rms"] - row["rms"], 2), round(fewer["rms"] - row["rms"], 2)


def page(rows: list[Row]) -> str:
    """Write the page: the verdict, then every run."""
    lines = [*HEAD.format(behind=BEHIND).splitlines()]
    found = list(judged(rows))
    for model, sampler in sorted({(row["model"], row["sampler"]) for row in rows}, key=str):
        mine = [one for one in found if (one[0]["model"], one[0]["sampler"]) == (model, sampler)]
        worst, short, _ = max(mine, key=lambda one: one[1])
        lines.append(
            f"| {model} | {sampler} | {len(mine)} | {sum(one[1] > BEHIND for one in mine)} "
            f"| {sum(one[2] > 0 for one in mine)} "
            f"| {short:.1f} dB: {worst['table']}, for {worst['steps']} steps at {worst['wish']:g}x |"
        )
    verdict = {id(row): (very > BEHIND, fewer > 0) for row, very, fewer in found}
    for model, sampler, steps in dict.fromkeys((row["model"], row["sampler"], row["steps"]) for row in rows):
        mine = [r for r in rows if (r["model"], r["sampler"], r["steps"]) == (model, sampler, steps)]
        lines += ["", f"## {model}, {sampler}, {steps} steps", "", "| table | 2x | 3x |", "|---|---|---|"]
        for table in dict.fromkeys(row["table"] for row in mine):
            cells = [_cell(row, verdict.get(id(row))) for row in mine if row["table"] == table]
            very = any(row["table"] == table and row.get("very") for row in mine)
            lines.append(f"| {table}{' (the very settings)' * very} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row, failed: tuple[bool, bool] | None) -> str:
    text = f"{row['rms']:.1f}, {row['worst']:.1f} ({row['nfe']})"
    behind_very, behind_fewer = failed or (False, False)
    return f"**{text}**{' behind fewer steps' * behind_fewer}" if behind_very or behind_fewer else text


def main() -> None:
    """Measure the chosen models, and write the page of all that are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    results = HERE / "results"
    for name in arguments.models:
        write_rows(results / f"across-{name}.json", measured(name))
    files = [results / f"across-{name}.json" for name in MODELS]
    rows = [row for file in files if file.exists() for row in read_rows(file)[0]]
    (results / "across.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
