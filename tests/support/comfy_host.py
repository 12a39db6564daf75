"""Finds ComfyUI and starts it inside this process, on the CPU unless told otherwise."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
TINY_MODELS = ROOT / "tests" / "tiny" / "models"
DEMO_MODEL = ROOT / "demo" / "tiny_wan.safetensors"


def model_file(name: str) -> Path:
    """Return the file of a tiny model, such as `tiny_ltxv`; the Wan one lies with the demo."""
    return DEMO_MODEL if DEMO_MODEL.stem == name else TINY_MODELS / f"{name}.safetensors"


def find_host() -> Path | None:
    """Return ComfyUI's folder: COMFYUI_PATH, else where the pack is installed, else comfy-cli's default."""
    named = os.environ.get("COMFYUI_PATH")
    candidates = [Path(named)] if named else [ROOT.parent.parent, Path.home() / "comfy" / "ComfyUI"]
    return next((path.resolve() for path in candidates if (path / "comfyui_version.py").is_file()), None)


def start_host(base: Path, options: Sequence[str] = ("--cpu",)) -> ModuleType:
    """Start ComfyUI without a server and return its `nodes` module; models and outputs live under `base`.

    `options` are those of its command line.
    """
    host = find_host()
    if host is None:
        raise RuntimeError("ComfyUI was not found: set COMFYUI_PATH to its folder.")
    sys.path.insert(0, str(host))
    sys.argv = ["main.py", *options, "--base-directory", str(base)]
    importlib.import_module("comfy.options").enable_args_parsing()
    importlib.import_module("utils.install_util")  # older hosts: before anything imports another `utils`
    nodes = importlib.import_module("nodes")
    server = importlib.import_module("server")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    folder_paths = importlib.import_module("folder_paths")
    for folder in (TINY_MODELS, DEMO_MODEL.parent):
        folder_paths.add_model_folder_path("diffusion_models", str(folder))
    return nodes
