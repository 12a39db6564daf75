"""How near clips are to the uncached ones, and how near to the data."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import torch
from quality import frames, psnr, ssim
from stlpips_pytorch import stlpips
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

ENLARGED = 4  # 48 pixels are too few for five scales


class Metrics:
    """Measures clips given as latents `[1, 16, T, h, w]` in model space; frames are in 0 to 1."""

    def __init__(self, data: Tensor) -> None:
        """Take `data [N, T, H, W]`, training clips in 0 to 1."""
        self._lpips = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self._data = _coarse(data)

    def against(self, latent: Tensor, reference: Tensor) -> dict[str, float]:
        """Compare a clip with the uncached one of the same seed.

        PSNR in dB, SSIM, MS-SSIM, LPIPS (shift-tolerant, AlexNet), and the rms error of the differences
        between frames.
        """
        clip, target = (torch.from_numpy(frames(one))[:, None] for one in (latent, reference))
        large = [F.interpolate(one, scale_factor=ENLARGED, mode="bilinear") for one in (clip, target)]
        structure = multiscale_structural_similarity_index_measure(*large, data_range=1.0)
        coloured = [one.expand(-1, 3, -1, -1) * 2 - 1 for one in (clip, target)]
        return {
            "psnr": min(psnr(latent, reference), 120.0),
            "ssim": ssim(latent, reference),
            "ms_ssim": float(structure),
            "lpips": float(self._lpips(*coloured).mean()),
            "temporal": float((clip.diff(dim=0) - target.diff(dim=0)).square().mean().sqrt()),
        }

    def distance_to_data(self, latents: Iterable[Tensor]) -> float:
        """Return the energy distance between clips and training clips, both as 12x12 pixels a frame."""
        clips = _coarse(torch.stack([torch.from_numpy(frames(one)) for one in latents]))
        own, data = (torch.cdist(one, one).sum() / (len(one) * (len(one) - 1)) for one in (clips, self._data))
        return float(2 * torch.cdist(clips, self._data).mean() - own - data)


def _coarse(clips: Tensor) -> Tensor:
    return F.avg_pool2d(clips, 4).flatten(1)


def mean(rows: list[dict[str, float]], name: str) -> float:
    """Return the mean of one metric over clips."""
    return statistics.mean(row[name] for row in rows)
