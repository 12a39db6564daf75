"""Everything a developer runs: `nox -s demo`, `nox -s tests`, `nox -s lint`.

The sessions install with pip alone, so that pip's own settings (indexes, local wheels) hold. `nox -R` keeps a
session's environment from the last time.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from comfy_host import find_host  # noqa: E402 - its folder has just been put on the path

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "virtualenv"

CPU_TORCH = "torch==2.13.0"
# The set that agrees with itself and with ComfyUI's own requirements, and runs without a graphics card.
HOST_TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
# What ComfyUI brings and the host-free half uses.
RUN_TIME = ("numpy", "scipy", "safetensors", "pillow", "einops")
DEMO_TOOLS = ("matplotlib", "tqdm", "scikit-image")
TEST_TOOLS = ("pytest", "hypothesis", "scikit-image", "kornia>=0.7.1")
HOST_TEST_TOOLS = ("ray",)  # raylight's processes
BROWSER_TOOLS = ("playwright",)  # it drives the system's chromium and downloads none
TYPESCRIPT = "typescript@7"


@nox.session
def demo(session: nox.Session) -> None:
    """Show calibration and reuse on a tiny model, without ComfyUI."""
    session.install(CPU_TORCH, *RUN_TIME, *DEMO_TOOLS)
    session.run("python", "tests/tiny/demo.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test; without ComfyUI the summary says how many were not run."""
    host = _host(session)
    if host is None:
        session.install(CPU_TORCH, *RUN_TIME, *TEST_TOOLS)
        session.run("pytest", *session.posargs)
        return
    _install_host(session, host)
    # The command, not `python -m pytest`: that puts our folder `nodes` before ComfyUI's module of that name.
    session.run("pytest", *session.posargs, env={"COMFYUI_PATH": str(host)})


@nox.session
def browser(session: nox.Session) -> None:
    """Drive the panels in ComfyUI's real frontend; needs ComfyUI and the system's chromium."""
    host = _host(session)
    if host is None:
        session.error("ComfyUI was not found: set COMFYUI_PATH to its folder")
    _install_host(session, host)
    session.install(*BROWSER_TOOLS)
    names = ("panel", "runs", "speed", "trust", "artist", "compare", "first_run", "languages")
    files = [f"tests/e2e/test_browser_{name}.py" for name in names]
    chosen = session.posargs or files
    session.run("pytest", *chosen, env={"COMFYUI_PATH": str(host), "SENCACHE_BROWSER": "1"})


def _install_host(session: nox.Session, host: Path) -> None:
    session.log(f"ComfyUI is in {host}; installing its own requirements, about 6 GB")
    session.install(*HOST_TORCH)
    session.install("-r", str(host / "requirements.txt"), *HOST_TORCH)
    session.install(*TEST_TOOLS, *HOST_TEST_TOOLS)


def _host(session: nox.Session) -> Path | None:
    """Return ComfyUI's folder, or None; stop where it was named or required and isn't there."""
    host = find_host()
    named = os.environ.get("COMFYUI_PATH")
    if host is None and named:
        session.error(f"COMFYUI_PATH is {named}, which isn't ComfyUI's folder: no comfyui_version.py there")
    if host is None and os.environ.get("SENCACHE_REQUIRE_HOST"):
        session.error("ComfyUI was not found, and it is required here: set COMFYUI_PATH to its folder")
    return host


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of everything and the types of what does not need ComfyUI."""
    session.install("ruff==0.17.6", "mypy==2.4.1", *RUN_TIME, "typing_extensions")
    session.install("--no-deps", CPU_TORCH)  # read for its types, never run
    session.run("ruff", "check", ".")
    config, cache = ROOT / "pyproject.toml", ROOT / ".mypy_cache"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sencache").symlink_to(ROOT, target_is_directory=True)
        with session.chdir(folder):
            session.run("mypy", f"--config-file={config}", f"--cache-dir={cache}", env={"MYPYPATH": folder})
    _check_javascript(session)


def _check_javascript(session: nox.Session) -> None:
    """Check the types of the browser's half; npm brings the checker, and without npm the log says so."""
    npm = shutil.which("npm")
    if npm is None:
        session.warn("web/ was not checked: there is no npm")
        return
    place = Path(session.virtualenv.location) / "typescript"
    quiet = ("--no-fund", "--no-audit", "--loglevel=error")
    session.run(npm, "install", *quiet, "--prefix", str(place), TYPESCRIPT, external=True)
    checker = place / "node_modules" / ".bin" / ("tsc.cmd" if os.name == "nt" else "tsc")
    session.run(str(checker), "--project", str(ROOT / "tsconfig.json"), external=True)
