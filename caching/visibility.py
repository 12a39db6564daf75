"""What an error looks like, in a word: each is tied to LPIPS and SSIM as measured on held-out clips.

`tests/benchmarks/results/predicted.md` has the measurement.
"""

from __future__ import annotations

from enum import Enum


class Visibility(str, Enum):
    """How a clip of some error differs from the uncached one; the words are in `locales/*/main.json`."""

    INVISIBLE = "invisible"
    HARDLY_VISIBLE = "hardly_visible"
    DETAILS_CHANGE = "details_change"
    ANOTHER_VIDEO = "another_video"


LIMITS = (
    (0.02, Visibility.INVISIBLE),  # LPIPS up to 0.0014, SSIM from 0.998 (nine of ten clips)
    (0.05, Visibility.HARDLY_VISIBLE),  # LPIPS up to 0.016, SSIM from 0.984
    (0.12, Visibility.DETAILS_CHANGE),  # LPIPS up to 0.055, SSIM from 0.919
)


def visibility(error: float) -> Visibility:
    """Return the word for an rms error of the finished latent, whose size is about 1."""
    return next((word for limit, word in LIMITS if error <= limit), Visibility.ANOTHER_VIDEO)
