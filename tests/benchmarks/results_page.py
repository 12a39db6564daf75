"""Turns the comparison's rows into `results/comparison.json`, `.md` and its plots."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

METRICS = ("psnr", "ssim", "ms_ssim", "lpips", "temporal")
OURS = "SenCache"
OWN_VARIANTS = "SenCache"  # a method whose name begins so is a variant of ours, no peer
PAPER_RULE = "SenCache, paper's rule, hold"
SHARES = (2, 3, 4, 6.25)
QUALITIES = (40.0, 45.0)
NAMES = {"wan": "Wan 2.1", "ltxv": "LTX-Video", "cogvideox": "CogVideoX"}

INTRODUCTION = """\
Three tiny trained models inside ComfyUI, {clips} clips each (all 13 prompts in turn, seeds that no table
was measured on), every method against the uncached clip of the same seed. NFE: network evaluations,
counted on the network's middle block. Every number comes from `python tests/benchmarks/compare.py`; its
docstring says what it needs. Machine: {machine}.

SenCache is our default (rule plan, forecast linear) at a wished speed-up; each peer has the settings
listed below, the best of them counts, metric by metric. Between two settings a peer is read off the line
between its best ones."""
COLUMNS = """\
PSNR in dB (mean and worst clip); temporal: rms error of the differences between frames; to data: energy
distance between the clips and 128 training clips, 12x12 pixels a frame (it can be below 0, because the
clips take every prompt in turn; compare it with that of the uncached clips); time: median seconds a clip
as a share of the uncached run's, measured with other work on the machine."""

Point = dict[str, Any]
Way = tuple[str, str, float, int]


def points_of(
    tasks: Iterable[dict[str, Any]],
) -> tuple[dict[Way, dict[str, list[Point]]], dict[Way, dict[str, str]]]:
    """Average every setting's clips: each method's points in each way of sampling, and what did not run."""
    found: dict[Way, dict[str, list[Point]]] = {}
    missing: dict[Way, dict[str, str]] = {}
    for task in tasks:
        way = (task["model"], task["sampler"], task["cfg"], task["steps"])
        for row in task["rows"]:
            if "not_running" in row:
                missing.setdefault(way, {})[row["method"]] = row["not_running"]
                continue
            clips = row["clips"]
            point = {
                name: statistics.mean(clip[name] for clip in clips)
                for name in ("nfe", "evaluations", *METRICS)
            }
            point["worst_psnr"] = min(clip["psnr"] for clip in clips)
            point["seconds"] = statistics.median(clip["seconds"] for clip in clips)
            point |= {"setting": row["setting"]["label"], "distance": row["distance"], "clips": len(clips)}
            if "planned" in clips[0] and clips[0]["planned"] is not None:
                errors = [abs(clip["planned"] - clip["nfe"]) / clip["nfe"] for clip in clips]
                point["plan_error"] = statistics.median(errors)
                point["predicted_error"] = clips[0]["predicted_error"]
            found.setdefault(way, {}).setdefault(row["method"], []).append(point)
    return found, missing


def at_nfe(points: list[Point], nfe: float, metric: str, most: bool = True) -> float | None:
    """Return the best a method reaches at an NFE: on the line between its best settings around it.

    A setting that needs fewer evaluations and is better counts in place of a worse one. None where every
    setting needs more evaluations.
    """
    sign = 1 if most else -1
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda one: (one["nfe"], -sign * one[metric])):
        if not front or sign * point[metric] > sign * front[-1][1]:
            front.append((point["nfe"], point[metric]))
    below = [one for one in front if one[0] <= nfe]
    above = [one for one in front if one[0] > nfe]
    if not below:
        return None
    if not above:
        return below[-1][1]
    (low, low_value), (high, high_value) = below[-1], above[0]
    return low_value + (high_value - low_value) * (nfe - low) / (high - low)


def nfe_for(points: list[Point], psnr: float) -> float | None:
    """Return the fewest evaluations with which a method reaches a PSNR, on the line between its settings."""
    ordered = sorted((point["nfe"], point["psnr"]) for point in points)
    reached = [nfe for nfe, value in ordered if value >= psnr]
    for (low, low_value), (high, high_value) in zip(ordered, ordered[1:], strict=False):
        if low_value < psnr <= high_value:
            reached.append(low + (high - low) * (psnr - low_value) / (high_value - low_value))
    return min(reached) if reached else None


def peers_of(methods: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Leave out the uncached run and our own variants."""
    return {
        name: points
        for name, points in methods.items()
        if name != "uncached" and not name.startswith(OWN_VARIANTS)
    }


def matched(methods: dict[str, list[Point]], steps: int) -> list[dict[str, Any]]:
    """Compare ours with the best peer at the same share of the evaluations, metric by metric."""
    rows = []
    for share in SHARES:
        nfe = steps / share
        row: dict[str, Any] = {"share": share, "nfe": nfe}
        for metric, most in (("psnr", True), ("ssim", True), ("lpips", False)):
            values = {name: at_nfe(points, nfe, metric, most) for name, points in peers_of(methods).items()}
            known = {name: value for name, value in values.items() if value is not None}
            best = (max if most else min)(known, key=known.__getitem__) if known else None
            row[metric] = {
                "ours": at_nfe(methods.get(OURS, []), nfe, metric, most),
                "peer": best,
                "value": known.get(best) if best else None,
            }
        rows.append(row)
    return rows


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _title(way: Way) -> str:
    model, sampler, cfg, steps = way
    return f"{NAMES[model]}, {sampler}, {steps} steps, cfg {cfg:g}"


def _matched_table(ways: dict[Way, dict[str, list[Point]]]) -> list[str]:
    lines = [
        "| way of sampling | NFE | ours, dB | best peer, dB | difference | LPIPS, ours / best peer "
        "| SSIM, ours / best peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, methods in ways.items():
        for row in matched(methods, way[3]):
            psnr, lpips, ssim = row["psnr"], row["lpips"], row["ssim"]
            if psnr["ours"] is None:
                continue
            both = psnr["value"] is not None
            difference = f"{psnr['ours'] - psnr['value']:+.1f}" if both else "-"
            lines.append(
                f"| {_title(way)} | {row['nfe']:.1f} | {_cell(psnr['ours'])} | {_cell(psnr['value'])} "
                f"({psnr['peer']}) | {difference} | {_cell(lpips['ours'], 4)} / {_cell(lpips['value'], 4)} "
                f"({lpips['peer']}) | {_cell(ssim['ours'], 4)} / {_cell(ssim['value'], 4)} ({ssim['peer']}) |"
            )
    return lines


def _equal_quality_table(ways: dict[Way, dict[str, list[Point]]]) -> list[str]:
    lines = ["| way of sampling | PSNR, dB | ours, NFE | best peer, NFE | share |", "|---|---|---|---|---|"]
    for way, methods in ways.items():
        for quality in QUALITIES:
            ours = nfe_for(methods.get(OURS, []), quality)
            needed = {name: nfe_for(points, quality) for name, points in peers_of(methods).items()}
            known = {name: value for name, value in needed.items() if value is not None}
            best = min(known, key=known.__getitem__) if known else None
            share = f"{ours / known[best]:.2f}" if ours is not None and best else "-"
            peer = f"{known[best]:.1f} ({best})" if best else "not reached"
            lines.append(f"| {_title(way)} | {quality:g} | {_cell(ours)} | {peer} | {share} |")
    return lines


def _paper_table(ways: dict[Way, dict[str, list[Point]]]) -> list[str]:
    lines = ["| way of sampling | NFE | ours, dB | paper's rule, dB | difference |", "|---|---|---|---|---|"]
    for way, methods in ways.items():
        for share in SHARES:
            nfe = way[3] / share
            ours, paper = (at_nfe(methods.get(name, []), nfe, "psnr") for name in (OURS, PAPER_RULE))
            if ours is not None and paper is not None:
                row = f"| {_title(way)} | {nfe:.1f} | {ours:.1f} | {paper:.1f} | {ours - paper:+.1f} |"
                lines.append(row)
    return lines


def _all_settings(methods: dict[str, list[Point]], missing: dict[str, str]) -> list[str]:
    seconds = methods["uncached"][0]["seconds"] if "uncached" in methods else None
    lines = [
        "| method | setting | NFE | PSNR | worst | SSIM | MS-SSIM | LPIPS | temporal | to data | time |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, points in methods.items():
        for point in points:
            time = "-" if seconds is None else f"{point['seconds'] / seconds:.2f}"
            lines.append(
                f"| {name} | {point['setting']} | {point['nfe']:.1f} | {point['psnr']:.1f} | "
                f"{point['worst_psnr']:.1f} | {point['ssim']:.4f} | {point['ms_ssim']:.4f} | "
                f"{point['lpips']:.4f} | "
                f"{point['temporal']:.4f} | {point['distance']:.3f} | {time} |"
            )
    return [*lines, *(f"| {name} | does not run: {why[:160]} |" + " |" * 9 for name, why in missing.items())]


def plot(ways: dict[Way, dict[str, list[Point]]], metric: str, label: str, path: Path) -> None:
    """Draw one metric over evaluations, a panel for each model and sampler."""
    columns = min(4, max(1, len(ways)))
    rows = -(-len(ways) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.4 * columns, 3.9 * rows), dpi=110, squeeze=False)
    names = list(dict.fromkeys(name for methods in ways.values() for name in methods if name != "uncached"))
    colours = {name: plt.get_cmap("tab20")(index % 20) for index, name in enumerate(names)}
    colours[OURS] = "black"
    for axes, (way, methods) in zip(grid.flat, ways.items(), strict=False):
        for name, points in methods.items():
            if name == "uncached":
                continue
            ordered = sorted(points, key=lambda point: point["nfe"])
            xs, ys = [point["nfe"] for point in ordered], [point[metric] for point in ordered]
            ours = name == OURS
            axes.plot(
                xs,
                ys,
                marker="o",
                ms=4 if ours else 2.5,
                lw=2.4 if ours else 1.0,
                color=colours[name],
                ls="--" if name.startswith(OWN_VARIANTS) and not ours else "-",
                label=name,
                zorder=3 if ours else 2,
            )
        axes.set_title(_title(way), fontsize=9)
        axes.set(xlabel="network evaluations", ylabel=label, xlim=(5, 32))
        if metric == "psnr":
            axes.set_ylim(10, 65)
        if metric == "lpips":
            axes.set_yscale("symlog", linthresh=1e-4)
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(ways) :]:
        axes.axis("off")
    handles = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="lower right", fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def keep_others(
    found: dict[Way, dict[str, list[Point]]],
    missing: dict[Way, dict[str, str]],
    kept: list[dict[str, Any]],
) -> None:
    """Take the points of everything that is neither ours nor uncached from an earlier comparison.

    Their seconds are brought to the uncached run's of this one, since only their share is shown.
    """
    for one in kept:
        way = tuple(one["way"])
        if way not in found:
            found[way] = one["methods"]
        pace = found[way]["uncached"][0]["seconds"] / one["methods"]["uncached"][0]["seconds"]
        others = {
            method: [{**point, "seconds": point["seconds"] * pace} for point in points]
            for method, points in one["methods"].items()
            if method != "uncached" and not method.startswith(OWN_VARIANTS)
        }
        found[way] = found.get(way, {}) | others
        missing[way] = one["not_running"] | missing.get(way, {})


def write_page(
    tasks: list[dict[str, Any]], machine: str, clips: int, folder: Path, kept: list[dict[str, Any]]
) -> None:
    """Write everything that the tasks' rows and the kept points tell."""
    found, missing = points_of(tasks)
    keep_others(found, missing, kept)
    main = {way: methods for way, methods in found.items() if way[2:] == (5.0, 50)}
    other = {way: methods for way, methods in found.items() if way not in main}
    folder.mkdir(exist_ok=True)
    as_json = [
        {"way": list(way), "methods": methods, "not_running": missing.get(way, {})}
        for way, methods in found.items()
    ]
    (folder / "comparison.json").write_text(
        json.dumps({"machine": machine, "ways": as_json}, indent=1) + "\n"
    )
    plot(main, "psnr", "PSNR against the uncached clip, dB", folder / "comparison_psnr.png")
    plot(main, "lpips", "LPIPS against the uncached clip", folder / "comparison_lpips.png")
    errors = [
        point["plan_error"]
        for methods in found.values()
        for points in methods.values()
        for point in points
        if "plan_error" in point
    ]
    lines = [
        "# SenCache beside everything else",
        "",
        INTRODUCTION.format(clips=clips, machine=machine),
        "",
        "![PSNR over evaluations](comparison_psnr.png)",
        "",
        "![LPIPS over evaluations](comparison_lpips.png)",
        "",
        "## At the same number of evaluations",
        "",
        *_matched_table(main),
        "",
        "## At the same quality",
        "",
        *_equal_quality_table(main),
        "",
        "## Against the paper's rule, holding the output, at its best setting",
        "",
        *_paper_table(main),
        "",
        "## Fewer steps, other guidance",
        "",
        *_matched_table(other),
        "",
        "## Planned and real evaluations",
        "",
        f"Median error of the planned NFE over {len(errors)} settings with a plan: "
        f"{statistics.median(errors):.1%}; largest {max(errors):.1%}."
        if errors
        else "Nothing was planned.",
        "",
        "## Every setting",
        "",
        COLUMNS,
    ]
    for way, methods in found.items():
        lines += ["", f"### {_title(way)}", "", *_all_settings(methods, missing.get(way, {}))]
    (folder / "comparison.md").write_text("\n".join(lines) + "\n")
