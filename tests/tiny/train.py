"""Train a tiny model on `tests/tiny/clips.py`: `python tests/tiny/train.py wan --minutes 60`.

One in eight prompts is emptied so that guidance works.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
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
from safetensors.torch import load_file  # noqa: E402
from sencache.demo.clip import prompt_embedding  # noqa: E402
from time_features import leave_out_fast_features  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from training import train  # noqa: E402
from wan_model import TinyWan  # noqa: E402

LEARNING_RATE = 3e-3
TRAINING_SHIFT = 3.0
SHORT_CLIPS_UNTIL = 0.4  # of the training: half as many frames, twice as many clips
BETAS = (0.00085, 0.012)  # of CogVideoX: linear in their square roots, then rescaled to no signal at the end

Sampled = tuple[Tensor, Tensor, Tensor]
"""A noisy latent `[B, C, T, H, W]`, its model time `[B]` and what the network should say of it."""


def flow(clean: Tensor, generator: torch.Generator, multiplier: float) -> Sampled:
    """Mix in noise as a straight flow does, more often much than little; the target is `noise - clean`."""
    noise = torch.randn(clean.shape, generator=generator)
    uniform = torch.rand(len(clean), generator=generator)
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
    noise = torch.randn(clean.shape, generator=generator)
    timestep = torch.randint(1000, (len(clean),), generator=generator)
    signal = signal_levels()[timestep].view(-1, 1, 1, 1, 1)
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


RECIPES = {
    "wan": Recipe(
        lambda: TinyWan(dim=128, ffn_dim=768, num_layers=8),
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


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, help="instead of the tiny model's own file")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    clips, recipe = Clips(), RECIPES[arguments.model]
    model = recipe.build()
    nn.init.zeros_(model.get_submodule(recipe.head).weight)
    if arguments.start:
        model.load_state_dict(load_file(arguments.start))
    leave_out_fast_features(model.get_submodule(recipe.time_layer))
    compiled = torch.compile(model, dynamic=False)

    def loss_of(progress: float) -> Tensor:
        short = progress < SHORT_CLIPS_UNTIL
        frames, prompts = clips.batch(arguments.batch * (2 if short else 1), generator)
        if short:
            first = FOLD * int(torch.randint(FRAMES // 2 // FOLD + 1, (), generator=generator))
            frames = frames[:, first : first + FRAMES // 2]
        kept = [prompt if torch.rand((), generator=generator) > 1 / 8 else 0 for prompt in prompts]
        context = torch.cat([prompt_embedding(prompt) for prompt in kept])
        noisy, timestep, target = recipe.sample(recipe.encode(frames), generator)
        return F.mse_loss(compiled(noisy, timestep, context), target)

    out = arguments.out or model_file(f"tiny_{arguments.model}")
    train(model, loss_of, out, arguments.minutes, LEARNING_RATE)


if __name__ == "__main__":
    main()
