"""Turns the comparison's points into the page `results/comparison.md`."""

from __future__ import annotations

import statistics

from comparison_points import OURS, SHARES, Found, Missing, Point, at_nfe, matched, nfe_for, peers_of, title

PAPER_RULE = "SenCache, paper's rule, hold"
QUALITIES = (40.0, 45.0)

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


MARKS = """\
Each against the same seed uncached, as its source states it; not measured here. They are marks to beat once
a real model is sampled with SenCache.

| model | method | speed-up | PSNR, dB | SSIM | LPIPS | source |
|---|---|---|---|---|---|---|
| Wan 2.1 1.3B | PAB | 1.72 | 18.84 | 0.648 | 0.301 | [EasyCache's README][easycache] |
| Wan 2.1 1.3B | TeaCache | 2.00 | 22.57 | 0.806 | 0.128 | [EasyCache's README][easycache] |
| Wan 2.1 1.3B | EasyCache | 2.54 | 25.24 | 0.834 | 0.095 | [EasyCache's README][easycache] |
| HunyuanVideo | TeaCache | 1.67 | 23.85 | 0.819 | 0.173 | [EasyCache's README][easycache] |
| HunyuanVideo | EasyCache | 2.21 | 32.66 | 0.931 | 0.053 | [EasyCache's README][easycache] |
| Wan 2.1, 81 frames of 832x480 | SenCache, slow setting | | 30.7 | 0.939 | 0.039 | [the paper][paper] |
| MiniMax H3, 50 steps, int8 | Spectrum | 1.85 | 30.82 (worst frame 28.69) | | | [sglang][sglang] |
| MiniMax H3, 50 steps, int8 | Spectrum | 2.52 | 27.37 (worst frame 25.28) | | | [sglang][sglang] |

[easycache]: https://github.com/H-EmbodVis/EasyCache
[paper]: https://arxiv.org/abs/2602.24208
[sglang]: https://github.com/sgl-project/sglang/pull/35684"""


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _matched_table(ways: Found) -> list[str]:
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
                f"| {title(way)} | {row['nfe']:.1f} | {_cell(psnr['ours'])} | {_cell(psnr['value'])} "
                f"({psnr['peer']}) | {difference} | {_cell(lpips['ours'], 4)} / {_cell(lpips['value'], 4)} "
                f"({lpips['peer']}) | {_cell(ssim['ours'], 4)} / {_cell(ssim['value'], 4)} ({ssim['peer']}) |"
            )
    return lines


def _equal_quality_table(ways: Found) -> list[str]:
    lines = ["| way of sampling | PSNR, dB | ours, NFE | best peer, NFE | share |", "|---|---|---|---|---|"]
    for way, methods in ways.items():
        for quality in QUALITIES:
            ours = nfe_for(methods.get(OURS, []), quality)
            needed = {name: nfe_for(points, quality) for name, points in peers_of(methods).items()}
            known = {name: value for name, value in needed.items() if value is not None}
            best = min(known, key=known.__getitem__) if known else None
            share = f"{ours / known[best]:.2f}" if ours is not None and best else "-"
            peer = f"{known[best]:.1f} ({best})" if best else "not reached"
            lines.append(f"| {title(way)} | {quality:g} | {_cell(ours)} | {peer} | {share} |")
    return lines


def _paper_table(ways: Found) -> list[str]:
    lines = ["| way of sampling | NFE | ours, dB | paper's rule, dB | difference |", "|---|---|---|---|---|"]
    for way, methods in ways.items():
        for share in SHARES:
            nfe = way[3] / share
            ours, paper = (at_nfe(methods.get(name, []), nfe, "psnr") for name in (OURS, PAPER_RULE))
            if ours is not None and paper is not None:
                row = f"| {title(way)} | {nfe:.1f} | {ours:.1f} | {paper:.1f} | {ours - paper:+.1f} |"
                lines.append(row)
    return lines


def _all_settings(methods: dict[str, list[Point]], missing: dict[str, str]) -> list[str]:
    lines = [
        "| method | setting | NFE | PSNR | worst | SSIM | MS-SSIM | LPIPS | temporal | to data | time |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, points in methods.items():
        for point in points:
            lines.append(
                f"| {name} | {point['setting']} | {point['nfe']:.1f} | {point['psnr']:.1f} | "
                f"{point['worst_psnr']:.1f} | {point['ssim']:.4f} | {point['ms_ssim']:.4f} | "
                f"{point['lpips']:.4f} | "
                f"{point['temporal']:.4f} | {point['distance']:.3f} | {_cell(point['time'], 2)} |"
            )
    return [*lines, *(f"| {name} | does not run: {why} |" + " |" * 9 for name, why in missing.items())]


def main_ways(found: Found) -> Found:
    """Return the ways of sampling that the page begins with."""
    return {way: methods for way, methods in found.items() if way[2:] == (5.0, 50)}


def _planned(found: Found) -> str:
    points = [point for methods in found.values() for points in methods.values() for point in points]
    errors = [point["plan_error"] for point in points if "plan_error" in point]
    if not errors:
        return "Nothing was planned."
    return (
        f"Median error of the planned NFE over {len(errors)} settings with a plan: "
        f"{statistics.median(errors):.1%}; largest {max(errors):.1%}."
    )


def page(found: Found, missing: Missing, machine: str, clips: int) -> str:
    """Write everything that the points tell."""
    main = main_ways(found)
    other = {way: methods for way, methods in found.items() if way not in main}
    lines = [
        "# SenCache beside everything else",
        "",
        INTRODUCTION.format(clips=clips, machine=machine),
        "",
        "![PSNR over evaluations](comparison_psnr.png)",
        "",
        "![LPIPS over evaluations](comparison_lpips.png)",
    ]
    for heading, section in {
        "At the same number of evaluations": _matched_table(main),
        "At the same quality": _equal_quality_table(main),
        "Against the paper's rule, holding the output, at its best setting": _paper_table(main),
        "Fewer steps, other guidance": _matched_table(other),
        "Planned and real evaluations": [_planned(found)],
        "What real models show elsewhere": [MARKS],
        "Every setting": [COLUMNS],
    }.items():
        lines += ["", f"## {heading}", "", *section]
    for way, methods in found.items():
        lines += ["", f"### {title(way)}", "", *_all_settings(methods, missing.get(way, {}))]
    return "\n".join(lines) + "\n"
