"""SenCache Compare takes two videos, and says and shows how far they differ."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture
def compare(host):
    """Run the node as the server would."""
    from sencache.nodes.compare import SenCacheCompare

    def run(one, other, fps=16.0):
        SenCacheCompare.hidden = SimpleNamespace(unique_id="7")
        return SenCacheCompare.execute(one, other, fps)

    return run


@pytest.fixture
def files(host):
    """Return the panel's files of an output."""
    import folder_paths

    def run(output):
        shown = output.ui["sencache_compare"][0]
        folder = Path(folder_paths.get_temp_directory()) / shown["subfolder"]
        return [Image.open(folder / name) for name in shown["files"]]

    return run


def video(count=3, height=24, width=32, channels=3, seed=1):
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))


def codes(output):
    return [note["code"] for note in output.ui["sencache_compare"][0]["notes"]]


def test_numbers_picture_and_report_tell_a_difference_of_a_hundredth(compare):
    one = video().clamp(0, 0.9)
    other = one.clone()
    other[2] += 0.01
    output = compare(one, other)
    difference, text = output.args
    assert text.splitlines()[0].startswith("PSNR 44.8 dB (worst frame 40.0) · SSIM ")
    assert "The rms error is 0.00577, where white is 1." in text
    assert "Frame 3 of 3 differs most." in text and "amplified 20 times" in text
    assert difference.shape == one.shape and difference.dtype == torch.float32
    assert not difference[:2].any() and torch.allclose(difference[2], torch.tensor(0.2), atol=1e-4)
    assert output.ui["text"] == [text]
    assert codes(output) == ["compare_numbers", "compare_rms", "compare_worst", "compare_gain"]


def test_an_ssim_is_not_rounded_to_1_where_the_videos_differ(compare):
    almost = video()
    almost[1, 2, 3, 0] += 1e-6
    assert "SSIM 0.9999 (worst 0.9999)" in compare(video(), almost).args[1]


def test_identical_videos_are_called_identical_and_the_answer_is_json(compare):
    output = compare(video(), video())
    assert output.args[1] == "Both videos are identical, bit for bit." and not output.args[0].any()
    json.dumps(output.ui, allow_nan=False)
    almost = video()
    almost[1, 2, 3, 0] += 1e-6
    assert "identical" not in compare(video(), almost).args[1]


def test_a_file_holds_both_pictures_and_the_difference_side_by_side(compare, files):
    one, other = torch.full((2, 24, 40, 3), 0.25), torch.full((2, 24, 40, 3), 0.75)
    pictures = files(compare(one, other))
    assert len(pictures) == 2 and pictures[0].size == (3 * 48, 24)  # 40 pixels, and up to a whole block
    pixels = np.asarray(pictures[0])
    for place, value in ((0, 64), (48, 191), (96, 128)):
        assert abs(pixels[:, place : place + 40].astype(int) - value).max() <= 2


def test_a_large_frame_is_shown_smaller_and_measured_whole(compare, files):
    one = torch.zeros(1, 16, 1600, 3)
    other = one.clone()
    other[0, :, ::2] = 0.02
    output = compare(one, other)
    shown = output.ui["sencache_compare"][0]
    assert (shown["width"], shown["height"]) == (768, 8) and files(output)[0].size == (3 * 768, 8)
    assert "PSNR 37.0 dB" in output.args[1] and output.args[0].shape == one.shape


def test_of_a_long_video_240_frames_are_shown_in_the_same_time_and_all_are_measured(compare):
    one = torch.zeros(480, 4, 4, 3)
    other = one.clone()
    other[478] = 0.5
    output = compare(one, other, fps=24.0)
    shown = output.ui["sencache_compare"][0]
    assert len(shown["files"]) == len(shown["numbers"]) == 240
    assert (shown["numbers"][0], shown["numbers"][-1], shown["count"], shown["fps"]) == (1, 480, 480, 12.0)
    assert "Frame 479 of 480 differs most" in output.args[1] and "shows 240 of the frames" in output.args[1]


def test_a_single_image_is_compared_without_a_word_about_frames(compare):
    text = compare(video(1), video(1, seed=2)).args[1]
    assert "PSNR" in text and "differs most" not in text


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_pictures_and_transparency_are_compared_as_rgb(compare, channels):
    one = torch.full((2, 12, 12, channels), 0.5)
    if channels == 4:
        one[..., 3] = 0.1
    output = compare(one, torch.full((2, 12, 12, 3), 0.5))
    assert codes(output) == ["compare_identical"] and output.args[0].shape == (2, 12, 12, 3)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (video(2), r"the reference has 3 frames and the faster video has 2 frames; connect two videos"),
        (video(3, 24, 40), r"the reference has 32x24 pixels and the faster video has 40x24 pixels"),
        (video(3)[..., :2], r"the faster video has 2 channels; only grey, RGB and RGBA can be compared"),
        (video(3)[:0], r"the faster video holds no frames; connect an IMAGE"),
        (torch.zeros(3, 24, 32), r"the faster video holds no frames; connect an IMAGE"),
        (torch.full((3, 24, 32, 3), float("nan")), r"frame 1 of the faster video holds values that are not"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(compare, other, said):
    with pytest.raises(ValueError, match=rf"^SenCache Compare: {said}") as refused:
        compare(video(3), other)
    assert str(refused.value).count(". ") == 0 and str(refused.value).endswith(".")


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_nothing_can_be_played_at_is_refused(compare, fps):
    with pytest.raises(ValueError, match="^SenCache Compare: fps is .*; it must be above 0"):
        compare(video(), video(), fps)


@pytest.mark.parametrize("at", [1, 5])
def test_cancel_stops_it_while_it_measures_and_while_it_draws(compare, monkeypatch, at):
    import comfy.model_management as management

    checked = []

    def check():
        checked.append(1)
        if len(checked) == at:
            raise management.InterruptProcessingException()

    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", check)
    with pytest.raises(management.InterruptProcessingException):
        compare(video(), video(seed=2))
    assert len(checked) == at


def test_a_temp_folder_that_cannot_be_written_costs_the_pictures_and_not_the_numbers(compare, monkeypatch):
    from sencache.nodes.panel import compare_frames

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compare_frames.Image.Image, "save", full)
    output = compare(video(), video(seed=2))
    assert "PSNR" in output.args[1] and "can't be written: No space left on device." in output.args[1]
    assert output.ui["sencache_compare"][0]["files"] == [] and output.args[0].any()


def test_inputs_stay_as_they_are(compare):
    one, other = video(), video(seed=2)
    compare(one, other)
    assert one.equal(video()) and other.equal(video(seed=2))


def test_half_precision_is_compared_with_float32(compare):
    one = video().half()
    assert codes(compare(one, one.float())) == ["compare_identical"]


class Storages(TorchDispatchMode):
    """Keeps every storage that an operation returns, so that none takes the place of another."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.kept[made.untyped_storage().data_ptr()] = made.untyped_storage()
        return made


def test_of_a_whole_video_only_the_difference_is_made(compare):
    one, other = video(40, 64, 64), video(40, 64, 64, seed=2)
    with Storages() as storages:
        difference = compare(one, other).args[0]
    frame = one[0].numel() * 4
    large = {place for place, storage in storages.kept.items() if storage.nbytes() > 3 * frame}
    assert large == {tensor.untyped_storage().data_ptr() for tensor in (one, other, difference)}


def test_the_frames_of_the_last_sixteen_comparisons_are_kept(compare, files):
    first = compare(video(), video(seed=2))
    assert len(files(first)) == 3
    for _ in range(15):
        last = compare(video(), video(seed=2))
    assert len(files(first)) == 3
    last = compare(video(), video(seed=2))
    assert len(files(last)) == 3
    with pytest.raises(FileNotFoundError):
        files(first)
