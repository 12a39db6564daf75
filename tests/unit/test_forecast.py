"""The output of a reused evaluation: how much each earlier output counts; none of them is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sencache.caching import forecast as forecasts
from sencache.caching.forecast import FORECASTS, ServedStep, combine, interpolation_weights, residual_weights


def line(time: float) -> torch.Tensor:
    """An output that changes linearly in model time, as every one of its numbers does at its own pace."""
    return torch.tensor([1.0, -2.0, 0.0]) + time * torch.tensor([0.5, 0.25, -1.0])


def weights(kind: str, times: list[float], time: float, damping: float = 1.0) -> list[float]:
    return forecasts.weights(FORECASTS[kind], times, time, damping)


def forecast(kind: str, times: list[float], time: float) -> torch.Tensor:
    return combine([line(one) for one in times], weights(kind, times, time))


def test_hold_repeats_the_last_computed_output():
    assert torch.equal(forecast("hold", [900.0], 700.0), line(900.0))
    assert torch.equal(forecast("hold", [1000.0, 900.0], 700.0), line(900.0))


@pytest.mark.parametrize("time", [800.0, 700.0, 0.0, 950.0, 1200.0])
def test_linear_is_exact_for_an_output_on_a_line_in_time(time):
    assert torch.allclose(forecast("linear", [1000.0, 900.0], time), line(time), rtol=0, atol=1e-4)


def test_linear_goes_as_far_beyond_the_last_output_as_its_share_of_the_last_step():
    assert weights("linear", [1000.0, 900.0], 850.0) == [-0.5, 1.5]
    assert weights("linear", [1000.0, 900.0], 700.0) == [-2.0, 3.0]


def test_linear_repeats_the_last_output_at_its_own_time():
    assert weights("linear", [1000.0, 900.0], 900.0) == [0.0, 1.0]


@pytest.mark.parametrize("times", [[900.0], [900.0, 900.0]], ids=["one output", "two at the same time"])
def test_linear_holds_where_no_line_is_known(times):
    assert weights("linear", times, 700.0) == weights("hold", times, 700.0)
    assert torch.equal(forecast("linear", times, 700.0), line(900.0))


@pytest.mark.parametrize("kind", sorted(FORECASTS))
@pytest.mark.parametrize("times", [[1000.0], [1000.0, 937.5], [0.25, 1000.0], [3.0, 3.0]])
def test_weights_sum_to_one_with_one_for_every_output(kind, times):
    for time in (1100.0, 937.5, 400.0, 0.0):
        found = weights(kind, times, time)
        assert len(found) == len(times)
        assert sum(found) == pytest.approx(1.0, abs=1e-9)


def test_a_forecast_from_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one computed output"):
        weights("linear", [], 500.0)


@pytest.mark.parametrize("output_weights", [[0.0, 1.0], [-0.5, 1.5]])
def test_combining_gives_a_new_tensor_and_leaves_the_outputs_alone(output_weights):
    outputs = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])]
    result = combine(outputs, output_weights)
    result.fill_(99.0)
    assert outputs[0].tolist() == [1.0, 2.0] and outputs[1].tolist() == [3.0, 5.0]


def test_combining_a_single_output_gives_a_copy_and_not_the_output_itself():
    output = torch.tensor([1.0, 2.0])
    combine([output], [1.0]).fill_(99.0)
    assert output.tolist() == [1.0, 2.0]


def test_holding_returns_the_output_bit_for_bit_in_half_precision_too():
    output = torch.randn(64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    held = combine([torch.zeros_like(output), output], [0.0, 1.0])
    assert held.dtype == torch.bfloat16 and torch.equal(held, output)


def test_a_weight_of_zero_keeps_a_broken_output_out():
    broken, whole = torch.tensor([float("nan")]), torch.tensor([2.0])
    assert combine([broken, whole], [0.0, 1.0]).tolist() == [2.0]


def test_outputs_and_weights_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError):
        combine([torch.ones(1), torch.ones(1)], [1.0])


@pytest.mark.parametrize(("damping", "expected"), [(0.0, [0.0, 1.0]), (0.5, [-1.0, 2.0]), (1.0, [-2.0, 3.0])])
def test_damping_is_the_share_of_the_rise_that_is_followed(damping, expected):
    assert weights("linear", [1000.0, 900.0], 700.0, damping) == expected


def test_interpolating_is_exact_for_a_parabola_through_three_outputs_and_a_line_through_two():
    times = [1.0, 3.0, 4.0]
    parabola = [2 - time + 0.5 * time**2 for time in times]
    found = interpolation_weights(times, 2.0)
    assert sum(w * value for w, value in zip(found, parabola, strict=True)) == pytest.approx(2.0)
    assert interpolation_weights([1.0, 3.0], 2.5) == [0.25, 0.75]
    assert interpolation_weights(times, 3.0) == [0.0, 1.0, 0.0]


def test_the_residual_of_served_steps_is_the_curve_through_the_next_output_less_the_forecast():
    # outputs 0, 1 at times 0, 1 and 4 at time 2.0: t^2; served at 1.5 with weight 2: 1.5, and 2.25 was right
    lacked = residual_weights(FORECASTS["linear"], [0.0, 1.0, 2.0], [ServedStep(1.5, 2.0, 1.0)])
    assert sum(w * value for w, value in zip(lacked, [0.0, 1.0, 4.0], strict=True)) == pytest.approx(1.5)
    assert sum(lacked) == pytest.approx(0.0)  # outputs that are all the same lacked nothing


def test_the_residual_of_a_held_first_output_is_the_line_to_the_next():
    # outputs 0 and 4 at times 0 and 4, held at times 1 and 3: lacking 1 and 3
    steps = [ServedStep(1.0, 0.5, 1.0), ServedStep(3.0, 0.5, 1.0)]
    lacked = residual_weights(FORECASTS["linear"], [0.0, 4.0], steps)
    assert lacked == pytest.approx([-0.5, 0.5])


@pytest.mark.parametrize("kind", sorted(FORECASTS))
@pytest.mark.parametrize("history", [1, 2])
def test_the_weights_of_many_histories_and_times_at_once_are_those_of_each(kind, history):
    """The planner asks so: times [history, strides, 1] of computed outputs, and times [reused] after them."""
    own = FORECASTS[kind]
    history = min(history, own.history)
    times = np.array([[[0.0], [0.1], [0.3]], [[0.5], [0.6], [0.7]]])[-history:]
    after = np.array([0.8, 0.9, 1.0, 1.1])
    found = own.weights(times, after)
    assert found.shape == (history, 3, 4)
    for stride in range(3):
        for place, time in enumerate(after):
            alone = forecasts.weights(own, times[:, stride, 0].tolist(), float(time))
            assert found[:, stride, place].tolist() == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("kind", sorted(FORECASTS))
def test_outputs_older_than_a_forecast_needs_weigh_nothing(kind):
    history = FORECASTS[kind].history
    found = weights(kind, [5.0, 4.0, 3.0, 2.0], 1.0)
    assert found[: 4 - history] == [0.0] * (4 - history)
    assert found[4 - history :] == weights(kind, [5.0, 4.0, 3.0, 2.0][-history:], 1.0)
