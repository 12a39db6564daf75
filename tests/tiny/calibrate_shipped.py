"""Measures a tiny model with the Calibrate node in the real ComfyUI, for the pack's `tables/`.

`python tests/tiny/calibrate_shipped.py wan` with COMFYUI_PATH set, in ComfyUI's environment.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from comfy_host import start_host  # noqa: E402
from sencache.calibration.rounding import rounded  # noqa: E402
from sencache.calibration.table import merge, save  # noqa: E402
from tiny_models import MODELS, sampler_object  # noqa: E402

FIRST_SEED = 1000
PROMPTS = (1, 5, 8, 12)


def main() -> None:
    """Load the model through ComfyUI's loader node, calibrate on several prompts, and merge the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--samples", type=int, default=8, help="over all prompts")
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        host = start_host(Path(base))
        from sencache.nodes.calibrate import SenCacheCalibrate
        from sencache.nodes.tables import files as table_files

        table_files.register_folders()
        tiny = MODELS[arguments.model]
        model = tiny.load(host)
        own = None if "euler" in tiny.samplers else sampler_object(host, tiny.samplers[0])
        SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
        measured = []
        for index, prompt in enumerate(PROMPTS):
            output = SenCacheCalibrate.execute(
                model,
                tiny.conditioning(prompt),
                tiny.empty_latent(),
                arguments.steps,
                "euler",
                "simple",
                arguments.samples // len(PROMPTS),
                5.0,
                FIRST_SEED + 100 * index,
                tiny.name,
                tiny.conditioning(0),
                own,
                "every step",
            )
            print(output.args[2])
            measured.append(output.args[0])
        save(rounded(functools.reduce(merge, measured)), ROOT / "tables" / f"{tiny.name}.safetensors")


if __name__ == "__main__":
    main()
