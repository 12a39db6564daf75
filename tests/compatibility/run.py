"""Walks everything that ComfyUI can do with a model, with our nodes in it, and writes the results page.

    python tests/compatibility/run.py --hosts FOLDER [FOLDER ...]

Each folder is a ComfyUI; the environment must hold its requirements. Interrupted, it goes on from the
finished cases when called again; `--again` judges those anew. Writes `results/<version>.json` per host, a
line for each case, and `results/compatibility.md`. Where a case failed, prints its whole row and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "support")]

from page import Row, kept, write_page  # noqa: E402
from rows import read_rows, write_rows  # noqa: E402 - its folder has just been put on the path
from tqdm import tqdm  # noqa: E402

RESULTS = HERE / "results"
GROUPS = ("architectures", "guidance", "conditioning", "handling", "every_sampler")


def version_of(host: Path) -> str:
    """Return a ComfyUI's version."""
    found = re.search(r'__version__ = "(.+)"', (host / "comfyui_version.py").read_text())
    if found is None:
        raise ValueError(f"{host.name} holds no ComfyUI version")
    return found.group(1)


def walk(host: Path, group: str, named: str, rows: dict[str, Row], file: Path) -> bool:
    """Judge a group's open cases in a process of its own, keeping every row; tell whether it ended.

    A case that is judged anew stays where it is in the file.
    """
    done = [row["name"] for row in rows.values() if row["file"] == group and not row.get("again")]
    command = [sys.executable, str(HERE / "worker.py"), group, named]
    environment = {**os.environ, "COMFYUI_PATH": str(host), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(done))
        process.stdin.close()
        finished = False
        for line in tqdm(process.stdout, desc=f"{version_of(host)} {group}", unit="case"):
            finished |= line.startswith("DONE")
            if line.startswith("CASES "):
                names = json.loads(line[6:])
                gone = [row for row in rows.values() if row["file"] == group and row["name"] not in names]
                for row in gone:
                    del rows[f"{row['group']}: {row['name']}"]
            if line.startswith("ROW "):
                row = kept(group, json.loads(line[4:]))
                rows[f"{row['group']}: {row['name']}"] = row
                if row["outcome"] == "failed":
                    tqdm.write(line[4:])
                write_rows(file, ({key: one[key] for key in one if key != "again"} for one in rows.values()))
    return finished


def load(file: Path) -> dict[str, Row]:
    """Load the rows that are there already."""
    rows = read_rows(file)[0] if file.exists() else []
    return {f"{row['group']}: {row['name']}": row for row in rows}


def main() -> None:
    """Judge what is open on every host, then write the page of all hosts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hosts", nargs="+", type=Path, default=[], help="ComfyUI folders; none: only the page"
    )
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--named", default="", help="only cases whose names this regular expression finds")
    parser.add_argument("--again", action="store_true", help="judge these cases anew")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    broken = []
    for host in arguments.hosts:
        file = RESULTS / f"{version_of(host)}.json"
        rows = load(file)
        if arguments.again:
            for row in rows.values():
                found = re.search(arguments.named, row["name"]) is not None
                row["again"] = found and row["file"] in arguments.groups
        for group in arguments.groups:
            broken += [] if walk(host.resolve(), group, arguments.named, rows, file) else [group]
    hosts = {file.stem: list(load(file).values()) for file in RESULTS.glob("*.json")}
    failed = write_page(hosts, RESULTS / "compatibility.md")
    for name in broken:
        print(f"{name} did not come to its end")
    sys.exit(1 if failed or broken else 0)


if __name__ == "__main__":
    main()
