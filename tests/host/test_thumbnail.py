"""The small picture of a run's latent: the host's own preview of its middle frame."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

START = "data:image/jpeg;base64,"


@pytest.fixture
def drawn(host):
    """Draw a latent, and return the picture; None where nothing draws it."""
    from sencache.nodes.host.thumbnail import thumbnail

    def run(latent_format, samples):
        address = thumbnail(latent_format, samples)
        if address is None:
            return None
        assert address.startswith(START) and len(address) < 20_000
        picture = Image.open(io.BytesIO(base64.b64decode(address.removeprefix(START), validate=True)))
        assert picture.format == "JPEG" and picture.mode == "RGB"
        return picture

    return run


@pytest.fixture
def formats(host):
    """The host's latent formats."""
    import comfy.latent_formats

    return comfy.latent_formats


PLAIN = SimpleNamespace(  # its colours are its first three channels
    latent_rgb_factors=[[1.0 if row == column else 0.0 for column in range(3)] for row in range(4)],
    latent_rgb_factors_bias=None,
    latent_rgb_factors_reshape=None,
    process_in=lambda latent: latent,
    process_out=lambda latent: latent,
)


def colour(picture):
    """The mean colour of a picture, -1 to 1."""
    return np.asarray(picture, dtype=float).mean((0, 1)) / 127.5 - 1


def test_an_image_is_drawn_in_its_colours_and_shape(drawn):
    samples = torch.zeros(1, 4, 8, 12)
    samples[:, 0], samples[:, 1], samples[:, 2] = 0.9, -0.9, 0.0
    picture = drawn(PLAIN, samples)
    assert picture.size == (96, 64)
    assert colour(picture) == pytest.approx([0.9, -0.9, 0.0], abs=0.05)


def test_of_a_video_the_middle_frame_is_drawn_and_of_a_batch_the_first(drawn):
    samples = torch.full((2, 4, 5, 8, 8), -1.0)
    samples[0, :3, 2] = 0.5
    assert colour(drawn(PLAIN, samples)) == pytest.approx([0.5] * 3, abs=0.05)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (1, 4, 1, 1, 1), (1, 4, 3, 1, 200), (1, 4, 200, 1)])
def test_the_smallest_and_the_narrowest_are_drawn(drawn, shape):
    picture = drawn(PLAIN, torch.zeros(shape))
    assert max(picture.size) == 96 and min(picture.size) >= 1


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_latent_fails_nothing(drawn, broken):
    assert drawn(PLAIN, torch.full((1, 4, 8, 8), broken)) is not None


def test_half_precision_is_drawn_and_the_latent_stays_as_it_was(drawn):
    samples = torch.randn(1, 4, 3, 8, 8, dtype=torch.bfloat16)
    before = samples.clone()
    assert drawn(PLAIN, samples).size == (96, 96)
    assert torch.equal(samples, before) and samples.dtype is torch.bfloat16


@pytest.mark.parametrize("name", ["Wan21", "HunyuanVideo", "LTXV", "Mochi", "SD15", "SDXL", "Flux"])
def test_it_is_the_preview_that_the_host_shows_while_it_samples(drawn, formats, name):
    """A sampler returns the latent as the decoder takes it; previews draw it as the network makes it."""
    from latent_preview import Latent2RGBPreviewer

    latent_format = getattr(formats, name)()
    frames = (1,) * (latent_format.latent_dimensions - 2)
    seeded = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, latent_format.latent_channels, 4, 4, generator=seeded)
    smooth = torch.nn.functional.interpolate(coarse, size=24, mode="bicubic")
    denoised = smooth.reshape(1, -1, *frames, 24, 24)
    factors, bias = latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias
    if factors is None:
        pytest.skip(f"this host has no preview of {name}")
    preview = Latent2RGBPreviewer(factors, bias).decode_latent_to_preview(denoised)
    picture = drawn(latent_format, latent_format.process_out(denoised))
    small = preview.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(picture, dtype=float) - np.asarray(small, dtype=float)).mean() < 4  # of 255


def test_what_nothing_draws_has_no_picture(drawn, formats):
    without = SimpleNamespace(latent_rgb_factors=None)
    five = torch.zeros(1, 5, 8, 8)
    for latent_format, samples in (
        (without, torch.zeros(1, 4, 8, 8)),
        (SimpleNamespace(), torch.zeros(1, 4, 8, 8)),
        (None, torch.zeros(1, 4, 8, 8)),
        (PLAIN, five),
        (PLAIN, torch.zeros(1, 4, 8)),
        (PLAIN, torch.zeros(1, 4, 1, 1, 8, 8)),
        (PLAIN, None),
        (PLAIN, [torch.zeros(1, 4, 8, 8)]),
    ):
        assert drawn(latent_format, samples) is None


def test_sound_beside_the_frames_has_no_picture(drawn):
    """A nested tensor, as of LTX-2."""
    comfy_nested = pytest.importorskip("comfy.nested_tensor")
    nested = comfy_nested.NestedTensor([torch.zeros(1, 4, 2, 8, 8), torch.zeros(1, 4, 16)])
    assert drawn(PLAIN, nested) is None
