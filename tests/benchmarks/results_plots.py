"""Draws what the compared methods reach, for the results page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from comparison_points import OURS, OWN_VARIANTS, Found, Point, title  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402


def plot(ways: Found, metric: str, label: str, path: Path) -> None:
    """Draw one metric over evaluations, a panel for each model and sampler."""
    columns = min(4, max(1, len(ways)))
    rows = -(-len(ways) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.4 * columns, 3.9 * rows), dpi=110, squeeze=False)
    names = list(dict.fromkeys(name for methods in ways.values() for name in methods if name != "uncached"))
    colours = {name: plt.get_cmap("tab20")(index % 20) for index, name in enumerate(names)}
    colours[OURS] = "black"
    for axes, (way, methods) in zip(grid.flat, ways.items(), strict=False):
        for name, points in methods.items():
            if name != "uncached":
                _draw_line(axes, name, points, metric, colours[name])
        axes.set_title(title(way), fontsize=9)
        axes.set(xlabel="network evaluations", ylabel=label, xlim=(5, 32))
        if metric == "lpips":
            axes.set_yscale("symlog", linthresh=1e-4)
        else:
            axes.set(yscale="log", ylim=(1e-3, 1))
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(ways) :]:
        axes.axis("off")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="lower right", fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _draw_line(axes: Any, name: str, points: list[Point], metric: str, colour: Any) -> None:
    """Draw a method's points in the order of their evaluations; ours stands out."""
    ordered = sorted(points, key=lambda point: point["nfe"])
    ours = name == OURS
    axes.plot(
        [point["nfe"] for point in ordered],
        [point[metric] for point in ordered],
        marker="o",
        ms=4 if ours else 2.5,
        lw=2.4 if ours else 1.0,
        color=colour,
        ls="--" if name.startswith(OWN_VARIANTS) and not ours else "-",
        label=name,
        zorder=3 if ours else 2,
    )
