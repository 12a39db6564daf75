"""How near a clip is to the uncached one, on its decoded frames."""

from __future__ import annotations

import numpy as np
from sencache.demo.clip import decode_latent
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor


def frames(latent: Tensor) -> np.ndarray:
    """Decode a latent `[1, 16, T, h, w]` in model space to grey frames `[T, H, W]`, float32, 0 to 1."""
    return (decode_latent(latent)[0].clamp(-1, 1).numpy() + 1) / 2


def psnr(latent: Tensor, reference: Tensor) -> float:
    """Return the peak signal-to-noise ratio over all frames, in dB; infinite where nothing differs."""
    clip, target = frames(latent), frames(reference)
    return (
        float("inf")
        if np.array_equal(clip, target)
        else peak_signal_noise_ratio(target, clip, data_range=1.0)
    )


def ssim(latent: Tensor, reference: Tensor) -> float:
    """Return the structural similarity, the mean over frames, at most 1."""
    pairs = zip(frames(reference), frames(latent), strict=True)
    return float(np.mean([structural_similarity(target, clip, data_range=1.0) for target, clip in pairs]))
