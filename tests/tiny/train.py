"""Train a tiny model on `tests/tiny/clips.py`: `python tests/tiny/train.py wan --minutes 60`.

One in eight prompts is emptied so that guidance works. Wan of another size is trained by `--width`, on a GPU
where there is one by `--device cuda`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tests" / "support"))
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

import torch  # noqa: E402
from clips import FRAMES, Clips  # noqa: E402
from cogvideox_model import TinyCogVideoX  # noqa: E402
from comfy_host import model_file  # noqa: E402
from latents import FOLD, encode_frames, fold  # noqa: E402
from ltxv_model import TinyLTXV  # noqa: E402
from prompts import PROMPTS  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sencache.demo.clip import prompt_embedding  # noqa: E402
from time_features import leave_out_fast_features  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402
from training import train  # noqa: E402
from wan_model import TinyWan  # noqa: E402

LEARNING_RATE = 3e-3
TRAINING_SHIFT = 3.0
EMPTIED = 1 / 8  # of the prompts
SHORT_CLIPS_UNTIL = 0.4  # of the training: half as many frames, twice as many clips
BETAS = (0.00085, 0.012)  # of CogVideoX: linear in their square roots, then rescaled to no signal at the end

Sampled = tuple[Tensor, Tensor, Tensor]
"""A noisy latent `[B, C, T, H, W]`, its model time `[B]` and what the network should say of it."""


def flow(clean: Tensor, generator: torch.Generator, multiplier: float) -> Sampled:
    """Mix in noise as a straight flow does, more often much than little; the target is `noise - clean`."""
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    uniform = torch.rand(len(clean), generator=generator, device=clean.device)
    sigma = TRAINING_SHIFT * uniform / (1 + (TRAINING_SHIFT - 1) * uniform)
    at = sigma.view(-1, 1, 1, 1, 1)
    return at * noise + (1 - at) * clean, multiplier * sigma, noise - clean


def signal_levels() -> Tensor:
    """Return the square root of alpha-bar at each of CogVideoX's 1000 timesteps, 1 to 0."""
    betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, 1000, dtype=torch.float64) ** 2
    levels = (1 - betas).cumprod(0).sqrt()
    return ((levels - levels[-1]) * levels[0] / (levels[0] - levels[-1])).float()


def variance_preserving(clean: Tensor, generator: torch.Generator) -> Sampled:
    """Mix in noise at a constant variance; the target is v."""
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    timestep = torch.randint(1000, (len(clean),), generator=generator, device=clean.device)
    signal = signal_levels().to(clean.device)[timestep].view(-1, 1, 1, 1, 1)
    loud = (1 - signal**2).sqrt()
    return signal * clean + loud * noise, timestep.float(), signal * noise - loud * clean


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one architecture is built and trained."""

    build: Callable[[], nn.Module]
    head: str
    time_layer: str
    encode: Callable[[Tensor], Tensor]
    sample: Callable[[Tensor, torch.Generator], Sampled]


def wan_of_width(width: int) -> TinyWan:
    """Build the tiny Wan's network with heads of 128 channels, `width` of them in all."""
    return TinyWan(dim=width, ffn_dim=6 * width, num_layers=8)


RECIPES = {
    "wan": Recipe(
        lambda: wan_of_width(128),
        "head.head",
        "time_embedding.0",
        encode_frames,
        lambda clean, generator: flow(clean, generator, 1000.0),
    ),
    "ltxv": Recipe(
        TinyLTXV,
        "proj_out",
        "adaln_single.emb.timestep_embedder.linear_1",
        lambda frames: fold(encode_frames(frames)),
        lambda clean, generator: flow(clean, generator, 1.0),
    ),
    "cogvideox": Recipe(
        TinyCogVideoX, "proj_out", "time_embedding_linear_1", encode_frames, variance_preserving
    ),
}


class Batches(IterableDataset[tuple[Tensor, list[int]]]):
    """Random batches without an end: clips `[size, 8, 48, 48]` and prompt numbers, some of them emptied."""

    def __init__(self, size: int) -> None:
        self._size, self._clips = size, Clips()

    def __iter__(self) -> Iterator[tuple[Tensor, list[int]]]:
        worker = get_worker_info()
        generator = torch.Generator().manual_seed(0 if worker is None else worker.id)
        while True:
            frames, prompts = self._clips.batch(self._size, generator)
            emptied = torch.rand(self._size, generator=generator) < EMPTIED
            yield frames, [0 if empty else prompt for prompt, empty in zip(prompts, emptied, strict=True)]


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, help="instead of the tiny model's own file")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint")
    parser.add_argument("--width", type=int, help="Wan's channels, a multiple of 128, instead of 128")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw clips")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device(arguments.device)
    generator = torch.Generator(device).manual_seed(0)
    recipe = RECIPES[arguments.model]
    model = recipe.build() if arguments.width is None else wan_of_width(arguments.width)
    nn.init.zeros_(model.get_submodule(recipe.head).weight)
    if arguments.start:
        model.load_state_dict(load_file(arguments.start))
    model.to(device)
    leave_out_fast_features(model.get_submodule(recipe.time_layer))
    on_gpu = device.type == "cuda"
    network = model if on_gpu else torch.compile(model, dynamic=False)
    contexts = torch.cat([prompt_embedding(prompt) for prompt in range(len(PROMPTS))]).to(device)
    loader = DataLoader(
        Batches(arguments.batch), batch_size=None, num_workers=arguments.workers, pin_memory=on_gpu
    )
    batches = iter(loader)

    def loss_of(progress: float) -> Tensor:
        short = progress < SHORT_CLIPS_UNTIL
        drawn = list(itertools.islice(batches, 2 if short else 1))
        frames = torch.cat([one for one, _ in drawn]).to(device, non_blocking=True)
        if short:
            first = FOLD * int(torch.randint(FRAMES // 2 // FOLD + 1, ()))
            frames = frames[:, first : first + FRAMES // 2]
        context = contexts[[prompt for _, prompts in drawn for prompt in prompts]]
        noisy, timestep, target = recipe.sample(recipe.encode(frames), generator)
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext():
            found = network(noisy, timestep, context)
        return F.mse_loss(found.float(), target)

    out = arguments.out or model_file(f"tiny_{arguments.model}")
    train(model, loss_of, out, arguments.minutes, arguments.learning_rate)


if __name__ == "__main__":
    main()
