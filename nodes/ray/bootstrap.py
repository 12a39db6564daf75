"""Run by its path in a worker: makes the pack importable there, under a name of its own.

ComfyUI names the pack's modules by their path, and no other process has modules of such names.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

NAME = "sencache_in_worker"

if NAME not in sys.modules:
    package = ModuleType(NAME)
    package.__path__ = [str(Path(__file__).resolve().parents[2])]
    sys.modules[NAME] = package

_worker = importlib.import_module(f"{NAME}.nodes.ray.worker")
patch = _worker.patch
unpatch = _worker.unpatch
report = _worker.report
