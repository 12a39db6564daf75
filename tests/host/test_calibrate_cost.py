"""What a calibration costs: as the node is set, less than one video of 50 steps, and as said before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import sampler_object

ONE_VIDEO = 50


def defaults() -> dict[str, Any]:
    """Return what the node is set to when it is dropped in."""
    from sencache.nodes.calibrate import SenCacheCalibrate

    inputs = SenCacheCalibrate.define_schema().inputs
    return {one.id: one.default for one in inputs if getattr(one, "default", None) is not None}


def cost(asked: dict[str, Any]) -> dict[str, Any]:
    """Ask what a calibration costs as the panel does."""
    from sencache.nodes.panel.cost import expected_cost
    from sencache.nodes.panel.wire import CostQuestion, read

    return expected_cost(read(CostQuestion, asked)).plain()


@pytest.mark.parametrize("name", ["wan", "ltxv", "cogvideox"])
def test_as_it_is_set_it_costs_at_most_one_video(name, host, required):
    import comfy.patcher_extension
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables import files

    tiny, calls = required(name), []

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return executor(*args, **kwargs)

    model = tiny.load(host)
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, "count", count)
    own = None if "euler" in tiny.samplers else sampler_object(host, tiny.samplers[0])
    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    settings = defaults()
    output = SenCacheCalibrate.execute(
        model=model, positive=tiny.conditioning(2), negative=tiny.conditioning(0), latent=tiny.empty_latent(),
        own_sampler=own, **{**settings, "table_name": "cost"},
    )  # fmt: skip
    files.save_target("cost").path.unlink()
    said = cost({name: settings[name] for name in ("steps", "samples", "sensitivities")})
    assert said["evaluations"] == said["values"]["evaluations"]
    assert len(calls) <= said["values"]["evaluations"] <= ONE_VIDEO
    table = output.args[0]
    assert table.has_sensitivities and table.guided and table.num_samples == 1
    assert 4 <= len(table.timestep) <= 6 and len(table.modes.timestep) >= 24


def test_what_is_expected_is_what_is_evaluated(calibrate, evaluations, wan):
    from host_inputs import conditioning, empty_latent
    from sencache.nodes.host.calibration import EVERY_STEP, SOME_STEPS, CalibrationRun

    for kind in (SOME_STEPS, EVERY_STEP):
        evaluations.branches.clear()
        calibrate(samples=1, steps=20, sensitivities=kind, table_name="calibration under test")
        settings = (20, "euler", "simple", 5.0, None, kind)
        run = CalibrationRun(wan, conditioning(2), conditioning(0), empty_latent(), *settings)
        assert run.expected_evaluations() == len(evaluations.branches)


def test_a_calibration_of_other_sensitivities_does_not_go_on_from_this_one(calibrate, evaluations):
    calibrate(samples=1, sensitivities="some steps")
    evaluations.branches.clear()
    calibrate(samples=1, sensitivities="every step")
    assert evaluations.branches


@pytest.mark.parametrize(
    "asked", [{}, {"steps": 0, "samples": 1}, {"steps": "x", "samples": 1}, {"steps": True, "samples": 1}]
)
def test_a_strangers_question_is_refused(host, asked):
    from sencache.nodes.panel.wire import QuestionError

    with pytest.raises(QuestionError):
        cost(asked)


def test_the_papers_way_is_told_beside_the_artists_video(host):
    asked = {"steps": 50, "samples": 8, "sensitivities": "every step", "video_steps": 20}
    values = {"evaluations": 8 * (50 + 2 * 49 + 12), "times": "64", "steps": 20}
    assert cost(asked) == {"code": "cost_videos", "values": values, "evaluations": values["evaluations"]}


@pytest.mark.parametrize(
    ("evaluations", "said"),
    [
        (17, "34 % of what one of your videos takes (50 steps)"),
        (44, "88 % of what one of your videos takes (50 steps)"),
        (45, "as many as one of your videos (50 steps)"),
        (50, "as many as one of your videos (50 steps)"),
        (55, "as many as one of your videos (50 steps)"),
        (60, "1.2 times as many as one of your videos (50 steps)"),
        (100, "2 times as many as one of your videos (50 steps)"),
    ],
)
def test_the_cost_is_said_as_a_person_would(host, evaluations, said):
    from sencache.caching.sentences import sentence
    from sencache.nodes.panel.cost import cost_of

    assert sentence(cost_of(evaluations)) == f"It takes about {evaluations} model calls: {said}."
