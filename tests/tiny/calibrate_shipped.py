"""Measures a tiny model with the Calibrate node in the real ComfyUI, and puts the table where the pack ships it.

`python tests/tiny/calibrate_shipped.py tiny_wan` with COMFYUI_PATH set, in ComfyUI's environment.
"""

from __future__ import annotations

import argparse
import shutil
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
from host_inputs import conditioning, empty_latent  # noqa: E402

FIRST_SEED = 1000
PROMPT = 2


def main() -> None:
    """Load the model through ComfyUI's loader node, calibrate, and copy the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a file in tests/tiny/models, without its ending")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        host = start_host(Path(base))
        from sencache.nodes import table_files
        from sencache.nodes.calibrate import SenCacheCalibrate

        table_files.register_folders()
        model = host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet(f"{arguments.model}.safetensors", "default")[0]
        SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
        output = SenCacheCalibrate.execute(
            model,
            conditioning(PROMPT),
            empty_latent(),
            arguments.steps,
            "euler",
            "simple",
            arguments.samples,
            5.0,
            FIRST_SEED,
            arguments.model,
            conditioning(0),
        )
        target = table_files.save_target(arguments.model)
        shutil.copyfile(target.path, ROOT / "tables" / target.name)
        print(output.args[2])


if __name__ == "__main__":
    main()
