"""Finite differences on a linear network, whose sensitivities are known: f(x, t) = turn x + slope t."""

from __future__ import annotations

import math

import pytest
import torch
from sencache.calibration.estimator import EXTRA_EVALUATIONS, TrajectoryProbe, sample_rms
from sencache.calibration.table import TableError
from torch import Tensor

GAIN = 2.0
SIGMAS = [1.0, 0.8, 0.6, 0.3, 0.1]
TIMESTEPS = [1000 * sigma for sigma in SIGMAS]


class Turning:
    """f(x, t): turns every pair of `x [B, 2 pairs]` by 90 degrees, stretches it by 2, and adds `slope` * t.

    However x moves, the output moves twice as far and at a right angle to it.
    """

    def __init__(self, slope: tuple[float, ...]) -> None:
        self.slope = torch.tensor(slope)
        self.asked: list[tuple[Tensor, float]] = []

    def __call__(self, x: Tensor, timestep: float) -> Tensor:
        self.asked.append((x.clone(), timestep))
        pairs = x.reshape(len(x), -1, 2)
        turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).reshape(x.shape)
        return GAIN * turned + self.slope * timestep


def along(direction: tuple[float, ...], sigma: float) -> Tensor:
    """A latent that moves straight: `[1, 2]`, from the direction at sigma 1 to the origin at 0."""
    return sigma * torch.tensor([direction])


def table_on_trajectory(network: Turning, latents: list[Tensor]):
    probe = TrajectoryProbe(network)
    for x, sigma in zip(latents, SIGMAS, strict=True):
        probe.observe(x, sigma, 1000 * sigma, network(x, 1000 * sigma))
    return probe.table({})


def test_the_rms_is_of_every_sample_by_itself_and_in_float32():
    tensor = torch.tensor([[3.0, 4.0], [0.0, 0.0], [60000.0, 60000.0]], dtype=torch.float16)
    assert sample_rms(tensor).tolist() == pytest.approx([math.sqrt(12.5), 0.0, 60000.0], rel=1e-3)
    assert sample_rms(tensor.reshape(3, 2, 1, 1, 1)).shape == (3,)


@pytest.mark.parametrize(
    ("slope", "alignment"),
    [((0.0, 0.005), 1.0), ((0.0, -0.005), -1.0), ((0.005, 0.0), 0.0), ((0.003, 0.004), 0.8)],
)
def test_sensitivities_and_alignment_of_a_linear_network_are_found_on_a_trajectory(slope, alignment):
    network = Turning(slope)  # x moves along the first axis and so turn x along the second, both falling
    table = table_on_trajectory(network, [along((1.0, 0.0), sigma) for sigma in SIGMAS])
    assert table.timestep.tolist() == pytest.approx(TIMESTEPS[:-1])
    assert table.mean("latent_sensitivity") == pytest.approx([GAIN] * 4, rel=0.01)
    assert table.mean("time_sensitivity") == pytest.approx([0.005 / math.sqrt(2)] * 4, rel=0.01)
    assert table.mean("alignment") == pytest.approx([alignment] * 4, abs=0.01)


def test_the_latents_drift_and_the_outputs_rms_are_found_too():
    network = Turning((0.0, 0.0))
    table = table_on_trajectory(network, [along((3.0, 4.0), sigma) for sigma in SIGMAS])
    assert table.mean("latent_drift") == pytest.approx([5 / math.sqrt(2) / 1000] * 4, rel=1e-4)
    outputs = [GAIN * sigma * 5 / math.sqrt(2) for sigma in SIGMAS[:-1]]
    assert table.mean("output_rms") == pytest.approx(outputs, rel=1e-5)


def test_a_trajectory_costs_two_more_evaluations_for_every_step_but_the_last():
    network = Turning((0.0, 0.005))
    table_on_trajectory(network, [along((1.0, 0.0), sigma) for sigma in SIGMAS])
    assert len(network.asked) == len(SIGMAS) + EXTRA_EVALUATIONS * (len(SIGMAS) - 1) == 5 + 8


def test_the_extra_evaluations_change_the_latent_and_the_time_one_at_a_time():
    network = Turning((0.0, 0.005))
    probe = TrajectoryProbe(network)
    for sigma in (1.0, 0.5):
        probe.observe(along((1.0, 0.0), sigma), sigma, 1000 * sigma, torch.zeros(1, 2))
    assert [(x.tolist(), t) for x, t in network.asked] == [([[0.5, 0.0]], 1000.0), ([[1.0, 0.0]], 500.0)]


def test_a_batch_of_latents_gives_a_row_for_each_and_none_disturbs_another():
    network = Turning((0.0, 0.005))
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-7.0, 0.0]])
    table = table_on_trajectory(network, [sigma * directions for sigma in SIGMAS])
    assert table.num_samples == 3
    assert table.rows["alignment"].tolist() == [pytest.approx([value] * 4, abs=1e-3) for value in (1, 0, -1)]
    drifts = [value / math.sqrt(2) / 1000 for value in (1.0, 1.0, 7.0)]
    assert table.rows["latent_drift"].tolist() == [pytest.approx([value] * 4, rel=1e-3) for value in drifts]


def test_what_is_observed_is_not_changed_and_may_be_changed_by_the_sampler_later():
    network = Turning((0.0, 0.005))
    x = along((1.0, 0.0), 1.0)
    probe = TrajectoryProbe(network)
    for sigma in SIGMAS:
        before = x.clone()
        output = network(x, 1000 * sigma)
        probe.observe(x, sigma, 1000 * sigma, output)
        assert torch.equal(x, before)
        x -= 0.1  # in place, as some samplers step
        output.fill_(float("nan"))
    assert probe.table({}).mean("latent_sensitivity") == pytest.approx([GAIN] * 4, rel=0.01)


def observed(*sigmas: float):
    network = Turning((0.0, 0.005))
    probe = TrajectoryProbe(network)
    for index, sigma in enumerate(sigmas):
        x = along((1.0, 0.1 * index), sigma)
        probe.observe(x, sigma, 1000 * sigma, network(x, 1000 * sigma))
    return probe


def test_a_second_look_at_a_sigma_replaces_the_first():
    probe = observed(1.0, 0.7, 0.7, 0.4, 0.4, 0.2)
    table = probe.table({})
    assert table.timestep.tolist() == pytest.approx([1000, 700, 400])
    assert len(probe.denoise.asked) == 6 + 6
    second_look_drift = sample_rms(along((1.0, 0.3), 0.4) - along((1.0, 0.2), 0.7)).item() / 300
    assert table.mean("latent_drift")[1] == pytest.approx(second_look_drift, rel=1e-3)
    assert table.mean("latent_sensitivity") == pytest.approx([GAIN] * 3, rel=0.01)


def test_a_look_ahead_and_back_leaves_descending_knots():
    table = observed(1.0, 0.7, 0.4, 0.7, 0.4, 0.2, 0.4, 0.2, 0.1).table({})
    assert table.timestep.tolist() == pytest.approx([1000, 700, 400, 200])
    assert table.mean("latent_sensitivity") == pytest.approx([GAIN] * 4, rel=0.01)


def test_sigmas_of_schedules_without_a_shift_are_kept_beside_the_model_time():
    probe = TrajectoryProbe(Turning((0.0, 0.005)))
    for sigma, timestep in [(14.5, 999.0), (7.0, 800.0), (0.03, 1.0)]:
        probe.observe(along((1.0, 0.0), sigma), sigma, timestep, torch.zeros(1, 2))
    table = probe.table({})
    assert table.sigma.tolist() == [14.5, 7.0] and table.timestep.tolist() == [999.0, 800.0]


def test_where_nothing_changes_the_sensitivities_are_zero_and_not_a_division_by_zero():
    probe = TrajectoryProbe(lambda x, timestep: torch.ones_like(x))
    for sigma in (1.0, 0.5):
        probe.observe(torch.ones(1, 2), sigma, 1000 * sigma, torch.ones(1, 2))
    table = probe.table({})
    rows = [table.mean(name) for name in ("latent_sensitivity", "time_sensitivity", "alignment")]
    assert rows == [[0.0], [0.0], [0.0]]


@pytest.mark.parametrize("sigmas", [[], [1.0], [0.5, 0.5]])
def test_fewer_than_two_steps_are_refused(sigmas):
    with pytest.raises(TableError, match="at least two sampling steps"):
        observed(*sigmas).table({})


def test_an_output_that_is_not_finite_is_refused():
    probe = TrajectoryProbe(lambda x, timestep: x / 0)
    for sigma in (1.0, 0.5):
        probe.observe(along((1.0, 0.0), sigma), sigma, 1000 * sigma, torch.zeros(1, 2))
    with pytest.raises(TableError, match="not finite"):
        probe.table({})
