"""A run's record as the browser shows it."""

from __future__ import annotations

from ...caching.record import RunRecord
from ...caching.report import as_dict
from .wire import RunTold


def as_shown(record: RunRecord) -> RunTold:
    """Return the report's values with the times that a person compares: as it ran, and as if uncached."""
    seconds = sum(one.seconds for one in record.evaluations)
    uncached = seconds + record.seconds_saved
    return RunTold(
        **as_dict(record),
        prompt=record.prompt_id,
        seconds=seconds,
        seconds_uncached=uncached,
        time_speed_up=uncached / seconds if seconds > 0 else 1.0,
    )
