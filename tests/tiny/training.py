"""What the tiny models' training scripts share: optimisers, schedule by the clock, average, snapshots."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

AVERAGE_DECAY = 0.998


def optimizers(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Give the blocks' matrices to Muon and everything else to AdamW."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and "blocks." in name
        (matrices if hidden else others).append(parameter)
    return [
        torch.optim.Muon(matrices, learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def clock(minutes: float) -> Iterator[float]:
    """Yield the used share of a time budget, 0 to 1, once per iteration, with a progress bar."""
    start = time.monotonic()
    with tqdm(total=round(minutes * 60), unit="s", desc="training") as bar:
        while (elapsed := time.monotonic() - start) < minutes * 60:
            bar.update(int(elapsed) - bar.n)
            yield elapsed / (minutes * 60)


def learning_rate_factor(progress: float, step: int) -> float:
    """Warm up over 100 iterations, then fall to 2 % along a cosine."""
    return min(1.0, step / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def save_half(weights: dict[str, Tensor], path: Path) -> None:
    """Save weights as fp16 safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().half().contiguous() for key, value in weights.items()}, path)


def train(
    model: nn.Module,
    loss_of: Callable[[float], Tensor],
    out: Path,
    minutes: float,
    learning_rate: float = 2e-3,
) -> None:
    """Minimise `loss_of(progress)` for `minutes`, and save the weights' moving average as fp16 to `out`.

    A snapshot of the average is written every 500 iterations, so that an interrupted training leaves a usable
    model.
    """
    chosen = optimizers(model, learning_rate)
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    losses: list[float] = []
    for step, progress in enumerate(clock(minutes)):
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * learning_rate_factor(progress, step)
        loss = loss_of(progress)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if step % 100 == 99:
            tqdm.write(f"iteration {step + 1}: loss {sum(losses[-100:]) / 100:.4f}")
        if step % 500 == 499:
            save_half(average, out)
    save_half(average, out)
