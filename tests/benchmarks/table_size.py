"""Measures what rounding does to tables: `python tests/benchmarks/table_size.py TABLE...` (unrounded files).

Prints each table's size as a file and as text in a workflow, before and after `calibration/rounding.py`, and
over many settings how many plans differ. Needs ComfyUI.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_host import start_host  # noqa: E402
from host_inputs import panel_answer  # noqa: E402
from sencache.calibration import table as tables  # noqa: E402
from sencache.calibration.rounding import rounded  # noqa: E402
from sencache.nodes.tables.embedded import to_text  # noqa: E402

STEPS, CFGS, SAMPLERS = (8, 12, 20, 30, 50), (1.0, 5.0), ("euler", "uni_pc", "dpmpp_2m")
RUNS = [{"epsilon": 0.005}, {"epsilon": 0.01}, {"epsilon": 0.03}, *({"speed_up": x} for x in (2.0, 3.0, 4.0))]


def compare(name: str, table: tables.SensitivityTable, folder: Path) -> None:
    """Print one table's row."""
    files = {"before.safetensors": table, "after.safetensors": rounded(table)}
    sizes = []
    for file, one in files.items():
        tables.save(one, folder / file)
        sizes += [(folder / file).stat().st_size, len(to_text(one, f"{name}.safetensors"))]
    differ, evaluations, errors = 0, 0, []
    settings = list(itertools.product(STEPS, CFGS, SAMPLERS, RUNS))
    for steps, cfg, sampler, run in settings:
        sampling = {"steps": steps, "cfg": cfg, "sampler": sampler, "scheduler": "simple"}
        asked = {"settings": run, "sampling": sampling}
        plans = [panel_answer({**asked, "tables": [file]}) for file in files]
        before, after = ([cell["reuse"] for cell in plan["cells"]] for plan in plans)
        differ += before != after
        evaluations += abs(plans[0]["nfe"] - plans[1]["nfe"])
        if plans[0]["predicted_error"]:
            errors.append(abs(plans[1]["predicted_error"] / plans[0]["predicted_error"] - 1))
    errors.sort()
    print(
        f"| {name} | {sizes[0]} | {sizes[1]} | {sizes[3]} | {differ} of {len(settings)} | {evaluations} "
        f"| {100 * errors[len(errors) // 2]:.2f} %, {100 * errors[-1]:.2f} % |"
    )


def main() -> None:
    """Compare the tables named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        start_host(Path(base))
        from sencache.nodes.tables import files as table_files

        table_files.register_folders()
        folder = table_files.save_target("before").path.parent
        print("| table | file | text before | text | other plans | evaluations | error, median and most |")
        print("|---|---|---|---|---|---|---|")
        for path in arguments.tables:
            compare(path.stem, tables.load(path), folder)


if __name__ == "__main__":
    main()
