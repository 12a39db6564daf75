"""How much harder than the table says the clip at hand is to forecast, as far as its outputs have told."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import tuned
from .points import Array


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many times further than the table says outputs are expected to be from their forecasts (ours).

    A table is a mean over clips; early in a run one clip's outputs can change twenty times as fast as
    another's, and such a clip is the one that goes wrong. What was seen at `since` (on the progress axis)
    fades to 1 along the run. Until anything was seen, a clip is expected to be harder than the mean.
    """

    surprise: float
    since: float

    @classmethod
    def before_anything(cls) -> Outlook:
        """Return what is expected at the start of a run."""
        return cls(tuned.UNKNOWN_CLIP, 0.0)

    def at(self, progress: Array | float) -> Array:
        """Return what is expected at points of the progress, of the same shape."""
        passed = np.asarray(progress) - self.since
        return np.asarray(self.surprise ** np.exp(-passed / tuned.SURPRISE_LASTS))

    def after(self, missed: float, expected: float, progress: float) -> Outlook:
        """Return the outlook once a forecast would have missed an output by `missed`, not `expected` (rms).

        An error that is expected to be small tells only that the clip is harder. Where what was seen is about
        what was expected, the outlook stays.
        """
        before = float(self.at(progress))
        seen = missed / max(expected, tuned.SMALLEST_MISS)
        if not math.isfinite(seen):
            return self
        seen = min(max(seen, 1.0), tuned.LARGEST_SURPRISE)
        if expected < tuned.SMALLEST_MISS:
            seen = max(seen, before)
        same = max(seen / before, before / seen) < tuned.SAME_SURPRISE
        return self if same else Outlook(seen, progress)
