"""A process that measures the tiny Wan alone, waits for a line, and measures it under a shared name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests" / name) for name in ("support", "tiny")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules.setdefault("sencache", package)

import torch  # noqa: E402
from comfy_host import start_host  # noqa: E402 - its folder has just been put on the path


def main(base: str, seed: int, samples: int, name: str) -> None:
    """Leave `alone SEED.safetensors` and `together SEED.safetensors` in `base`, whose `models` are shared."""
    nodes = start_host(Path(base))
    from host_inputs import conditioning
    from sencache.calibration import table as tables
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.host import calibration, coverage
    from sencache.nodes.tables import files as table_files

    calibration.LEAST_STEPS, coverage.PARTS = 2, 3  # few evaluations, as in test_calibrate_twice.py
    table_files.register_folders()
    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    model = nodes.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]

    def calibrate(table_name: str) -> tables.SensitivityTable:
        latent = {"samples": torch.zeros(1, 16, 2, 8, 8)}
        settings = (3, "euler", "simple", samples, 5.0, seed, table_name)
        return SenCacheCalibrate.execute(model, conditioning(2), latent, *settings, conditioning(0)).args[0]

    calibrate(f"alone {seed}")
    shutil.move(table_files.save_target(f"alone {seed}").path, base)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    tables.save(calibrate(name), Path(base) / f"together {seed}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
