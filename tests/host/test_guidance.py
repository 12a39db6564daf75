"""The plan knows how strongly each guider guides, and so what an error in one branch becomes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from guidance import dual
from judge import SETTINGS, Scene, flat, run_with
from scenes import wan as load_wan


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ({"cfg": 5.0}, 5.0),
        ({"cfg": 1.0, "cfg1": 4.0, "cfg2": 3.0}, 4.0),
        ({"cfg": 1.0, "cfg1": 4.0, "cfg2": 3.0, "nested": True}, 12.0),
        ({}, None),
        ({"cfg": "by the prompt"}, None),
    ],
)
def test_the_weight_of_the_positive_branch_is_read_off_the_guider(host, numbers, expected):
    from sencache.nodes.host.guidance import guidance_scale

    assert guidance_scale(SimpleNamespace(**numbers)) == expected


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_two_guidances_in_one_guider_are_planned_with_their_real_strength(host, style):
    """Planned as if unguided, the nested result was 20 dB away at the defaults."""
    scene = Scene((load_wan(host),), lambda model: dual(style)(host, model))
    run = run_with(scene, SETTINGS["by_error"], flat(scene.sample(*scene.models)))
    assert run["honest"] and run["psnr"] > 40
