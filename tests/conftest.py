"""Makes the pack importable as `sencache` without ComfyUI, and finds the host for the tests that need it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)
