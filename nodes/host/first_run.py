"""A run of a model that has no table yet, or not a whole one: watched, and its table saved at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...caching.record import Evaluation
from ...caching.remarks import unmeasured_times
from ...calibration.recording import Obstacle, UnmeasurableError
from ...calibration.table import SensitivityTable, TableError
from .audience import Audience
from .guidance import guidance_scale
from .measuring import Measuring
from .prepare import PreparedRun, expected
from .source import TableSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What is measured during a run, and what is needed to say what the next one will do."""

    config: SenCacheConfig
    source: TableSource
    audience: Audience
    measuring: Measuring
    guider: Any
    sampler: Any
    sigmas: Tensor
    table: SensitivityTable | None  # that has measured a part

    @classmethod
    def begin(
        cls,
        config: SenCacheConfig,
        source: TableSource,
        audience: Audience,
        prepared: PreparedRun,
        guider: Any,
        sampler: Any,
        sigmas: Tensor,
        noise: Tensor,
        mask: Tensor | None,
    ) -> FirstRun | None:
        """Prepare to measure, None for a run that has all that it needs."""
        if not prepared.measures:
            return None
        sampling = prepared.model_sampling
        measuring = Measuring.begin(guider, sampling, noise, len(sigmas) - 1, mask, prepared.why_not)
        measuring.recording.noiseless = prepared.noiseless
        return cls(config, source, audience, measuring, guider, sampler, sigmas.clone(), prepared.table)

    def finish(self, complete: bool, evaluations: Sequence[Evaluation]) -> tuple[Note, ...]:
        """Save what a complete run has measured; return what a person should know. Nothing is raised.

        Where a table had measured all of the computed `evaluations`, nothing is saved or said.
        """
        times = [one.timestep for one in evaluations if not one.decision.reuse]
        lacked = None if self.table is None else unmeasured_times(self.table, times)
        try:
            return () if lacked == 0 else self._outcome(complete, lacked)
        finally:
            self.measuring.release()

    def _outcome(self, complete: bool, lacked: int | None) -> tuple[Note, ...]:
        told = self._kept(complete)
        whole = lacked is None or told.code in ("measured_rest", "measuring_stopped")
        return (told,) if whole else (Note("unmeasured", {"count": lacked}), told)

    def _kept(self, complete: bool) -> Note:
        """Save what was measured, or say why not."""
        spoiled = self.measuring.spoiled
        try:
            return self._saved() if complete or spoiled is not None else Note("measuring_stopped")
        except UnmeasurableError as obstacle:
            return _unmeasurable(obstacle.why)
        except (OSError, TableError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Note("measured_not_saved", {"why": why})
        except Exception:  # the sampled video matters more than its measurement
            logger.exception("SenCache: the run could not be measured.")
            return _unmeasurable(Obstacle.NOT_MEASURABLE)

    def _saved(self) -> Note:
        steps = len(self.sigmas) - 1
        function = getattr(self.sampler, "sampler_function", None)
        name = getattr(function, "__name__", type(self.sampler).__name__).removeprefix("sample_")
        measured = self.measuring.table(guidance_scale(self.guider), steps, name)
        saved = self.source.save(measured)
        times = self.measuring.model_sampling.timestep(self.sigmas[:-1]).float().tolist()
        found = self.source.next_of(self.guider, times, saved)  # nothing else may be promised
        if found is None:
            raise TableError("the next run would not find it")
        run = expected(self.config, found.table, self.guider, self.sampler, self.sigmas)
        self.audience.measured(found.name)
        values = {"table": found.name, "nfe": run.nfe, "total": len(run.decisions)}
        return Note("measured" if self.table is None else "measured_rest", values)


def _unmeasurable(why: Obstacle) -> Note:
    return Note(f"unmeasurable_{why.value}")
