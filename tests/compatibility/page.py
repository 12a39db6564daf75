"""Writes the results page out of the rows of every host."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]
Rows = list[Row]
SAMPLERS = "Samplers and schedulers"
INTRODUCTION = """# What works: every way of sampling, host by host

Written by `python tests/compatibility/run.py`; change nothing here by hand. Each case was sampled without our
nodes and with them:

- **exact**: with epsilon 0 the result has the same bits as without our nodes.
- **by error**: network evaluations of all evaluations, and PSNR in dB over the latent's range against the
  result without our nodes, with an allowed error (`epsilon`) of 0.03 and no target speed. Rows that were last
  walked when Model Patch's default was 0.01, with the planner of then, have that.
- **2x**: the same with a target speed of 2, Model Patch's default.

The counts are those of a counter inside the host; a case only passes where the record that Cache Stats shows
says the same, the result is finite, epsilon 0 is exact, and by an allowed error none ends further off than
20 dB. *= result* means that nothing could be reused. Models marked *trained* are the pack's tiny ones; all
other architectures are ComfyUI's own classes, tiny and with random weights, calibrated by SenCache Calibrate:
their PSNR says that nothing broke, not what a real model gains.
"""


def kept(file: str, judged: Row) -> Row:
    """Return what this page needs of a case that a module's file listed.

    For each setting the evaluations that were computed, all of them, and PSNR in dB. A text is kept where it
    tells why a case did not pass.
    """
    row = {"file": file, "group": judged["group"], "name": judged["name"], "outcome": judged["outcome"]}
    if "zero" in judged:
        row["exact"] = judged["zero"]["identical"]
    for setting in ("by_error", "half"):
        if setting in judged:
            run = judged[setting]
            psnr = None if run["psnr"] is None else round(run["psnr"], 4)
            row[setting] = [run["nfe"], run["evaluations"], psnr]
    return row if row["outcome"] == "ok" else {**row, "text": judged["text"]}


def _run(row: Row, setting: str) -> str:
    if setting not in row:
        return ""
    nfe, evaluations, psnr = row[setting]
    return f"{nfe} of {evaluations}, {'= result' if psnr is None else f'{psnr:.1f} dB'}"


def _cells(row: Row | None) -> str:
    if row is None:
        return "not run | | "
    if row["outcome"] == "ok":
        return f"exact | {_run(row, 'by_error')} | {_run(row, 'half')}"
    if row["outcome"] == "failed" and "exact" in row:
        exact = "exact" if row["exact"] else "**not exact**"
        return f"**failed**: {exact} | {_run(row, 'by_error')} | {_run(row, 'half')}"
    return f"{row['outcome']}: {row['text'].replace('|', '/')} | | "


def _summary(hosts: dict[str, Rows]) -> list[str]:
    outcomes = ("ok", "host lacks it", "host error", "failed")
    lines = ["| ComfyUI | cases | " + " | ".join(outcomes) + " |", "|---" * (len(outcomes) + 2) + "|"]
    for version, rows in hosts.items():
        counts = Counter(row["outcome"] for row in rows)
        numbers = [version, len(rows), *(counts[one] for one in outcomes)]
        lines.append("| " + " | ".join(map(str, numbers)) + " |")
    return lines


def _table(group: str, hosts: dict[str, Rows]) -> list[str]:
    found: dict[str, dict[str, Row]] = {version: {} for version in hosts}
    for version, rows in hosts.items():
        found[version] = {row["name"]: row for row in rows if row["group"] == group}
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    lines = [f"## {group}", ""]
    lines.append("| case | " + " | ".join(f"{version} | by error | 2x" for version in hosts) + " |")
    lines.append("|---" * (1 + 3 * len(hosts)) + "|")
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cells(rows.get(name)) for rows in found.values()) + " |")
    return [*lines, ""]


def _samplers(hosts: dict[str, Rows]) -> list[str]:
    """Give one line per sampler over all schedulers; the JSON files hold every pair."""
    lines = [f"## {SAMPLERS}", "", "Every pair of the host's own lists; the JSON files hold each.", ""]
    titles = " | ".join(f"{version}: exact | by error (median)" for version in hosts)
    lines.append(f"| sampler | {titles} |")
    lines.append("|---" * (1 + 2 * len(hosts)) + "|")
    found: dict[str, dict[str, Rows]] = {}
    for version, rows in hosts.items():
        for row in rows:
            if row["group"] == SAMPLERS:
                found.setdefault(row["name"].split(",")[0], {}).setdefault(version, []).append(row)
    for sampler, by_host in found.items():
        cells = " | ".join(_pairs(by_host.get(version, [])) for version in hosts)
        lines.append(f"| {sampler} | {cells} |")
    return [*lines, ""]


def _pairs(rows: Rows) -> str:
    if not rows:
        return "not in its list | "
    passed = [row for row in rows if row["outcome"] == "ok"]
    others = Counter(f"{row['outcome']} ({row['text']})" for row in rows if row["outcome"] != "ok")
    said = f"{len(passed)} of {len(rows)}" + "".join(f"; {count} {text}" for text, count in others.items())
    if not passed:
        return f"{said} | "
    runs = [row["by_error"] for row in passed]
    share = median(nfe / evaluations for nfe, evaluations, _ in runs)
    quality = [psnr for _, _, psnr in runs if psnr is not None]
    shown = f", {median(quality):.1f} dB" if quality else ", = result"
    return f"{said} | {share:.0%} computed{shown}"


def write_page(hosts: dict[str, Rows], path: Path) -> int:
    """Write the page, newest host first; return how many cases failed."""
    newest_first = sorted(hosts, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    ordered = {version: hosts[version] for version in newest_first}
    groups = list(dict.fromkeys(row["group"] for rows in ordered.values() for row in rows))
    lines = [INTRODUCTION, *_summary(ordered), ""]
    for group in groups:
        lines += _samplers(ordered) if group == SAMPLERS else _table(group, ordered)
    path.write_text("\n".join(lines).rstrip() + "\n")
    return sum(row["outcome"] == "failed" for rows in ordered.values() for row in rows)
