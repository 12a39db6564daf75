"""A function that is sent to a worker by its file's path and its name, not by reference to a module."""

from __future__ import annotations

import operator
import runpy
from pathlib import Path
from typing import Any

BOOTSTRAP = Path(__file__).resolve().with_name("bootstrap.py")


class _Bootstrap:
    """Arrives as what `bootstrap.py` defines."""

    def __reduce__(self) -> tuple[Any, ...]:
        return runpy.run_path, (str(BOOTSTRAP),)


class Sent:
    """Arrives as the function of that name in `bootstrap.py`; raises FileNotFoundError where that is not."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (_Bootstrap(), self.name)
