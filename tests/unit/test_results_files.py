"""The results pages are what their files of rows say, to the byte."""

from __future__ import annotations

from pathlib import Path

import page
import pytest
from rows import read_rows, write_rows

TESTS = Path(__file__).resolve().parents[1]
COMPATIBILITY = TESTS / "compatibility" / "results"
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


@pytest.mark.parametrize("file", sorted(COMPATIBILITY.glob("*.json")), ids=lambda file: file.stem)
def test_a_file_of_rows_is_what_writing_its_rows_again_gives(file, tmp_path):
    rows, about = read_rows(file)
    write_rows(tmp_path / "again.json", rows, **about)
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
