"""What a run has learnt of its clip: how much harder than the table says it is to forecast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sencache.caching import tuned
from sencache.caching.planning.outlook import Outlook

MISSES = st.floats(0, 1e3)


def test_a_clip_of_which_nothing_is_known_is_expected_to_be_harder_than_the_mean_at_the_start():
    expected = Outlook.before_anything().at(np.linspace(0, 1, 11))
    assert expected[0] == tuned.UNKNOWN_CLIP and (np.diff(expected) < 0).all() and (expected >= 1).all()
    third = math.exp(-1) * math.log(tuned.UNKNOWN_CLIP)
    assert math.log(Outlook.before_anything().at(tuned.SURPRISE_LASTS)) == pytest.approx(third)


@pytest.mark.parametrize(("missed", "seen"), [(0.3, 3.0), (0.05, 1.0), (90.0, tuned.LARGEST_SURPRISE)])
def test_what_was_seen_takes_the_place_of_what_was_expected(missed, seen):
    found = Outlook.before_anything().after(missed, 0.1, 0.1)
    assert found == Outlook(pytest.approx(seen), 0.1)
    assert found.at(0.1) == pytest.approx(seen)


def test_what_was_seen_is_kept_where_it_is_about_what_was_expected():
    outlook = Outlook(5.0, 0.0)
    now = float(outlook.at(0.1))
    for ratio in (1 / tuned.SAME_SURPRISE, 1.0, tuned.SAME_SURPRISE):
        assert outlook.after(0.1 * now * ratio * (0.999 if ratio > 1 else 1.001), 0.1, 0.1) is outlook
    for ratio in (0.9 / tuned.SAME_SURPRISE, 1.1 * tuned.SAME_SURPRISE):
        assert outlook.after(0.1 * now * ratio, 0.1, 0.1).since == 0.1


def test_an_error_that_rounding_hides_makes_no_clip_easier():
    """Of two outputs next to each other half precision leaves more difference than there is."""
    small = tuned.SMALLEST_MISS / 10
    outlook = Outlook(8.0, 0.2)
    assert outlook.after(small, small, 0.2) is outlook
    assert outlook.after(4 * small, small, 0.2) is outlook  # a table would call that four times as far
    assert outlook.after(20 * tuned.SMALLEST_MISS, small, 0.2).surprise == pytest.approx(20.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_output_tells_nothing(broken):
    assert Outlook.before_anything().after(broken, 0.1, 0.5) == Outlook.before_anything()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(MISSES, MISSES, st.floats(0, 1)), max_size=8))
def test_whatever_is_seen_the_outlook_stays_between_one_and_the_largest(seen):
    outlook = Outlook.before_anything()
    for missed, expected, progress in sorted(seen, key=lambda one: one[2]):
        outlook = outlook.after(missed, expected, progress)
        ahead = outlook.at(np.linspace(progress, 1, 5))
        assert (ahead >= 1).all() and (ahead <= max(tuned.LARGEST_SURPRISE, tuned.UNKNOWN_CLIP)).all()
