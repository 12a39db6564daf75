"""The main job on the embedded tiny model: calibrate, sample with and without reuse, compare.

`nox -s demo`, or `python tests/tiny/demo.py --out demo_output`. Needs no ComfyUI, no GPU and no download.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import matplotlib  # noqa: E402

matplotlib.use("Agg")

from embedded import MODEL, calibrate_sample, sample  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from quality import frames, psnr, ssim  # noqa: E402
from sencache.caching.config import SenCacheConfig  # noqa: E402
from sencache.calibration.estimator import EXTRA_EVALUATIONS, Calibration  # noqa: E402
from sencache.calibration.table import SensitivityTable, save  # noqa: E402
from sencache.demo.clip import PROMPTS  # noqa: E402
from sencache.pictures.curves import draw_table  # noqa: E402
from torch import Tensor  # noqa: E402
from tqdm import tqdm  # noqa: E402
from wan_model import TinyWan  # noqa: E402

STEPS, CFG = 50, 5.0
CALIBRATION_SEED, CALIBRATION_PROMPTS = 1000, (1, 5, 8, 12)
CASES = ((4, 1), (6, 2), (9, 3), (13, 4))  # prompt, seed: none calibrated on; the first is a hard one
PAPER = {"rule": "paper", "forecast": "hold", "max_reuse": 3, "strict_percent": 0.2, "strict_epsilon": 0.01}
FEWER = (25, 16, 12, 8)
PAPER_EPSILONS = (0.1, 0.2, 0.4, 0.8)
OUR_SPEED_UPS = (2.0, 3.0, 4.0, 6.25)
SECONDS_PER_FRAME = 0.12


@dataclass(slots=True)
class Row:
    """One setting's results over all cases."""

    method: str
    setting: str
    nfe: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)  # rms of the latent, whose own is about 1
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)

    @property
    def rms(self) -> float:
        """The rms error over all cases."""
        return math.sqrt(statistics.mean(error**2 for error in self.errors))


def calibrate(model: TinyWan, samples: int) -> SensitivityTable:
    """Measure the model on its own trajectories, with a progress bar."""
    calibration = Calibration(samples, {"model": "tiny Wan 2.1", "source": "own trajectories"})
    total = samples * (STEPS + EXTRA_EVALUATIONS * (STEPS - 1))
    with tqdm(total=total, desc="calibrating", unit="evaluation") as bar:
        for index in range(samples):
            prompt = CALIBRATION_PROMPTS[index % len(CALIBRATION_PROMPTS)]
            seed = CALIBRATION_SEED + index
            calibration.add(calibrate_sample(model, prompt, seed, STEPS, CFG, lambda: bar.update(1)))
    assert calibration.finished is not None
    return calibration.finished


def settings(
    table: SensitivityTable,
) -> list[tuple[str, str, Callable[[TinyWan, int, int], tuple[Tensor, int]]]]:
    """List what is compared: method, setting, and how to sample a clip with its count of evaluations."""

    def fewer(steps: int) -> Callable[[TinyWan, int, int], tuple[Tensor, int]]:
        return lambda model, prompt, seed: (sample(model, prompt, seed, steps, CFG)[0], steps)

    def reuse(config: SenCacheConfig) -> Callable[[TinyWan, int, int], tuple[Tensor, int]]:
        def run(model: TinyWan, prompt: int, seed: int) -> tuple[Tensor, int]:
            latent, record = sample(model, prompt, seed, STEPS, CFG, config, table)
            assert record is not None
            return latent, record.nfe

        return run

    return [
        ("uncached", f"{STEPS} steps", fewer(STEPS)),
        *(("fewer steps", f"{steps} steps", fewer(steps)) for steps in FEWER),
        *(
            ("paper's rule", f"epsilon {epsilon:g}", reuse(SenCacheConfig(epsilon=epsilon, **PAPER)))
            for epsilon in PAPER_EPSILONS
        ),
        *(
            ("SenCache", f"speed-up {speed_up:g}", reuse(SenCacheConfig(speed_up=speed_up)))
            for speed_up in OUR_SPEED_UPS
        ),
    ]


def compare(model: TinyWan, table: SensitivityTable) -> list[Row]:
    """Sample every case with every setting; the first setting is the reference."""
    chosen = settings(table)
    rows = [Row(method, setting) for method, setting, _ in chosen]
    with tqdm(total=len(chosen) * len(CASES), desc="sampling", unit="clip") as bar:
        for prompt, seed in CASES:
            for row, (_, _, run) in zip(rows, chosen, strict=True):
                began = time.perf_counter()
                latent, nfe = run(model, prompt, seed)
                row.seconds.append(time.perf_counter() - began)
                row.latents.append(latent)
                row.nfe.append(nfe)
                reference = rows[0].latents[-1]
                row.errors.append(float((latent - reference).square().mean().sqrt()))
                row.psnr.append(psnr(latent, reference))
                row.ssim.append(ssim(latent, reference))
                bar.update(1)
    return rows


def table_text(rows: list[Row]) -> str:
    """Lay the results out as a table: errors of the latent, then means; seconds are medians."""
    base = statistics.median(rows[0].seconds)
    lines = [
        f"{'method':<14}{'setting':<16}{'NFE':>6}{'fewer NFE':>11}{'faster':>9}{'rms':>9}{'worst':>9}"
        f"{'SSIM':>9}{'PSNR dB':>9}",
    ]
    for row in rows:
        nfe, seconds = statistics.mean(row.nfe), statistics.median(row.seconds)
        quality = (
            f"{row.rms:>9.4f}{max(row.errors):>9.4f}{statistics.mean(row.ssim):>9.4f}"
            f"{statistics.mean(row.psnr):>9.1f}"
        )
        lines.append(
            f"{row.method:<14}{row.setting:<16}{nfe:>6.1f}{STEPS / nfe:>10.2f}x"
            f"{base / seconds:>8.2f}x{quality}"
        )
    return "\n".join(lines)


def plot_trade_off(rows: list[Row], path: Path) -> None:
    """Draw the error over evaluations, one line per method."""
    figure, axes = plt.subplots(figsize=(7, 4.4), dpi=130)
    for method in dict.fromkeys(row.method for row in rows[1:]):
        points = sorted((statistics.mean(row.nfe), row.rms) for row in rows if row.method == method)
        axes.plot(*zip(*points, strict=True), marker="o", label=method)
    axes.set(xlabel=f"network evaluations, of {STEPS}", ylabel="rms error against the uncached clips")
    axes.set_yscale("log")
    axes.set_title("Tiny Wan 2.1, Euler, cfg 5: error for evaluations")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def nearest(rows: list[Row], method: str, nfe: float) -> Row:
    """Return the setting of a method whose NFE is nearest."""
    return min(
        (row for row in rows if row.method == method), key=lambda row: abs(statistics.mean(row.nfe) - nfe)
    )


def animate(rows: list[Row], path: Path, scale: int = 4) -> None:
    """Write clips of the uncached run and of each method at about a third of its NFE, side by side."""
    shown = [
        rows[0],
        *(nearest(rows, method, STEPS / 3) for method in ("fewer steps", "paper's rule", "SenCache")),
    ]
    side, margin, head = 48 * scale, 8, 40
    clips = [[frames(latent) for latent in row.latents[:2]] for row in shown]
    pictures = []
    for index in range(len(clips[0][0])):
        picture = Image.new(
            "RGB", ((side + margin) * len(shown) + margin, (side + margin) * 2 + head), (24, 26, 31)
        )
        pen = ImageDraw.Draw(picture)
        for column, (row, pair) in enumerate(zip(shown, clips, strict=True)):
            left = margin + column * (side + margin)
            pen.text((left, 6), f"{row.method}, {row.setting}", fill=(226, 229, 235))
            count = f"{statistics.mean(row.nfe):.0f} NFE"
            noted = count if row is rows[0] else f"{count}, rms {row.rms:.3f}"
            pen.text((left, 21), noted, fill=(150, 156, 168))
            for line, clip in enumerate(pair):
                frame = Image.fromarray((clip[index] * 255).astype("uint8")).resize((side, side))
                picture.paste(frame, (left, head + line * (side + margin)))
        pictures.append(picture)
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:] + pictures[-2:0:-1],
        duration=SECONDS_PER_FRAME * 1000,
        loop=0,
    )


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    parser.add_argument("--samples", type=int, default=8, help="calibration samples")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = TinyWan.from_checkpoint(MODEL)
    table = calibrate(model, arguments.samples)
    save(table, arguments.out / "tiny_wan.safetensors")
    draw_table(table, "tiny Wan 2.1").save(arguments.out / "sensitivity.png")
    rows = compare(model, table)
    text = table_text(rows)
    (arguments.out / "results.txt").write_text(text + "\n")
    plot_trade_off(rows, arguments.out / "trade_off.png")
    animate(rows, arguments.out / "side_by_side.webp")
    prompts = ", ".join(f"'{PROMPTS[prompt]}'" for prompt, _ in CASES)
    print(f"\nMeans over {len(CASES)} clips ({prompts}), each against its own uncached clip:\n\n{text}")
    print(f"\nPictures: {arguments.out}/trade_off.png, side_by_side.webp, sensitivity.png")


if __name__ == "__main__":
    main()
