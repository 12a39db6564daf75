"""PSNR, SSIM and the difference of two videos, by hand and beside scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sencache.pictures.fidelity import Fidelity, amplified, frame_errors, psnr_of
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def picture(value: float, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.full((height, width, 3), value)


def noisy(seed: int, height: int = 33, width: int = 47) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    one = torch.rand(height, width, 3, generator=random)
    return one, (one + 0.1 * torch.randn(height, width, 3, generator=random)).clamp(0, 1)


def test_psnr_of_a_tenth_of_white_is_20_db_and_of_a_hundredth_40():
    assert frame_errors(picture(0.5), picture(0.6))[0] == pytest.approx(0.01, rel=1e-5)
    assert psnr_of(0.01) == pytest.approx(20) and psnr_of(0.0001) == pytest.approx(40)
    assert psnr_of(1.0) == 0 and psnr_of(0.0) == math.inf


def test_ssim_of_flat_pictures_is_what_their_brightness_gives():
    """Without structure only (2ab + c) / (a^2 + b^2 + c) is left, c = 0.01^2."""
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert frame_errors(picture(0.4), picture(0.6))[1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_identical_pictures_have_no_error_and_an_ssim_of_exactly_1(value):
    assert frame_errors(picture(value), picture(value)) == (0.0, pytest.approx(1.0, abs=1e-7))


@pytest.mark.parametrize("size", [(33, 47), (11, 11), (64, 12)])
def test_psnr_and_ssim_are_those_of_scikit_image(size):
    one, other = noisy(3, *size)
    mse, ssim = frame_errors(one, other)
    first, second = one.double().numpy(), other.double().numpy()
    assert psnr_of(mse) == pytest.approx(peak_signal_noise_ratio(first, second, data_range=1), abs=1e-4)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    assert ssim == pytest.approx(structural_similarity(first, second, channel_axis=-1, **settings), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 40), (10, 10)])
def test_a_picture_smaller_than_the_window_has_an_ssim_too(size):
    one, other = noisy(4, *size)
    assert 0 < frame_errors(one, other)[1] < 1
    assert frame_errors(one, one)[1] == pytest.approx(1.0, abs=1e-6)


def test_an_error_too_small_for_float32_squares_is_still_one():
    faint = picture(0.0)
    faint[3, 4, 1] = 1e-30
    assert frame_errors(picture(0.0), faint)[0] > 0


def test_the_whole_videos_psnr_is_that_of_the_mean_error_and_the_worst_frame_is_told():
    video = Fidelity(mse=(0.0, 0.0001, 0.0002), ssim=(1.0, 0.8, 0.9))
    assert video.psnr == pytest.approx(40) and video.rms == pytest.approx(0.01)
    assert video.worst_frame == 2 and video.worst_psnr == pytest.approx(36.9897, abs=1e-4)
    assert video.mean_ssim == pytest.approx(0.9) and video.worst_ssim == 0.8 and not video.identical


def test_identical_videos_are_so_and_their_difference_is_not_amplified():
    video = Fidelity(mse=(0.0, 0.0), ssim=(1.0, 1.0))
    assert video.identical and video.psnr == video.worst_psnr == math.inf
    assert video.rms == 0 and video.gain == 1


@pytest.mark.parametrize(
    ("rms", "gain"), [(0.3, 1), (0.11, 1), (0.09, 2), (0.039, 5), (0.019, 10), (0.0021, 50), (1e-9, 100)]
)
def test_the_difference_is_amplified_as_far_as_its_worst_frame_stays_at_a_fifth(rms, gain):
    assert Fidelity(mse=(0.0, rms**2), ssim=(1.0, 0.5)).gain == gain


def test_the_difference_picture_is_the_amplified_size_of_the_difference_and_changes_no_input():
    one, other = picture(0.5, 2, 2), picture(0.47, 2, 2)
    assert torch.allclose(amplified(one, other, 10), picture(0.3, 2, 2), atol=1e-6)
    assert torch.allclose(amplified(other, one, 10), picture(0.3, 2, 2), atol=1e-6)
    assert np.array_equal(amplified(picture(0), picture(1), 10), picture(1))
    assert one.unique() == 0.5 and other.unique() == torch.tensor(0.47)
