"""The GPU benchmark's script, on a CPU and at shapes of seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def test_small_shapes_are_measured_and_written(tmp_path: Path, host: object) -> None:
    subprocess.run([sys.executable, str(SCRIPT), "--small", "--out", str(tmp_path)], check=True)
    (model,) = json.loads((tmp_path / "gpu.json").read_text())["models"].values()
    runs = model["runs"]
    assert not model["left_out"]
    assert [name for name, run in runs.items() if run["error"]] == []
    assert runs["unpatched"]["nfe"] == runs["measuring"]["nfe"] == 8
    for name in ("SenCache", "SenCache, cache_device cpu", "offloaded: SenCache", "fp8 weights: SenCache"):
        assert runs[name]["nfe"] == 4, name
    assert runs["EasyCache"]["seconds"] > 0
    assert runs["measuring"]["identical"]
    assert model["small"]["epsilon 0"]["identical"]
    assert not model["small"]["planned"]["identical"]
    page = (tmp_path / "gpu.md").read_text()
    assert "| SenCache | 4 of 8 |" in page
