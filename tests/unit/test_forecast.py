"""The output of a reused evaluation: how much each earlier output counts; none of them is changed."""

from __future__ import annotations

import pytest
import torch
from sencache.caching.forecast import HISTORY, combine, weights


def line(time: float) -> torch.Tensor:
    """An output that changes linearly in model time, as every one of its numbers does at its own pace."""
    return torch.tensor([1.0, -2.0, 0.0]) + time * torch.tensor([0.5, 0.25, -1.0])


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


@pytest.mark.parametrize("kind", sorted(HISTORY))
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
