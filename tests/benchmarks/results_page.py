"""Turns the comparison's points into the page `results/comparison.md`."""

from __future__ import annotations

import statistics

from comparison_points import (
    COMPARED,
    FEWER,
    OURS,
    Found,
    Missing,
    Point,
    at_nfe,
    best_peer,
    matched,
    nfe_for,
    peers_of,
    title,
)

PAPER_RULE = "SenCache, paper's rule, hold"
QUALITIES = (0.05, 0.02)  # rms
LIMITS = {2: 1 / 3, 3: 1 / 2, 4: 2 / 3}  # of the best peer's rms, by the share of the steps

INTRODUCTION = """\
Three tiny trained models inside ComfyUI, {clips} clips each: eight prompts on which neither a table nor a
peer was measured, two seeds each, with the sigmas that KSampler makes. Every method against the uncached
clip of the same seed. NFE: network evaluations, counted on the network's middle block. Every number comes
from `python tests/benchmarks/compare.py`; its docstring says what it needs. Machine: {machine}.

SenCache is our default (rule plan, forecast linear) at a wished speed-up; each peer has the settings
listed below, the best of them counts, metric by metric. Between two settings a peer is read off the line
between its best ones (errors: in their logarithms). OptimalSteps, ComfyUI's own scheduler for Wan, is held to
the clip of the usual schedule, as fewer steps are.

Errors come first: decibels above about 45 are invisible, and their mean hides the clip that went wrong.
**rms**: root mean square error of the latent (whose own is about 1) over all clips; **worst**: that of the
worst clip; p10: the tenth percentile of PSNR; LPIPS and SSIM are means over clips, as is PSNR, which comes
last."""
COLUMNS = """\
rms, worst: of the latent, as above; PSNR in dB of the frames (worst clip, tenth percentile, mean); temporal:
rms error of the differences between frames; to data: energy distance between the clips and 128 training
clips, 12x12 pixels a frame (compare it with that of the uncached clips)."""


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


DIGITS = {"rms": 4, "worst_rms": 4, "p10_psnr": 1, "lpips": 4, "ssim": 4, "psnr": 1}


def _matched_table(ways: Found) -> list[str]:
    lines = [
        "Ours / best peer; *ratio* is that of the two rms errors. The bar: at most 1/3 of the best peer's at",
        "half of the evaluations, 1/2 at a third, 2/3 at a quarter, and no worse worst clip; **bold** misses",
        "it.",
        "",
        "| way of sampling | NFE | rms | ratio | worst | p10, dB | LPIPS | SSIM | mean PSNR, dB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way, methods in ways.items():
        for point, peers in matched(methods):
            cells = [_beside(point, peers[metric], metric) for metric in COMPARED]
            cells.insert(1, _ratio(point, peers["rms"], way[3]))
            lines.append(f"| {title(way)} | {point['nfe']:.0f} | {' | '.join(cells)} |")
    return lines


def _beside(point: Point, peer: tuple[str, float] | None, metric: str) -> str:
    digits = DIGITS[metric]
    if peer is None:
        return f"{point[metric]:.{digits}f} / -"
    cell = f"{point[metric]:.{digits}f} / {peer[1]:.{digits}f} ({peer[0]})"
    return f"**{cell}**" if metric == "worst_rms" and worse(point, peer, metric) else cell


def worse(point: Point, peer: tuple[str, float] | None, metric: str) -> bool:
    """Tell whether an error is above the peer's, by more than the last digit shown."""
    return peer is not None and round(point[metric], DIGITS[metric]) > round(peer[1], DIGITS[metric])


def limit(point: Point, steps: int) -> float:
    """Return the bar for a point's rms as a share of the best peer's: 1 below a quarter of the steps."""
    return LIMITS.get(steps // round(point["nfe"]), 1.0)


def _ratio(point: Point, peer: tuple[str, float] | None, steps: int) -> str:
    if peer is None:
        return "-"
    ratio = point["rms"] / peer[1]
    return f"**{ratio:.2f}**" if round(ratio, 2) > round(limit(point, steps), 2) else f"{ratio:.2f}"


def short_table(found: Found) -> list[str]:
    """Return the README's table: ours beside the best peer at half, a third and a quarter of 50 steps."""
    lines = [
        "| tiny model, sampler | half of the evaluations | a third | a quarter |",
        "|---|---|---|---|",
    ]
    for way, methods in main_ways(found).items():
        cells = {
            way[3] // round(point["nfe"]): f"{_short(point, peers['rms'], 'rms')}"
            f"{_named(peers['rms'])}; worst {_short(point, peers['worst_rms'], 'worst_rms')}"
            for point, peers in matched(methods)
        }
        name = title(way).removesuffix(", 50 steps, cfg 5").replace("void", "VOIDSampler")
        lines.append(f"| {name} | {' | '.join(cells.get(share, '-') for share in LIMITS)} |")
    return lines


def _short(point: Point, peer: tuple[str, float] | None, metric: str) -> str:
    return f"{point[metric]:.3f} / {'-' if peer is None else f'{peer[1]:.3f}'}"


def _named(peer: tuple[str, float] | None) -> str:
    return "" if peer is None else f" ({peer[0]})"


def _verdict(found: Found) -> list[str]:
    """Count the settings that keep the bars."""
    rms, worst, fewer = [], [], []
    for way, methods in found.items():
        for point, peers in matched(methods):
            if peers["rms"] is not None:
                rms.append(round(point["rms"] / peers["rms"][1], 2) <= round(limit(point, way[3]), 2))
                worst.append(not worse(point, peers["worst_rms"], "worst_rms"))
            steps = best_peer({FEWER: methods.get(FEWER, [])}, point["nfe"], "worst_rms")
            fewer.append(not worse(point, steps, "worst_rms"))
    return [
        "| bar | settings that keep it |",
        "|---|---|",
        f"| rms at most 1/3, 1/2, 2/3 of the best peer's; below a quarter no worse | {_of(rms)} |",
        f"| worst clip no worse than that of fewer steps | {_of(fewer)} |",
        f"| worst clip no worse than that of any peer | {_of(worst)} |",
    ]


def _of(kept: list[bool]) -> str:
    return f"{sum(kept)} of {len(kept)}"


def _equal_quality_table(ways: Found) -> list[str]:
    lines = ["| way of sampling | rms | ours, NFE | best peer, NFE | share |", "|---|---|---|---|---|"]
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
    lines = ["| way of sampling | NFE | rms, ours | rms, paper's rule | ratio |", "|---|---|---|---|---|"]
    for way, methods in ways.items():
        for point in methods.get(OURS, []):
            paper = at_nfe(methods.get(PAPER_RULE, []), point["nfe"], "rms")
            if paper is not None:
                lines.append(
                    f"| {title(way)} | {point['nfe']:.0f} | {point['rms']:.4f} | {paper:.4f} "
                    f"| {point['rms'] / paper:.2f} |"
                )
    return lines


def _all_settings(methods: dict[str, list[Point]], missing: dict[str, str]) -> list[str]:
    lines = [
        "| method | setting | NFE | rms | worst | LPIPS | SSIM | MS-SSIM | worst PSNR | p10 | PSNR "
        "| temporal | to data |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, points in methods.items():
        for point in points:
            lines.append(
                f"| {name} | {point['setting']} | {point['nfe']:.1f} | {point['rms']:.4f} | "
                f"{point['worst_rms']:.4f} | {point['lpips']:.4f} | {point['ssim']:.4f} | "
                f"{point['ms_ssim']:.4f} | {point['worst_psnr']:.1f} | {point['p10_psnr']:.1f} | "
                f"{point['psnr']:.1f} | {point['temporal']:.4f} | {point['distance']:.3f} |"
            )
    return [*lines, *(f"| {name} | does not run: {why} |" + " |" * 11 for name, why in missing.items())]


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
        "![Error over evaluations](comparison_rms.png)",
        "",
        "![LPIPS over evaluations](comparison_lpips.png)",
    ]
    for heading, section in {
        "The bars": _verdict(found),
        "At the same number of evaluations": _matched_table(main),
        "At the same quality": _equal_quality_table(main),
        "Against the paper's rule, holding the output, at its best setting": _paper_table(main),
        "Other numbers of steps, other guidance": _matched_table(other)[4:],
        "Planned and real evaluations": [_planned(found)],
        "What real models show elsewhere": [MARKS],
        "Every setting": [COLUMNS],
    }.items():
        lines += ["", f"## {heading}", "", *section]
    for way, methods in found.items():
        lines += ["", f"### {title(way)}", "", *_all_settings(methods, missing.get(way, {}))]
    return "\n".join(lines) + "\n"
