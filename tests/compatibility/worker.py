"""One process of the matrix: starts a host, judges the named groups, and prints a JSON row per case."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "tiny")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)

from comfy_host import start_host  # noqa: E402 - its folder has just been put on the path


def main() -> None:
    """Judge a group's cases whose names an expression finds; those on standard input are done already."""
    group, named, done = sys.argv[1], sys.argv[2], set(json.loads(sys.stdin.read() or "[]"))
    with tempfile.TemporaryDirectory() as scratch:
        nodes = start_host(Path(scratch))
        import torch
        from judge import judge
        from sencache.nodes.tables.files import register_folders

        register_folders()
        torch.set_num_threads(1)
        cases = importlib.import_module(group).cases()
        print("CASES " + json.dumps([case.name for case in cases]), flush=True)
        for case in cases:
            if case.name not in done and re.search(named, case.name):
                print("ROW " + json.dumps(judge(case, nodes)), flush=True)
        print("DONE", flush=True)


if __name__ == "__main__":
    main()
