"""The comparison's points: each setting's means over its clips, and what a method reaches between them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

METRICS = ("psnr", "ssim", "ms_ssim", "lpips", "temporal")
OURS = "SenCache"
OWN_VARIANTS = "SenCache"  # a method whose name begins so is a variant of ours, no peer
SHARES = (2, 3, 4, 6.25)
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
    """Average every setting's clips: each method's points in each way of sampling, and what did not run."""
    found: Found = {}
    missing: Missing = {}
    for task in tasks:
        way = (task["model"], task["sampler"], task["cfg"], task["steps"])
        for row in task["rows"]:
            if "not_running" in row:
                missing.setdefault(way, {})[row["method"]] = row["not_running"][:LONGEST_REASON]
            else:
                found.setdefault(way, {}).setdefault(row["method"], []).append(_point(row))
    for methods in found.values():
        _share_the_time(methods)
    return found, missing


def _point(row: dict[str, Any]) -> Point:
    clips = row["clips"]
    point = {"setting": row["setting"]["label"]}
    point |= {name: statistics.mean(clip[name] for clip in clips) for name in ("nfe", *METRICS)}
    point["worst_psnr"] = min(clip["psnr"] for clip in clips)
    point["distance"] = row["distance"]
    point["time"] = statistics.median(clip["seconds"] for clip in clips)
    if clips[0].get("planned") is not None:
        errors = [abs(clip["planned"] - clip["nfe"]) / clip["nfe"] for clip in clips]
        point["plan_error"] = statistics.median(errors)
    return point


def _share_the_time(methods: dict[str, list[Point]]) -> None:
    """Turn seconds a clip into a share of the uncached run's; without one it is unknown."""
    seconds = methods["uncached"][0]["time"] if "uncached" in methods else None
    for points in methods.values():
        for point in points:
            point["time"] = None if seconds is None else point["time"] / seconds


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
