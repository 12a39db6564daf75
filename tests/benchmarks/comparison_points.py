"""The comparison's points: what each setting does over its clips, and what a method reaches between them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np

MEANS = ("psnr", "ssim", "ms_ssim", "lpips", "temporal")
ERRORS = ("rms", "worst_rms", "lpips")  # less is better
COMPARED = ("rms", "worst_rms", "p10_psnr", "lpips", "ssim", "psnr")
OURS = "SenCache"
OWN_VARIANTS = "SenCache"  # a method whose name begins so is a variant of ours, no peer
FEWER = "fewer steps"
LEAST_ERROR = 1e-6  # what the logarithm of no error at all is taken of
NAMES = {"wan": "Wan 2.1", "ltxv": "LTX-Video", "cogvideox": "CogVideoX"}
LONGEST_REASON = 160

Point = dict[str, Any]
Way = tuple[str, str, float, int]
Found = dict[Way, dict[str, list[Point]]]
Missing = dict[Way, dict[str, str]]


def title(way: Way) -> str:
    """Name a way of sampling."""
    model, sampler, cfg, steps = way
    return f"{NAMES[model]}, {sampler}, {steps} steps, cfg {cfg:g}"


def points_of(tasks: Iterable[dict[str, Any]]) -> tuple[Found, Missing]:
    """Sum every setting's clips up: each method's points in each way of sampling, and what did not run."""
    found: Found = {}
    missing: Missing = {}
    for task in tasks:
        way = (task["model"], task["sampler"], task["cfg"], task["steps"])
        for row in task["rows"]:
            if "not_running" in row:
                missing.setdefault(way, {})[row["method"]] = row["not_running"][:LONGEST_REASON]
            else:
                found.setdefault(way, {}).setdefault(row["method"], []).append(_point(row))
    return found, missing


def _point(row: dict[str, Any]) -> Point:
    clips = row["clips"]
    point = {"setting": row["setting"]["label"]}
    point |= {name: statistics.mean(clip[name] for clip in clips) for name in ("nfe", *MEANS)}
    point["rms"] = math.sqrt(statistics.mean(clip["rms"] ** 2 for clip in clips))
    point["worst_rms"] = max(clip["rms"] for clip in clips)
    point["p10_psnr"] = float(np.percentile([clip["psnr"] for clip in clips], 10))
    point["worst_psnr"] = min(clip["psnr"] for clip in clips)
    point["distance"] = row["distance"]
    if clips[0].get("planned") is not None:
        errors = [abs(clip["planned"] - clip["nfe"]) / clip["nfe"] for clip in clips]
        point["plan_error"] = statistics.median(errors)
    return point


def rows_of(found: Found, missing: Missing) -> list[dict[str, Any]]:
    """Lay the points and what did not run out as rows for a file."""
    rows: list[dict[str, Any]] = []
    for way, methods in found.items():
        for method, points in methods.items():
            rows += [{"way": list(way), "method": method, **point} for point in points]
        for method, why in missing.get(way, {}).items():
            rows.append({"way": list(way), "method": method, "not_running": why})
    return rows


def from_rows(rows: Iterable[dict[str, Any]]) -> tuple[Found, Missing]:
    """Take the points and what did not run from a file's rows."""
    found: Found = {}
    missing: Missing = {}
    for row in rows:
        way, method = tuple(row["way"]), row["method"]
        if "not_running" in row:
            missing.setdefault(way, {})[method] = row["not_running"]
        else:
            point = {name: row[name] for name in row if name not in ("way", "method")}
            found.setdefault(way, {}).setdefault(method, []).append(point)
    return found, missing


def keep_others(found: Found, missing: Missing, earlier: tuple[Found, Missing]) -> None:
    """Take the points of every method that was not measured anew from an earlier comparison."""
    for way, methods in earlier[0].items():
        found[way] = methods | found.get(way, {})
        missing[way] = earlier[1].get(way, {}) | missing.get(way, {})


def at_nfe(points: list[Point], nfe: float, metric: str) -> float | None:
    """Return the best a method reaches at an NFE: on the line between its best settings around it.

    A setting that needs fewer evaluations and is better counts in place of a worse one. Errors lie on a line
    in their logarithms. None where every setting needs more evaluations.
    """
    front: list[tuple[float, float]] = []
    reached = ((one["nfe"], _merit(one, metric)) for one in points)
    for point in sorted(reached, key=lambda one: (one[0], -one[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    below = [one for one in front if one[0] <= nfe]
    above = [one for one in front if one[0] > nfe]
    if not below:
        return None
    merit = below[-1][1]
    if above:
        (low, low_merit), (high, high_merit) = below[-1], above[0]
        merit = low_merit + (high_merit - low_merit) * (nfe - low) / (high - low)
    return math.exp(-merit) if metric in ERRORS else merit


def _merit(point: Point, metric: str) -> float:
    """Return how good a point is by a metric: more is better."""
    return -math.log(max(point[metric], LEAST_ERROR)) if metric in ERRORS else float(point[metric])


def nfe_for(points: list[Point], rms: float) -> float | None:
    """Return the fewest evaluations with which a method gets down to an rms error, on the line between its
    settings.
    """
    ordered = sorted((point["nfe"], _merit(point, "rms")) for point in points)
    wanted = -math.log(rms)
    reached = [nfe for nfe, merit in ordered if merit >= wanted]
    for (low, low_merit), (high, high_merit) in zip(ordered, ordered[1:], strict=False):
        if low_merit < wanted <= high_merit:
            reached.append(low + (high - low) * (wanted - low_merit) / (high_merit - low_merit))
    return min(reached) if reached else None


def peers_of(methods: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Leave out the uncached run and our own variants."""
    return {
        name: points
        for name, points in methods.items()
        if name != "uncached" and not name.startswith(OWN_VARIANTS)
    }


def best_peer(methods: dict[str, list[Point]], nfe: float, metric: str) -> tuple[str, float] | None:
    """Return the peer that is best at an NFE by a metric, and what it reaches; None where none gets there."""
    reached = {name: at_nfe(points, nfe, metric) for name, points in peers_of(methods).items()}
    known = {name: value for name, value in reached.items() if value is not None}
    if not known:
        return None
    name = (min if metric in ERRORS else max)(known, key=known.__getitem__)
    return name, known[name]


def matched(methods: dict[str, list[Point]]) -> list[tuple[Point, dict[str, tuple[str, float] | None]]]:
    """Pair each of our points with the best peer at as many evaluations, metric by metric."""
    return [
        (point, {metric: best_peer(methods, point["nfe"], metric) for metric in COMPARED})
        for point in methods.get(OURS, [])
    ]
