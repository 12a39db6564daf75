"""A run of a model that has no table yet, or not a whole one: watched, and its table saved at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...caching.config import SenCacheConfig
from ...caching.notes import Note
from ...calibration.recording import Obstacle, UnmeasurableError
from ...calibration.table import TableError
from ..panel.live import tell_measured
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
    measuring: Measuring
    guider: Any
    sampler: Any
    sigmas: Tensor
    planned: bool  # by a table that has measured a part

    @classmethod
    def begin(
        cls,
        config: SenCacheConfig,
        source: TableSource,
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
        return cls(config, source, measuring, guider, sampler, sigmas.clone(), prepared.policy.stores)

    def finish(self, complete: bool) -> tuple[Note, ...]:
        """Save the table of a complete run; return what a person should know. Nothing is raised."""
        try:
            return (self._saved() if complete else Note("measuring_stopped"),)
        except UnmeasurableError as obstacle:
            return (_unmeasurable(obstacle.why),)
        except (OSError, TableError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return (Note("measured_not_saved", {"why": why}),)
        except Exception:  # the sampled video matters more than its measurement
            logger.exception("SenCache: the run could not be measured.")
            return (_unmeasurable(Obstacle.NOT_MEASURABLE),)
        finally:
            self.measuring.release()

    def _saved(self) -> Note:
        steps = len(self.sigmas) - 1
        function = getattr(self.sampler, "sampler_function", None)
        name = getattr(function, "__name__", type(self.sampler).__name__).removeprefix("sample_")
        measured = self.measuring.table(guidance_scale(self.guider), steps, name)
        self.source.save(measured)
        times = self.measuring.model_sampling.timestep(self.sigmas[:-1]).float().tolist()
        found = self.source.find(self.guider, times)  # what the next run will: nothing else may be promised
        if found is None:
            raise TableError("the next run would not find it")
        run = expected(self.config, found.table, self.guider, self.sampler, self.sigmas)
        tell_measured(found.name)
        values = {"table": found.name, "nfe": run.nfe, "total": len(run.decisions)}
        return Note("measured_rest" if self.planned else "measured", values)


def _unmeasurable(why: Obstacle) -> Note:
    return Note(f"unmeasurable_{why.value}")
