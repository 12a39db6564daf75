"""What reuse and calibration cost, on the tiny models in ComfyUI: `python tests/benchmarks/costs.py`.

Writes `results/costs.json` and `.md`: how far tables from 8 and from 64 samples agree, the time of a decision
and of a reused step beside a computed one at three latent sizes, and the memory held between steps at real
shapes.
Run it with nothing beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / name) for name in ("benchmarks", "tiny", "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy_host import start_host  # noqa: E402
from sencache.caching.config import SenCacheConfig  # noqa: E402
from sencache.calibration.table import SensitivityTable  # noqa: E402
from tiny_models import MODELS, TinyModel, sampler_object  # noqa: E402
from tqdm import tqdm  # noqa: E402

CURVES = ("latent_sensitivity", "time_sensitivity", "alignment", "latent_drift")
CALIBRATION_STEPS = 20
FEW, MANY = 8, 64
ENLARGED = (1, 2, 4)  # times as high and wide
STEPS = 12
MIB = 2**20


def agreement(few: SensitivityTable, many: SensitivityTable) -> dict[str, float]:
    """Return the correlation of every mean curve, and of the planned errors of one-step windows."""
    found = {name: float(np.corrcoef(few.mean(name), many.mean(name))[0, 1]) for name in CURVES}
    times = few.modes.timestep.tolist()
    bends = []
    for table in (few, many):
        columns = table.modes.guided(times, 5.0)
        bends.append((columns[2:] - 2 * columns[1:-1] + columns[:-2]).norm(dim=1).log().numpy())
    found["log forecast error"] = float(np.corrcoef(*bends)[0, 1])
    return found


def calibration(nodes: ModuleType, tiny: TinyModel) -> dict[str, Any]:
    """Measure a model on 8 samples, and on 56 more; count the evaluations."""
    from sencache.calibration.table import merge
    from sencache.nodes.calibrate import SenCacheCalibrate

    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    own = None if "euler" in tiny.samplers else sampler_object(nodes, tiny.samplers[0])
    model, tables = tiny.load(nodes), []
    for samples, seed in ((FEW, 5000), (MANY - FEW, 6000)):
        output = SenCacheCalibrate.execute(
            model,
            tiny.conditioning(2),
            tiny.empty_latent(),
            CALIBRATION_STEPS,
            "euler",
            "simple",
            samples,
            5.0,
            seed,
            f"costs {samples}",
            tiny.conditioning(0),
            own,
        )
        tables.append(output.args[0])
    evaluations = CALIBRATION_STEPS + 2 * (CALIBRATION_STEPS - 1)
    return {
        "agreement": agreement(tables[0], merge(*tables)),
        "evaluations_per_step": evaluations / CALIBRATION_STEPS,
    }


def overhead(nodes: ModuleType, tiny: TinyModel, enlarged: int) -> dict[str, float]:
    """Time computed and reused steps, and the decision within them, at a larger latent; medians, cfg 5."""
    import comfy.samplers
    from sencache.caching.run import SamplingRun
    from sencache.nodes.automatic import Chosen
    from sencache.nodes.host.wrappers import Patch
    from sencache.nodes.tables.choice import file_choice

    batch, channels, frames, height, width = tiny.latent_shape
    shape = (batch, channels, frames, height * enlarged, width * enlarged)
    config = SenCacheConfig(epsilon=100.0, speed_up=10.0, max_reuse=31)
    patch = Patch(config, Chosen(file_choice(f"{tiny.name}.safetensors")))
    model = patch.apply(tiny.load(nodes))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    decisions: list[float] = []

    begin = SamplingRun.begin

    def timed_begin(self: SamplingRun, *args: Any) -> Any:
        began = time.perf_counter()
        decision = begin(self, *args)
        if decision.reuse:
            decisions.append(time.perf_counter() - began)
        return decision

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning(2), tiny.conditioning(0))
    guider.set_cfg(5.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    inner = guider.predict_noise

    def predict(x: Any, timestep: Any, model_options: dict, seed: Any = None) -> Any:
        began = time.perf_counter()
        output = inner(x, timestep, model_options, seed)
        run = model_options["transformer_options"]["sencache"].run
        seconds[run.decision.reuse].append(time.perf_counter() - began)
        return output

    guider.predict_noise = predict
    SamplingRun.begin = timed_begin
    try:
        for seed in range(1 if enlarged == ENLARGED[-1] else 3):
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
            sampler = sampler_object(nodes, tiny.samplers[0])
            guider.sample(noise, torch.zeros(shape), sampler, sigmas, disable_pbar=True, seed=seed)
    finally:
        SamplingRun.begin = begin
    computed, reused = (statistics.median(seconds[kind]) for kind in (False, True))
    return {
        "elements": float(math.prod(shape)),
        "computed_ms": 1000 * computed,
        "reused_share": reused / computed,
        "decision_share": statistics.median(decisions) / computed,
    }


def held_memory() -> list[dict[str, Any]]:
    """Work out what each method holds between steps for Wan 2.1 14B at 832x480 and 81 frames."""
    import comfy.ldm.wan.model as wan
    import comfy.ops

    latent = torch.empty(1, 16, 21, 60, 104, device="meta", dtype=torch.float32)
    network = wan.WanModel(
        model_type="t2v",
        dim=5120,
        ffn_dim=13824,
        num_heads=40,
        num_layers=40,
        device="meta",
        dtype=torch.bfloat16,
        operations=comfy.ops.disable_weight_init,
    )
    tokens = network.patch_embedding(latent).flatten(2).bfloat16()
    output, hidden = (one.numel() * one.element_size() for one in (latent, tokens))
    branches = 2
    return [
        {
            "method": "SenCache: two outputs and a residual a branch, and one latent, at most",
            "bytes": (3 * branches + 1) * output,
        },
        {
            "method": "SenCache, forecast hold: one output a branch and one latent",
            "bytes": (branches + 1) * output,
        },
        {
            "method": "block residuals (TeaCache, MagCache, the authors' code): one a branch",
            "bytes": branches * hidden,
        },
        {
            "method": "Spectrum: up to 16 hidden features a branch",
            "bytes": 16 * branches * hidden,
        },
        {
            "method": "EasyCache: one difference a branch, earlier input and output",
            "bytes": (branches + 2) * output,
        },
        {"method": "LazyCache: one difference, earlier input and output", "bytes": 3 * output},
    ]


def page(results: dict[str, Any]) -> str:
    """Write the results as Markdown."""
    lines = [
        "# What it costs",
        "",
        f"Regenerate with `python tests/benchmarks/costs.py`. Machine: {results['machine']}.",
        "",
        "## Calibration",
        "",
        f"Tables from {FEW} and from {MANY} samples (one prompt, {CALIBRATION_STEPS} steps): correlation of "
        "the mean curves. The authors' scripts spend four evaluations a timestep; ours the sampler's own "
        "(guided) and two.",
        "",
        "| model | " + " | ".join(CURVES) + " | log forecast error | evaluations a step |",
        "|---" * (len(CURVES) + 3) + "|",
    ]
    for name, one in results["calibration"].items():
        cells = " | ".join(f"{value:.4f}" for value in one["agreement"].values())
        lines.append(f"| {name} | {cells} | {one['evaluations_per_step']:.1f} |")
    lines += [
        "",
        "## Time of a reused step and of a decision",
        "",
        "Shares of a computed step (medians, cfg 5).",
        "",
    ]
    lines += [
        "| model | latent elements | computed step, ms | reused step | decision alone |",
        "|---|---|---|---|---|",
    ]
    for name, sizes in results["overhead"].items():
        lines += [
            f"| {name} | {one['elements']:.0f} | {one['computed_ms']:.0f} | {one['reused_share']:.2%} "
            f"| {one['decision_share']:.2%} |"
            for one in sizes
        ]
    lines += [
        "",
        "## Memory held between steps",
        "",
        "Wan 2.1 14B at 832x480 and 81 frames, guided, read off ComfyUI's own module on the meta device: "
        "outputs and latents float32, hidden features bfloat16.",
        "",
        "| method | MiB |",
        "|---|---|",
    ]
    lines += [f"| {one['method']} | {one['bytes'] / MIB:.0f} |" for one in results["memory"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    results: dict[str, Any] = {"calibration": {}, "overhead": {}}
    with tempfile.TemporaryDirectory() as scratch:
        nodes = start_host(Path(scratch))
        from sencache.nodes.tables.files import register_folders

        register_folders()
        with torch.inference_mode(), tqdm(total=len(MODELS) * (len(ENLARGED) + 1)) as bar:
            for tiny in MODELS.values():
                results["overhead"][tiny.name] = []
                for enlarged in ENLARGED:
                    results["overhead"][tiny.name].append(overhead(nodes, tiny, enlarged))
                    bar.update()
                results["calibration"][tiny.name] = calibration(nodes, tiny)
                bar.update()
        results["memory"] = held_memory()
    threads = torch.get_num_threads()
    results["machine"] = f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
    folder = Path(__file__).parent / "results"
    (folder / "costs.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "costs.md").write_text(page(results))


if __name__ == "__main__":
    main()
