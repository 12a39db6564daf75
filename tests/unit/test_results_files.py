"""The results pages are what their files of rows say, to the byte."""

from __future__ import annotations

from pathlib import Path

import page
import pytest
import results_page
from comparison_points import from_rows, keep_others, points_of, rows_of
from rows import read_rows, write_rows

TESTS = Path(__file__).resolve().parents[1]
COMPATIBILITY, BENCHMARKS = TESTS / "compatibility" / "results", TESTS / "benchmarks" / "results"
COMPARISON = BENCHMARKS / "comparison.json"
WAY = {"model": "wan", "sampler": "euler", "cfg": 5.0, "steps": 50}
METRICS = {"psnr": 40.0, "ssim": 0.9, "ms_ssim": 0.9, "lpips": 0.1, "temporal": 0.2}
RUN = {"nfe": 9, "evaluations": 12, "honest": True, "finite": True, "identical": False, "psnr": 64.25918}
EXACT = {**RUN, "nfe": 12, "identical": True, "psnr": None}


def judged(outcome: str = "ok", **runs: dict) -> dict:
    return {"group": "Guiders", "name": "CFG", "outcome": outcome, "text": "why", "epsilon": 0.01, **runs}


def test_rows_are_a_line_each_and_come_back_as_they_were(tmp_path):
    rows = [{"name": "a", "default": [9, 12, None]}, {"name": "b"}]
    write_rows(tmp_path / "rows.json", rows, machine="mine")
    assert (tmp_path / "rows.json").read_text().splitlines() == [
        '{"machine": "mine", "rows": [',
        '{"name": "a", "default": [9, 12, null]},',
        '{"name": "b"}',
        "]}",
    ]
    assert read_rows(tmp_path / "rows.json") == (rows, {"machine": "mine"})


def test_no_rows_make_a_file_too(tmp_path):
    write_rows(tmp_path / "rows.json", [])
    assert read_rows(tmp_path / "rows.json") == ([], {})


def test_of_a_case_is_kept_what_the_page_needs():
    head = {"file": "guidance", "group": "Guiders", "name": "CFG"}
    passed = page.kept("guidance", judged(zero=EXACT, default=RUN, half=EXACT))
    assert passed == {
        **head, "outcome": "ok", "exact": True, "default": [9, 12, 64.2592], "half": [12, 12, None],
    }  # fmt: skip
    lacking = page.kept("guidance", judged("host lacks it"))
    assert lacking == {**head, "outcome": "host lacks it", "text": "why"}
    failed = page.kept("guidance", judged("failed", zero=RUN, default=RUN))
    assert failed == {**head, "outcome": "failed", "exact": False, "default": [9, 12, 64.2592], "text": "why"}


def test_a_failed_case_is_counted_and_shown_with_its_numbers(tmp_path):
    row = page.kept("guidance", judged("failed", zero=RUN, default=RUN))
    assert page.write_page({"1.0": [row]}, tmp_path / "page.md") == 1
    assert "| CFG | **failed**: **not exact** | 9 of 12, 64.3 dB |  |" in (tmp_path / "page.md").read_text()


def test_the_compatibility_page_is_what_its_files_say(tmp_path):
    hosts = {file.stem: read_rows(file)[0] for file in COMPATIBILITY.glob("*.json")}
    assert len(hosts) == 3 and page.write_page(hosts, tmp_path / "page.md") == 0
    assert (tmp_path / "page.md").read_bytes() == (COMPATIBILITY / "compatibility.md").read_bytes()


def measured(method: str, seconds: float, psnr: float) -> dict:
    """Two clips of a setting, the second one 10 dB worse and one evaluation more than was planned."""
    clips = [
        {**METRICS, "psnr": value, "nfe": nfe, "evaluations": 50, "seconds": seconds, "planned": 20}
        for value, nfe in ((psnr, 20.0), (psnr - 10, 25.0))
    ]
    return {"method": method, "setting": {"label": "s"}, "distance": 0.5, "clips": clips}


def test_a_point_is_the_mean_of_its_clips_with_the_worst_and_the_share_of_the_time():
    rows = [measured("uncached", 4.0, 60.0), measured("SenCache", 1.0, 50.0)]
    found, _ = points_of([{**WAY, "rows": rows}])
    [point] = found["wan", "euler", 5.0, 50]["SenCache"]
    assert point == pytest.approx(
        {**METRICS, "setting": "s", "nfe": 22.5, "psnr": 45.0, "worst_psnr": 40.0, "distance": 0.5}
        | {"time": 0.25, "plan_error": 0.1}
    )


def test_points_and_what_did_not_run_come_back_from_their_rows():
    rows = [measured("uncached", 4.0, 60.0), {"method": "TeaCache", "not_running": "no\nreason" * 40}]
    found, missing = points_of([{**WAY, "rows": rows}])
    assert from_rows(rows_of(found, missing)) == (found, missing)


def test_an_earlier_comparison_gives_what_was_not_measured_anew():
    new, old = ({**WAY, "rows": [measured(*one) for one in ours]} for ours in (
        [("uncached", 4.0, 60.0), ("SenCache", 1.0, 50.0)],
        [("uncached", 8.0, 59.0), ("SenCache", 1.0, 30.0), ("EasyCache", 4.0, 35.0)],
    ))  # fmt: skip
    found, missing = points_of([new])
    keep_others(found, missing, points_of([old]))
    [methods] = found.values()
    assert {name: (one["time"], one["psnr"]) for name, [one] in methods.items()} == {
        "uncached": (1.0, 55.0), "SenCache": (0.25, 45.0), "EasyCache": (0.5, 30.0),
    }  # fmt: skip


def test_the_comparisons_page_is_what_its_file_says():
    rows, about = read_rows(COMPARISON)
    text = results_page.page(*from_rows(rows), **about)
    assert text.encode() == (BENCHMARKS / "comparison.md").read_bytes()


@pytest.mark.parametrize(
    "file", [*sorted(COMPATIBILITY.glob("*.json")), COMPARISON], ids=lambda file: file.stem
)
def test_a_file_of_rows_is_what_writing_its_rows_again_gives(file, tmp_path):
    rows, about = read_rows(file)
    write_rows(tmp_path / "again.json", rows, **about)
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
