"""SenCache Compare: two videos of one seed side by side or under a wipe, their difference, PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..caching.notes import Note
from ..caching.sentences import sentence
from ..pictures.fidelity import Fidelity, amplified, frame_errors
from .host.api import aliases
from .panel.compare_frames import FOLDER, FrameFiles, shown_frames
from .panel.live import Listener
from .panel.wire import ComparisonTold, NoteTold

NODE = "SenCache Compare"
VIDEOS = ("the reference", "the faster video")  # as locales/*/nodeDefs.json names the inputs


class SenCacheCompare(io.ComfyNode):
    """Compares a video with the one that it should equal."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheCompare",
            display_name=NODE,
            category="advanced/sencache",
            description="Plays two videos of one seed in step, side by side or under a wipe, and shows how "
            "far they differ: as a picture, and as PSNR and SSIM. Both must have the same length and size.",
            inputs=[
                io.Image.Input("images_a", tooltip="The video without SenCache, or any other."),
                io.Image.Input("images_b", tooltip="The same seed's video with SenCache."),
                io.Float.Input(
                    "fps", default=16.0, min=1.0, max=120.0, step=1.0,
                    tooltip="Frames per second at which the panel plays both.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="IMAGE",
                    tooltip="Each frame's difference, amplified so that it can be seen: the report says by "
                    "how much.",
                ),
                io.String.Output(display_name="STRING", tooltip="The report: PSNR and SSIM over all frames."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **aliases("compare videos", "side by side", "wipe", "PSNR", "SSIM", "difference"),
        )  # fmt: skip

    @classmethod
    def execute(cls, images_a: Tensor, images_b: Tensor, fps: float) -> io.NodeOutput:
        """Compare; raises ValueError in one sentence where the two can't be compared."""
        videos = (images_a, images_b)
        check(videos, fps)
        progress = comfy.utils.ProgressBar(2 * len(images_a))
        fidelity = measure(videos, progress)
        difference, files, refused = draw(videos, fidelity.gain, progress)
        notes = found(fidelity)
        if files and len(files.names) < len(images_a):
            notes.append(Note("compare_thinned", {"shown": len(files.names), "count": len(images_a)}))
        if refused:
            notes.append(Note("compare_no_frames", {"why": refused}))
        text = "\n".join(map(sentence, notes))
        browser = Listener.find()
        count = len(images_a)
        numbers = [index + 1 for index in shown_frames(count)] if files else []
        shown = ComparisonTold(
            node=cls.hidden.unique_id,
            workflow=browser.workflow if browser else None,
            notes=[NoteTold.of(note) for note in notes],
            files=files.names if files else [],
            subfolder=FOLDER,
            width=files.width if files else 0,
            height=files.height if files else 0,
            numbers=numbers,
            count=count,
            fps=fps * len(numbers) / count,  # with fewer frames than there are, they play as long
            gain=fidelity.gain,
        )
        return io.NodeOutput(difference, text, ui={"text": [text], "sencache_compare": [shown.plain()]})


def check(videos: Sequence[Tensor], fps: float) -> None:
    """Raise ValueError in one sentence where two IMAGE batches can't be compared frame by frame."""
    if not 0 < fps < math.inf:
        raise ValueError(f"{NODE}: fps is {fps}; it must be above 0.")
    for name, video in zip(VIDEOS, videos, strict=True):
        if not isinstance(video, Tensor) or video.ndim != 4 or 0 in video.shape:
            raise ValueError(f"{NODE}: {name} holds no frames; connect an IMAGE.")
        if video.shape[-1] not in (1, 3, 4):
            told = f"{name} has {video.shape[-1]} channels"
            raise ValueError(f"{NODE}: {told}; only grey, RGB and RGBA can be compared.")
    counts = [f"{len(video)} frames" for video in videos]
    sizes = [f"{video.shape[2]}x{video.shape[1]} pixels" for video in videos]
    for one, other in (counts, sizes):
        if one != other:
            told = f"{VIDEOS[0]} has {one} and {VIDEOS[1]} has {other}"
            raise ValueError(f"{NODE}: {told}; connect two videos of the same length and size.")


def measure(videos: Sequence[Tensor], progress: Any) -> Fidelity:
    """Compare frame by frame; raises ValueError where a frame holds values that are not numbers."""
    errors = []
    for index in range(len(videos[0])):
        comfy.model_management.throw_exception_if_processing_interrupted()
        frames = [frame_of(video, index) for video in videos]
        for name, frame in zip(VIDEOS, frames, strict=True):
            if not bool(frame.isfinite().all()):
                raise ValueError(
                    f"{NODE}: frame {index + 1} of {name} holds values that are not finite numbers, so its "
                    "sampling or decoding has failed."
                )
        errors.append(frame_errors(*frames))
        progress.update(1)
    return Fidelity(*zip(*errors, strict=True))


def draw(videos: Sequence[Tensor], gain: int, progress: Any) -> tuple[Tensor, FrameFiles | None, str]:
    """Return the difference `[T, H, W, 3]`, the panel's files, and why there are none, else an empty text."""
    count, height, width = videos[0].shape[:3]
    difference = torch.empty((count, height, width, 3))
    kept, files, refused = set(shown_frames(count)), None, ""
    for index in range(count):
        comfy.model_management.throw_exception_if_processing_interrupted()
        one, other = (frame_of(video, index) for video in videos)
        difference[index] = amplified(one, other, gain)
        if index in kept and not refused:
            try:
                files = files or FrameFiles(height, width)
                files.add([one, other, difference[index]])
            except OSError as error:
                files, refused = None, str(error.strerror or error)
        progress.update(1)
    return difference, files, refused


def frame_of(video: Tensor, index: int) -> Tensor:
    """Return a frame as `[H, W, 3]`, float32, in main memory; transparency is left out."""
    frame = video[index, ..., :3].to("cpu", torch.float32)
    return frame.expand(-1, -1, 3)


def found(fidelity: Fidelity) -> list[Note]:
    """Say what the comparison has found, the numbers first."""
    count = len(fidelity.mse)
    if fidelity.identical:
        return [Note("compare_identical")]
    numbers = {
        "psnr": f"{fidelity.psnr:.1f}",
        "worst_psnr": f"{fidelity.worst_psnr:.1f}",
        "ssim": ssim_text(fidelity.mean_ssim),
        "worst_ssim": ssim_text(fidelity.worst_ssim),
    }
    notes = [Note("compare_numbers", numbers), Note("compare_rms", {"rms": f"{fidelity.rms:.3g}"})]
    if count > 1:
        notes.append(Note("compare_worst", {"frame": fidelity.worst_frame + 1, "count": count}))
    return [*notes, Note("compare_gain", {"gain": fidelity.gain})]


def ssim_text(ssim: float) -> str:
    """Print an SSIM of videos that differ: never as 1, however near."""
    return f"{ssim:.3f}" if ssim < 0.9985 else f"{min(ssim, 0.9999):.4f}"
