"""Train the tiny Wan model: `python tests/tiny/train_wan.py --minutes 60`.

Flow matching on `tests/tiny/clips.py`, one in eight prompts emptied so that guidance works.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from clips import FRAMES, Clips
from latents import encode_frames, prompt_embedding
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from training import train
from wan_model import FREQ_DIM, TEXT_DIM, TinyWan

MODEL = Path(__file__).parent / "models" / "tiny_wan.safetensors"
TRAINING_SHIFT = 3.0
LEARNING_RATE = 3e-3
SHORTEST_PERIOD = 200.0
SHORT_CLIPS_UNTIL = 0.4  # of the training: half as many frames, twice as many clips


def leave_out_fast_time_features(model: TinyWan) -> None:
    """Zero and freeze the weights of time features with periods under 200 of the 1000 time units.

    An hour of training is too short to learn to ignore them: they left the output rough in time, which a
    fully trained model's is not.
    """
    frequencies = 10000 ** -(torch.arange(FREQ_DIM // 2) / (FREQ_DIM // 2))
    kept = (2 * torch.pi / frequencies >= SHORTEST_PERIOD).float().repeat(2)
    weight = model.time_embedding[0].weight
    weight.data.mul_(kept)
    weight.register_hook(lambda gradient: gradient * kept)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--start", type=Path, help="go on from this checkpoint")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    clips = Clips()
    model = TinyWan(dim=128, ffn_dim=768, num_layers=8)
    torch.nn.init.zeros_(model.head.head.weight)
    if arguments.start:
        model.load_state_dict(load_file(arguments.start))
    leave_out_fast_time_features(model)
    compiled = torch.compile(model, dynamic=False)

    def loss_of(progress: float) -> Tensor:
        short = progress < SHORT_CLIPS_UNTIL
        frames, prompts = clips.batch(arguments.batch * (2 if short else 1), generator)
        if short:
            first = int(torch.randint(FRAMES // 2 + 1, (), generator=generator))
            frames = frames[:, first : first + FRAMES // 2]
        kept = [prompt if torch.rand((), generator=generator) > 1 / 8 else 0 for prompt in prompts]
        context = torch.cat([prompt_embedding(prompt, TEXT_DIM) for prompt in kept])
        clean = encode_frames(frames)
        noise = torch.randn(clean.shape, generator=generator)
        uniform = torch.rand(len(prompts), generator=generator)
        sigma = TRAINING_SHIFT * uniform / (1 + (TRAINING_SHIFT - 1) * uniform)
        at = sigma.view(-1, 1, 1, 1, 1)
        return F.mse_loss(compiled(at * noise + (1 - at) * clean, 1000 * sigma, context), noise - clean)

    train(model, loss_of, arguments.out, arguments.minutes, LEARNING_RATE)


if __name__ == "__main__":
    main()
