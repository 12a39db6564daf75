"""The results pages are what their files of rows say, to the byte."""

from __future__ import annotations

from pathlib import Path

import page
import pytest
import results_page
from comparison_points import at_nfe, best_peer, from_rows, keep_others, nfe_for, points_of, rows_of
from rows import read_rows, write_rows

TESTS = Path(__file__).resolve().parents[1]
COMPATIBILITY, BENCHMARKS = TESTS / "compatibility" / "results", TESTS / "benchmarks" / "results"
COMPARISON = BENCHMARKS / "comparison.json"
WAY = {"model": "wan", "sampler": "euler", "cfg": 5.0, "steps": 50}
METRICS = {"rms": 0.03, "psnr": 40.0, "ssim": 0.9, "ms_ssim": 0.9, "lpips": 0.1, "temporal": 0.2}
RUN = {"nfe": 9, "evaluations": 12, "honest": True, "finite": True, "identical": False, "psnr": 64.25918}
EXACT = {**RUN, "nfe": 12, "identical": True, "psnr": None}


def judged(outcome: str = "ok", **runs: dict) -> dict:
    return {"group": "Guiders", "name": "CFG", "outcome": outcome, "text": "why", "epsilon": 0.01, **runs}


def test_rows_are_a_line_each_and_come_back_as_they_were(tmp_path):
    rows = [{"name": "a", "by_error": [9, 12, None]}, {"name": "b"}]
    write_rows(tmp_path / "rows.json", rows, machine="mine")
    assert (tmp_path / "rows.json").read_text().splitlines() == [
        '{"machine": "mine", "rows": [',
        '{"name": "a", "by_error": [9, 12, null]},',
        '{"name": "b"}',
        "]}",
    ]
    assert read_rows(tmp_path / "rows.json") == (rows, {"machine": "mine"})


def test_no_rows_make_a_file_too(tmp_path):
    write_rows(tmp_path / "rows.json", [])
    assert read_rows(tmp_path / "rows.json") == ([], {})


def test_of_a_case_is_kept_what_the_page_needs():
    head = {"file": "guidance", "group": "Guiders", "name": "CFG"}
    passed = page.kept("guidance", judged(zero=EXACT, by_error=RUN, half=EXACT))
    assert passed == {
        **head, "outcome": "ok", "exact": True, "by_error": [9, 12, 64.2592], "half": [12, 12, None],
    }  # fmt: skip
    lacking = page.kept("guidance", judged("host lacks it"))
    assert lacking == {**head, "outcome": "host lacks it", "text": "why"}
    failed = page.kept("guidance", judged("failed", zero=RUN, by_error=RUN))
    told = {"outcome": "failed", "exact": False, "by_error": [9, 12, 64.2592], "text": "why"}
    assert failed == {**head, **told}


def test_a_failed_case_is_counted_and_shown_with_its_numbers(tmp_path):
    row = page.kept("guidance", judged("failed", zero=RUN, by_error=RUN))
    assert page.write_page({"1.0": [row]}, tmp_path / "page.md") == 1
    assert "| CFG | **failed**: **not exact** | 9 of 12, 64.3 dB |  |" in (tmp_path / "page.md").read_text()


def test_the_compatibility_page_is_what_its_files_say(tmp_path):
    hosts = {file.stem: read_rows(file)[0] for file in COMPATIBILITY.glob("*.json")}
    assert len(hosts) == 3 and page.write_page(hosts, tmp_path / "page.md") == 0
    assert (tmp_path / "page.md").read_bytes() == (COMPATIBILITY / "compatibility.md").read_bytes()


def measured(method: str, nfe: float, rms: float) -> dict:
    """Two clips of a setting, the second one seven times as far off, one evaluation above the plan."""
    clips = [
        {**METRICS, "rms": error, "psnr": psnr, "nfe": nfe, "evaluations": 50, "planned": nfe - 1}
        for error, psnr in ((rms, 50.0), (7 * rms, 40.0))
    ]
    return {"method": method, "setting": {"label": "s"}, "distance": 0.5, "clips": clips}


def test_a_point_has_the_error_over_its_clips_the_worst_clip_and_means():
    found, _ = points_of([{**WAY, "rows": [measured("SenCache", 20, 0.01)]}])
    [point] = found["wan", "euler", 5.0, 50]["SenCache"]
    assert point == pytest.approx(
        {**METRICS, "setting": "s", "nfe": 20.0, "psnr": 45.0, "worst_psnr": 40.0, "p10_psnr": 41.0}
        | {"rms": 0.05, "worst_rms": 0.07, "distance": 0.5, "plan_error": 0.05}
    )


def test_points_and_what_did_not_run_come_back_from_their_rows():
    rows = [measured("uncached", 50, 0.0), {"method": "TeaCache", "not_running": "no\nreason" * 40}]
    found, missing = points_of([{**WAY, "rows": rows}])
    assert from_rows(rows_of(found, missing)) == (found, missing)


def test_an_earlier_comparison_gives_what_was_not_measured_anew():
    new, old = ({**WAY, "rows": [measured(*one) for one in rows]} for rows in (
        [("uncached", 50, 0.0), ("SenCache", 20, 0.01)],
        [("uncached", 50, 0.0), ("SenCache", 20, 0.02), ("EasyCache", 30, 0.04)],
    ))  # fmt: skip
    found, missing = points_of([new])
    keep_others(found, missing, points_of([old]))
    [methods] = found.values()
    assert {name: round(one["rms"], 3) for name, [one] in methods.items()} == {
        "uncached": 0.0, "SenCache": 0.05, "EasyCache": 0.2,
    }  # fmt: skip


def points(*settings: tuple[float, float]) -> list[dict]:
    return [{"nfe": nfe, "rms": rms, "worst_rms": rms, "psnr": -rms} for nfe, rms in settings]


def test_between_two_settings_errors_lie_on_a_line_in_their_logarithms():
    peer = points((10, 0.4), (20, 0.1))
    assert at_nfe(peer, 15, "rms") == pytest.approx(0.2)
    assert at_nfe(peer, 30, "rms") == pytest.approx(0.1) and at_nfe(peer, 9, "rms") is None
    assert at_nfe(peer, 15, "psnr") == pytest.approx(-0.25)
    assert nfe_for(peer, 0.2) == pytest.approx(15) and nfe_for(peer, 0.05) is None


def test_a_setting_that_needs_less_and_is_better_takes_a_worse_ones_place():
    assert at_nfe(points((10, 0.1), (12, 0.4), (20, 0.1)), 12, "rms") == pytest.approx(0.1)


def test_the_best_peer_is_none_of_ours_nor_the_uncached_run():
    methods = {
        "uncached": points((5, 0.0)), "SenCache, hold": points((5, 0.01)),
        "EasyCache": points((10, 0.3)), "TeaCache": points((10, 0.2)), "Late": points((20, 0.1)),
    }  # fmt: skip
    assert best_peer(methods, 10, "rms") == ("TeaCache", pytest.approx(0.2))
    assert best_peer(methods, 5, "rms") is None


def judged_points(ours: tuple[float, float], peer: tuple[float, float]) -> str:
    """Write the page of one setting of ours, 25 of 50, beside a peer; each has rms and worst clip."""
    both = [
        {**METRICS, "setting": "s", "nfe": 25.0, "rms": rms, "worst_rms": worst, "worst_psnr": 30.0}
        | {"p10_psnr": 35.0, "distance": 0.5}
        for rms, worst in (ours, peer)
    ]
    found = {("wan", "euler", 5.0, 50): {"SenCache": both[:1], "fewer steps": both[1:]}}
    return results_page.page(found, {}, "mine", 16)


def test_the_page_marks_each_bar_that_is_missed():
    kept = judged_points((0.010, 0.02), (0.031, 0.02))
    assert "best peer's; below a quarter no worse | 1 of 1 |" in kept
    assert "| 0.0100 / 0.0310 (fewer steps) | 0.32 | 0.0200 / 0.0200 (fewer steps) |" in kept
    missed = judged_points((0.011, 0.03), (0.031, 0.02))
    assert "no worse | 0 of 1 |" in missed and "fewer steps | 0 of 1 |" in missed
    assert "| **0.35** | **0.0300 / 0.0200 (fewer steps)** |" in missed


def test_the_comparisons_page_is_what_its_file_says():
    rows, about = read_rows(COMPARISON)
    text = results_page.page(*from_rows(rows), **about)
    assert text.encode() == (BENCHMARKS / "comparison.md").read_bytes()


def test_the_readmes_table_is_what_the_comparisons_file_says():
    rows, _ = read_rows(COMPARISON)
    table = "\n".join(results_page.short_table(from_rows(rows)[0]))
    assert table in (TESTS.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "file", [*sorted(COMPATIBILITY.glob("*.json")), COMPARISON], ids=lambda file: file.stem
)
def test_a_file_of_rows_is_what_writing_its_rows_again_gives(file, tmp_path):
    rows, about = read_rows(file)
    write_rows(tmp_path / "again.json", rows, **about)
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
