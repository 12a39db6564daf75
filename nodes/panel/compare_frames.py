"""The frames of a comparison as files that its panel fetches: light ones, in ComfyUI's temp folder."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import folder_paths
import numpy as np
from PIL import Image
from torch import Tensor

FOLDER = "sencache_compare"
LONGEST = 768  # pixels of a shown frame's longer side
MOST = 240  # frames shown of a long video
MOST_RUNS = 16  # comparisons whose frames are kept; ComfyUI empties its temp folder only when it starts
QUALITY = 90
BLOCK = 16  # pixels that a JPEG mixes at most, so each picture of a file begins at a multiple of it


def shown_frames(count: int) -> list[int]:
    """Return which of `count` frames are shown: all, or as many as are kept, evenly and with both ends."""
    if count <= MOST:
        return list(range(count))
    return [round(index * (count - 1) / (MOST - 1)) for index in range(MOST)]


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width that a frame is shown at; a small one is not enlarged."""
    scale = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class FrameFiles:
    """Writes one file a frame, which holds its pictures side by side: they can't be shown out of step."""

    def __init__(self, height: int, width: int) -> None:
        """Take the video's size in pixels; raises OSError where the temp folder can't be made."""
        self.height, self.width = shown_size(height, width)
        self.names: list[str] = []
        self._folder = Path(folder_paths.get_temp_directory()) / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = uuid.uuid4().hex[:12]
        self._forget_old_runs()

    def add(self, pictures: Sequence[Tensor]) -> None:
        """Write a frame's pictures `[H, W, 3]`, 0 to 1; raises OSError where the disk refuses."""
        name = f"{self._run}_{len(self.names):05d}.jpg"
        strip = Image.fromarray(np.concatenate([self._scaled(one) for one in pictures], axis=1))
        strip.save(self._folder / name, quality=QUALITY, subsampling=0)
        self.names.append(name)

    def _forget_old_runs(self) -> None:
        """Delete the frames of all but the newest comparisons; raises OSError where that is refused."""
        runs: dict[str, list[Path]] = {}
        for file in sorted(self._folder.glob("*.jpg"), key=_changed):
            runs.setdefault(file.name.partition("_")[0], []).append(file)
        for run in list(runs)[: max(0, len(runs) - (MOST_RUNS - 1))]:
            for file in runs[run]:
                file.unlink(missing_ok=True)

    def _scaled(self, picture: Tensor) -> np.ndarray:
        """Return a picture at the shown size, its last column repeated up to a whole block."""
        pixels = Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy())
        scaled = np.asarray(pixels.resize((self.width, self.height), Image.Resampling.LANCZOS))
        return np.pad(scaled, ((0, 0), (0, -self.width % BLOCK), (0, 0)), mode="edge")


def _changed(file: Path) -> float:
    """Return when a file was written; one that has just gone comes first."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
