"""A calibration that is cancelled, at whatever evaluation, and goes on later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sencache.calibration.estimator import Calibration, TrajectoryProbe
from sencache.calibration.table import SensitivityTable, TableError
from sencache.tests.toy_runs import LinearNetwork
from torch import Tensor

SIGMAS = [1.0, 0.75, 0.5, 0.25]
SAMPLES = 3
EACH = len(SIGMAS) + 2 * (len(SIGMAS) - 1)
METADATA = {"fingerprint": "wan-a", "seed": "7"}


class CancelError(Exception):
    """What the host raises when a person stops the queue."""


def trajectory(
    seed: int, on_evaluation: Callable[[], None], sigmas: list[float] = SIGMAS, batch: int = 1
) -> TrajectoryProbe:
    """Sample with Euler steps and probe in between, as a host does."""
    network = LinearNetwork(gain=-0.5 - 0.1 * seed)

    def denoise(x: Tensor, timestep: float) -> Tensor:
        on_evaluation()
        return network(x, timestep)

    probe = TrajectoryProbe(denoise)
    x = torch.randn(batch, 6, generator=torch.Generator().manual_seed(seed))
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        velocity = denoise(x, 1000 * sigma)
        probe.observe(x, sigma, 1000 * sigma, velocity)
        x = x + (following - sigma) * velocity
    return probe


def calibrate(calibration: Calibration, on_evaluation: Callable[[], None] = lambda: None) -> SensitivityTable:
    """Take sample after sample until there are enough."""
    while calibration.done < calibration.num_samples:
        calibration.add(trajectory(calibration.done, on_evaluation))
    assert calibration.finished is not None
    return calibration.finished


def cancelling_at(evaluation: int) -> Callable[[], None]:
    left = iter(range(evaluation))

    def on_evaluation() -> None:
        if next(left, None) is None:
            raise CancelError

    return on_evaluation


WHOLE = calibrate(Calibration(SAMPLES, METADATA))


def test_progress_is_told_at_every_evaluation():
    told = []
    calibrate(Calibration(SAMPLES, METADATA), lambda: told.append(len(told)))
    assert len(told) == SAMPLES * EACH == 30


def test_every_sample_has_its_own_row():
    gains = WHOLE.rows["latent_sensitivity"]
    assert gains.shape == (3, 3)
    assert torch.allclose(gains, torch.tensor([[0.5], [0.6], [0.7]]).expand(3, 3), rtol=0.01)


@pytest.mark.parametrize("evaluation", range(SAMPLES * EACH))
def test_cancelled_at_any_evaluation_it_keeps_finished_samples_and_ends_as_if_never_stopped(evaluation):
    stopped = Calibration(SAMPLES, METADATA)
    with pytest.raises(CancelError):
        calibrate(stopped, cancelling_at(evaluation))
    assert stopped.done == evaluation // EACH
    resumed = Calibration(SAMPLES, METADATA, stopped.finished)
    assert resumed.done == evaluation // EACH
    told = []
    assert calibrate(resumed, lambda: told.append(1)) == WHOLE
    assert len(told) == (SAMPLES - evaluation // EACH) * EACH


@pytest.mark.parametrize("changed", [{"seed": "8"}, {"fingerprint": "wan-b"}, {"cfg": "5"}])
def test_samples_measured_otherwise_are_left_out(changed):
    other = calibrate(Calibration(2, METADATA | changed))
    calibration = Calibration(SAMPLES, METADATA, other)
    assert calibration.done == 0 and calibration.finished is None
    assert calibrate(calibration) == WHOLE


def test_a_finished_calibration_measures_nothing_again():
    calibration = Calibration(SAMPLES, METADATA, WHOLE)
    told = []
    assert calibrate(calibration, lambda: told.append(1)) is WHOLE and told == []


def test_samples_beyond_those_asked_for_do_not_count_as_more():
    assert Calibration(2, METADATA, WHOLE).done == 2


def test_a_batch_counts_as_so_many_samples():
    calibration = Calibration(SAMPLES, METADATA)
    calibration.add(trajectory(0, lambda: None, batch=2))
    assert calibration.done == 2
    calibration.add(trajectory(1, lambda: None, batch=2))
    assert calibration.done == 3 and calibration.finished.num_samples == 4


def test_a_trajectory_with_other_steps_is_refused_and_changes_nothing():
    calibration = Calibration(SAMPLES, METADATA)
    first = calibration.add(trajectory(0, lambda: None))
    with pytest.raises(TableError, match="different timesteps"):
        calibration.add(trajectory(1, lambda: None, sigmas=[1.0, 0.5, 0.25]))
    assert calibration.finished is first and calibration.done == 1
