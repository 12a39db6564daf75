"""How far a video is off the one that it should equal: PSNR, SSIM, and the difference as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 11  # of SSIM, in pixels, and Gaussian of sigma 1.5: as in Wang et al. 2004
BRIGHTNESS = 0.2  # how bright the difference picture's worst frame may be made (rms)
# Amplified more than this, only what no 8-bit screen can show would show: half a level times 100 is 0.2.
GAINS = (100, 50, 20, 10, 5, 2)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The errors of a video's frames, in their order; pixels are in 0 to 1."""

    mse: tuple[float, ...]  # mean squared errors over pixels and channels, 0 only where a frame is identical
    ssim: tuple[float, ...]

    @property
    def identical(self) -> bool:
        """Whether every value of every frame is the same."""
        return not any(self.mse)

    @property
    def rms(self) -> float:
        """The root of the mean squared error over all frames."""
        return math.sqrt(sum(self.mse) / len(self.mse))

    @property
    def psnr(self) -> float:
        """The PSNR over all frames, in dB: that of their mean squared error. Infinite if identical."""
        return psnr_of(sum(self.mse) / len(self.mse))

    @property
    def worst_frame(self) -> int:
        """The frame with the largest error, counted from 0; the first of several."""
        return self.mse.index(max(self.mse))

    @property
    def worst_psnr(self) -> float:
        """The PSNR of the frame with the largest error, in dB. Infinite if all are identical."""
        return psnr_of(max(self.mse))

    @property
    def mean_ssim(self) -> float:
        """The frames' SSIM in the mean, at most 1."""
        return sum(self.ssim) / len(self.ssim)

    @property
    def worst_ssim(self) -> float:
        """The least SSIM of a frame, at most 1."""
        return min(self.ssim)

    @property
    def gain(self) -> int:
        """How many times the difference is amplified so that its worst frame can be seen, 1 to 100."""
        worst = math.sqrt(max(self.mse))
        return 1 if self.identical else next((one for one in GAINS if worst * one <= BRIGHTNESS), 1)


def psnr_of(mse: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error, in dB; the peak is 1."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def frame_errors(reference: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the mean squared error and the SSIM of two frames `[H, W, 3]`, float32, 0 to 1.

    SSIM is the mean over channels and over the pixels that the whole window covers, as in Wang et al.; where
    a frame is smaller than the window, the window is the largest that fits.
    """
    # Imported when it is needed: a kornia that can't be imported is no reason to lose the other nodes.
    from kornia.metrics import ssim

    mse = float((reference.double() - other.double()).square().mean())
    images = [one.movedim(-1, 0)[None].contiguous() for one in (reference, other)]
    smallest = min(reference.shape[:2])
    window = min(WINDOW, smallest - 1 + smallest % 2)  # odd
    # Without kornia's own epsilon, which makes identical black frames less than 1.
    values = ssim(images[0], images[1], window, max_val=1.0, eps=0.0, padding="valid")
    return mse, float(values.mean(dtype=torch.float64))


def amplified(reference: Tensor, other: Tensor, gain: float) -> Tensor:
    """Return the difference of two frames `[H, W, 3]` as a picture: its size, `gain` times, at most 1."""
    return ((reference - other).abs_() * gain).clamp_(0, 1)
