"""What may import what, and what the pack never does: read off its source, not by importing it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server", "execution"}
LIST_SAMPLERS = ("nodes/calibrate.py", "nodes/panel/question.py")  # those of KSampler
SOURCES = {
    path.relative_to(ROOT): ast.parse(path.read_text(), str(path))
    for folder in ("calibration", "caching", "pictures", "nodes", "demo")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
SOURCES[Path("__init__.py")] = ast.parse((ROOT / "__init__.py").read_text())


def imports(path: Path, tree: ast.Module) -> set[str]:
    """Return every module that a file imports anywhere in it; this pack's own begin with a dot."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = path.parent.parts
                assert node.level <= len(package) + 1, f"{path}:{node.lineno} reaches outside the pack"
                base = [*package[: len(package) + 1 - node.level], *filter(None, [node.module])]
                start = "." + ".".join(base)
            else:
                start = node.module
            found |= {f"{start.rstrip('.')}.{alias.name}" for alias in node.names} | {start}
    return found


def begins(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def importers(*names: str, within: str = "") -> dict[str, list[str]]:
    """Return the files in a folder that import any of these modules, with what they import of them."""
    found = {
        str(path): sorted(module for module in imports(path, tree) if begins(module, *names))
        for path, tree in SOURCES.items()
        if path.as_posix().startswith(within)
    }
    return {path: modules for path, modules in found.items() if modules}


def forbidden_calls(tree: ast.Module) -> list[str]:
    """Return the calls that run foreign code or write past the log."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "eval", "exec", "compile", "__import__", "torch.load", "os.system"):
            found.append(called)
        if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
            found.append("allow_pickle")
    return found


def test_every_folder_of_the_pack_is_read():
    folders = {path.parts[0] for path in SOURCES}
    assert folders == {"calibration", "caching", "pictures", "nodes", "demo", "__init__.py"}
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= folders | {"tests"}
    assert len(SOURCES) >= 25


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import comfy.utils", {"comfy.utils"}),
        ("def f():\n    from folder_paths import models_dir", {"folder_paths", "folder_paths.models_dir"}),
        ("from ..calibration.table import load", {".calibration.table", ".calibration.table.load"}),
        ("from ..calibration import table", {".calibration", ".calibration.table"}),
        ("from .. import nodes", {".", ".nodes"}),
        ("from . import policy", {".caching", ".caching.policy"}),
    ],
)
def test_imports_are_found_wherever_and_however_they_are_written(source, expected):
    assert imports(Path("caching/run.py"), ast.parse(source)) == expected


def test_an_import_from_beyond_the_pack_is_refused():
    with pytest.raises(AssertionError, match="outside the pack"):
        imports(Path("caching/run.py"), ast.parse("from ...other import thing"))


def test_only_nodes_imports_the_host():
    found = importers(*HOST)
    assert found and {Path(path).parts[0] for path in found} == {"nodes"}


def test_only_nodes_host_knows_wrappers_samplers_and_parameterisations():
    inner = ("comfy.patcher_extension", "comfy.samplers", "comfy.sample", "comfy.model_sampling")
    found = {path: modules for path, modules in importers(*inner).items() if "nodes/host" not in path}
    assert found == {name: ["comfy.samplers"] for name in LIST_SAMPLERS}


def test_nodes_host_knows_no_table_files_and_no_node():
    """What an artist sees, the panel and the tables build on it; the run's live strip alone is told of it."""
    found = {module for one in importers(".nodes", within="nodes/host").values() for module in one}
    outside = {module for module in found if not begins(module, ".nodes.host", ".nodes.refusals")}
    assert all(begins(module, ".nodes.panel.live") for module in outside), outside


def test_nothing_imports_the_hosts_network_code():
    assert importers("comfy.ldm") == {}


@pytest.mark.parametrize("folder", ["calibration", "caching", "demo"])
def test_the_mathematics_knows_neither_nodes_nor_pictures_nor_what_draws_them(folder):
    assert importers(".nodes", ".pictures", "PIL", within=folder) == {}


def test_calibration_knows_nothing_of_caching():
    assert importers(".caching", within="calibration") == {}


def test_caching_knows_only_the_table_of_calibration():
    found = {module for modules in importers(".calibration", within="caching").values() for module in modules}
    assert ".calibration.table" in found
    assert all(begins(module, ".calibration.table") for module in found)


def test_planning_lies_below_the_rest_of_caching():
    found = {module for one in importers(".caching", within="caching/planning").values() for module in one}
    below = [f".caching.{name}" for name in ("tuned", "forecast", "planning")]
    assert found and {module for module in found if not begins(module, *below)} == {".caching"}
    assert importers(".calibration", within="caching/planning") == {}


def test_a_run_knows_policy_alone():
    """Which rule is at work, and how it plans, a run does not know."""
    rules = ("config", "planned", "threshold", "planning", "rules", "simulate", "tuned", "remarks")
    names = [f".caching.{name}" for name in rules]
    assert not any(importers(*names, within=f"caching/{name}.py") for name in ("run", "branch"))


def test_pictures_know_nothing_of_nodes():
    assert importers(".nodes", within="pictures") == {}


def test_no_module_imports_the_pack_by_a_name_or_as_top_level():
    own = ("sencache", "calibration", "caching", "pictures", "nodes", "tests")
    assert importers(*own) == {}
    assert importers(".tests") == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print(1)", ["print"]),
        ("x = eval('1')", ["eval"]),
        ("import torch\ntorch.load('x')", ["torch.load"]),
        ("np.load(f, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(f, allow_pickle=False)", []),
        ("model.eval()\nsafetensors.torch.load(b'')", []),
    ],
)
def test_forbidden_calls_are_told_from_harmless_ones(source, expected):
    assert forbidden_calls(ast.parse(source)) == expected


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_file_prints_or_runs_what_it_reads(path):
    assert forbidden_calls(SOURCES[path]) == []
    assert importers("pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "subprocess") == {}


def test_the_requirements_leave_torch_to_the_host():
    requirements = ROOT / "requirements.txt"
    lines = requirements.read_text().splitlines() if requirements.exists() else []
    names = [line.split("#")[0].strip().lower() for line in lines]
    assert not [name for name in names if name.startswith("torch")]
