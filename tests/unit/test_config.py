"""Settings: which are refused, in which words, and that they can not be changed."""

from __future__ import annotations

import math

import pytest
from sencache.caching.config import SenCacheConfig, Zones


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "sum"}, "rule is 'sum'; it must be one of plan, joint, paper"),
        ({"forecast": "cubic"}, "forecast is 'cubic'; it must be one of linear, hold"),
        ({"cache_device": "cuda"}, "cache_device is 'cuda'; it must be one of model, cpu"),
        ({"epsilon": -0.1}, "epsilon is -0.1; it must be a finite number from 0 up"),
        ({"epsilon": math.nan}, "epsilon is nan; it must be a finite number from 0 up"),
        ({"strict_epsilon": math.inf}, "strict_epsilon is inf; it must be a finite number from 0 up"),
        ({"max_reuse": -1}, "max_reuse is -1; it must be a whole number from 0 up"),
        ({"max_reuse": 2.5}, "max_reuse is 2.5; it must be a whole number from 0 up"),
        ({"start_percent": 1.5}, "start_percent is 1.5; it must lie between 0 and 1"),
        ({"end_percent": -0.5}, "end_percent is -0.5; it must lie between 0 and 1"),
        ({"strict_percent": math.nan}, "strict_percent is nan; it must lie between 0 and 1"),
        ({"epsilon": "0.5"}, "epsilon is '0.5'; it must be a finite number from 0 up"),
        ({"epsilon": None}, "epsilon is None; it must be a finite number from 0 up"),
        ({"speed_up": [2.0]}, "speed_up is [2.0]; it must be 0 (by epsilon) or from 1 up"),
        ({"speed_up": 0.5}, "speed_up is 0.5; it must be 0 (by epsilon) or from 1 up"),
        ({"end_percent": {}}, "end_percent is {}; it must lie between 0 and 1"),
        ({"rule": ["plan"]}, "rule is ['plan']; it must be one of plan, joint, paper"),
        (
            {"strict_epsilon": -(10**5000)},
            "strict_epsilon is a number of thousands of digits; it must be a finite number from 0 up",
        ),
        ({"rule": "x" * 10**6}, f"rule is '{'x' * 59} ...; it must be one of plan, joint, paper"),
    ],
)
def test_settings_out_of_bounds_are_refused_with_the_value_and_what_is_allowed(settings, message):
    with pytest.raises(ValueError) as caught:
        SenCacheConfig(**settings)
    assert str(caught.value) == message


def test_settings_can_not_be_changed_after_they_were_checked():
    with pytest.raises(AttributeError):
        SenCacheConfig().epsilon = -1.0


@pytest.mark.parametrize(
    ("settings", "reuses"),
    [
        ({}, True),
        ({"epsilon": 0.0}, False),
        ({"max_reuse": 0}, False),
        ({"epsilon": 0.0, "speed_up": 3.0}, False),
        ({"speed_up": 3.0}, True),
        ({"speed_up": 1.0}, False),
        ({"speed_up": 1}, False),
        ({"speed_up": 1.01}, True),
    ],
)
def test_an_epsilon_or_n_of_zero_or_a_speed_up_of_one_turns_reuse_off(settings, reuses):
    assert SenCacheConfig(**settings).reuses is reuses


def test_the_range_begins_with_start_ends_before_end_and_is_strict_before_the_strict_zones_end():
    zones = Zones(start_sigma=0.8, end_sigma=0.2, strict_sigma=0.5)
    sigmas = (0.95, 0.8, 0.5, 0.21, 0.2, 0.1)
    assert [zones.allows_reuse(sigma) for sigma in sigmas] == [False, True, True, True, False, False]
    config = SenCacheConfig(epsilon=1.0, strict_epsilon=0.1)
    assert [zones.epsilon(config, sigma) for sigma in (0.51, 0.5, 0.3)] == [0.1, 1.0, 1.0]
