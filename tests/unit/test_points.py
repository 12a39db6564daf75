"""What a change of the output at each step changes in the finished latent, and which runs can be planned."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sencache.caching import tuned
from sencache.caching.planning.points import amplification_of, step_weights
from sencache.tests.toy_plans import POINTS, SIGMAS
from sencache.tests.toy_runs import NOWHERE


@pytest.mark.parametrize("kind", ["flow", "variance preserving"])
def test_step_weights_are_what_one_real_step_does_with_an_error(kind):
    """An error of 1 in the output at one step, by the sampler's own formula, in unit-variance latents."""
    angles = np.linspace(1.5, 0.1, 8)
    flow = np.linspace(0.95, 0.1, 8)
    sigma = flow if kind == "flow" else np.tan(angles)
    signal = 1 - flow if kind == "flow" else np.ones(8)
    gain = sigma if kind == "flow" else sigma / np.hypot(1, sigma)
    weights = step_weights(signal, sigma, -gain[:-1])
    if kind == "flow":
        expected = -np.diff(flow) / np.hypot(1 - flow[1:], flow[1:])
    else:
        expected = np.sin(angles[:-1] - angles[1:])
    assert weights == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lost", ["weights", "amplification", "noise"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_run_whose_latent_holds_no_noise_does_not_say_what_an_error_does(lost, number):
    assert POINTS.counts
    assert not replace(POINTS, **{lost: (number, *(getattr(POINTS, lost) or (1.0,))[1:])}).counts


def test_a_run_descends_where_progress_rises_from_step_to_step():
    assert POINTS.descends and not NOWHERE.descends
    assert replace(POINTS, progress=(0.0,)).descends
    assert not replace(POINTS, progress=(0.0, 0.5, 0.3)).descends  # sigma goes up
    assert not replace(POINTS, progress=(0.0, 0.0, 0.3)).descends  # sigmas above all that is known


def test_a_run_that_evaluates_once_a_step_arrives_at_every_step():
    assert POINTS.arrivals == tuple((sigma, 1000 * sigma) for sigma in SIGMAS)


def test_a_change_in_a_direction_of_large_variance_is_stretched_by_the_rest_of_the_sampling():
    """By hand: from pure noise the sampling makes variance 32 of variance 1; at the end nothing is left."""
    signal, noise = np.array([0.0, 0.6, 1.0]), np.array([1.0, 0.8, 0.0])
    factors = amplification_of(signal, noise, 32.0)
    assert factors[0] == pytest.approx(math.sqrt(32)) and factors[2] == pytest.approx(1.0)
    assert factors[1] == pytest.approx(math.sqrt(32 / (0.36 * 32 + 0.64)))
    assert np.allclose(amplification_of(signal, noise, 1.0), 1.0)


def test_samplers_with_a_gain_pull_small_errors_towards_another_clip(monkeypatch):
    monkeypatch.setattr(tuned, "ANOTHER_CLIP", 0.8)
    monkeypatch.setattr(tuned, "SAMPLER_PULL", 0.5)
    euler, multistep = (replace(NOWHERE, error_gain=gain) for gain in (1.0, 4.0))
    assert euler.amplified(0.0125) == 0.0125 and multistep.amplified(0.0125) == pytest.approx(0.1)  # 8 times
    assert multistep.amplified(0.0) == 0.0 and multistep.amplified(0.9) == 0.9
    assert multistep.amplified(math.inf) == math.inf
