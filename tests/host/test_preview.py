"""The panel's answers are those of the run that follows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from host_inputs import patch_inputs
from sencache.calibration import table as tables
from tiny_models import sample

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


def question(table, embedded="", sampling=None, wish=None, **settings):
    """Ask as the panel does."""
    inputs = patch_inputs(**settings)
    told = {"sampling": sampling or {}, "wish": wish}
    return {"settings": inputs, "tables": [table], "embedded": embedded, **told}


def answered(*args, **kwargs):
    """Return the server's answer."""
    from sencache.nodes.panel.preview import answer

    return answer(question(*args, **kwargs))


@pytest.fixture
def as_measured(host, monkeypatch):
    """Let every clip be as hard to forecast as the table says, as the panel takes it to be."""
    from sencache.caching.planned import Planned

    learn = Planned.learn
    monkeypatch.setattr(Planned, "learn", lambda self, missed, expected: learn(self, expected, expected))


@pytest.mark.parametrize("name", ["wan", "ltxv"])
@pytest.mark.parametrize("settings", [{"epsilon": 0.05}, {"speed_up": 2.0}, {"start_percent": 0.3}])
def test_a_clip_of_its_own_is_computed_as_often_as_the_panel_says(
    host, required, patch, records, name, settings
):
    tiny = required(name)
    table = f"{tiny.name}.safetensors"
    shown = answered(table, sampling={"steps": 20, "sampler": "euler", "cfg": 5.0}, **settings)
    model = patch(tiny.load(host), table=table, **settings)
    for prompt in (4, 13):
        sample(host, model, tiny, prompt=prompt, seed=3, sampler="euler", steps=20, cfg=5.0)
        real = Counter(one.decision.reason.value for one in records(model)[-1].evaluations)
        assert real == Counter(cell["reason"] for cell in shown["cells"])


@pytest.mark.parametrize(("name", "sampler"), [("wan", "euler"), ("ltxv", "euler"), ("cogvideox", "void")])
@pytest.mark.parametrize("settings", [{"epsilon": 0.05}, {"speed_up": 2.0}])
@pytest.mark.usefixtures("as_measured")
def test_the_panel_predicts_the_decisions_of_the_run(host, required, name, sampler, settings):
    from sencache.nodes.host.wrappers import KEY
    from sencache.nodes.model_patch import SenCacheModelPatch

    tiny = required(name)
    table = f"{tiny.name}.safetensors"
    expected = answered(
        table, sampling={"steps": 20, "scheduler": "simple", "sampler": sampler, "cfg": 5.0}, **settings
    )
    patched = SenCacheModelPatch.execute(tiny.load(host), **patch_inputs(table=table, **settings)).args[0]
    sample(host, patched, tiny, prompt=1, seed=3, sampler=sampler, steps=20, cfg=5.0)
    record = patched.get_attachment(KEY).records[-1]
    assert [cell["reuse"] for cell in expected["cells"]] == [
        one.decision.reuse for one in record.evaluations
    ]
    assert expected["nfe"] == record.nfe < 20
    assert expected["predicted_error"] == pytest.approx(record.predicted_error, rel=1e-6)


@pytest.mark.parametrize("name", ["tiny_wan", "tiny_ltxv", "tiny_cogvideox"])
def test_a_table_describes_the_sampling_of_its_model(host, required, name):
    from sencache.nodes.host.table_sampling import sampling_of

    own = required(name.removeprefix("tiny_")).load(host).get_model_object("model_sampling")
    rebuilt = sampling_of(tables.load(SHIPPED / f"{name}.safetensors"))
    assert rebuilt.sigmas.equal(own.sigmas)
    assert rebuilt.percent_to_sigma(0.3) == own.percent_to_sigma(0.3)
    assert [type(rebuilt).__mro__[1:3]] == [type(own).__mro__[1:3]]


@pytest.mark.parametrize("steps", [50, 20, 8])
def test_what_the_slider_shows_is_what_its_settings_give(host, wan, patch, records, sample, steps):
    """The run itself, at every position: the widget keeps four digits of epsilon, and few steps are held."""
    table, sampling, seen = "tiny_wan.safetensors", {"steps": steps, "sampler": "euler", "cfg": 5.0}, []
    for tenths in range(10, 61, 5):
        shown = answered(table, sampling=sampling, wish=tenths / 10, epsilon=0.02)
        chosen = shown["chosen"]
        assert chosen["epsilon"] == round(chosen["epsilon"], 4) and chosen["speed_up"] == 0
        again = answered(table, sampling=sampling, **chosen)
        assert again == {name: value for name, value in shown.items() if name != "chosen"}
        patched = patch(wan, table=table, **chosen)
        sample(patched, steps=steps)
        assert records(patched)[-1].nfe == shown["nfe"]
        seen.append(shown["nfe"])
        assert shown["nfe"] <= max(2, steps * 10 / tenths + 1e-9)
    assert seen == sorted(seen, reverse=True) and seen[0] == steps and seen[-1] <= steps / 4


@pytest.mark.parametrize("off", [{"epsilon": 0.0}, {"n": 0}, {"epsilon": 0.0, "n": 0}])
def test_a_wish_switches_on_what_was_off(host, off):
    shown = answered("tiny_wan.safetensors", wish=2.0, **off)
    assert shown["nfe"] <= 25 and shown["chosen"]["n"] > 0 and shown["chosen"]["epsilon"] > 0
    assert answered("tiny_wan.safetensors", **{**off, **shown["chosen"]})["nfe"] == shown["nfe"]


def test_a_wish_keeps_the_chosen_n_and_rule(host):
    for settings in ({"n": 1}, {"rule": "joint"}, {"rule": "paper", "forecast": "hold"}):
        shown = answered("tiny_wan.safetensors", wish=1.5, **settings)
        again = answered("tiny_wan.safetensors", **{**settings, **shown["chosen"]})
        assert shown["nfe"] == again["nfe"] < 50
    assert answered("tiny_wan.safetensors", wish=1.0, rule="paper")["chosen"]["epsilon"] == 0


def test_a_sampler_that_can_not_be_foreseen_is_named_and_others_are_planned_as_they_run(
    host, wan, patch, records, sample
):
    import comfy.samplers

    codes = {}
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        sampling = {"steps": 12, "sampler": sampler, "cfg": 5.0, "scheduler": "simple"}
        shown = answered("tiny_wan.safetensors", sampling=sampling, epsilon=0.03)
        codes[sampler] = {note["code"] for note in shown["notes"]}
        if codes[sampler]:
            continue
        patched = patch(wan, table="tiny_wan.safetensors", epsilon=0.03)
        sample(patched, steps=12, sampler=sampler)
        reasons = [one.decision.reason.value for one in records(patched)[-1].evaluations]
        assert reasons == [cell["reason"] for cell in shown["cells"]], sampler
    for sampler in ("euler_ancestral", "dpmpp_2m_sde", "lcm", "dpm_adaptive"):
        assert codes[sampler] & {"adds_noise", "not_foreseen"}, sampler
    told = ("euler", "uni_pc", "dpmpp_2m", "lms", "ipndm", "deis", "res_multistep", "heun", "dpm_2")
    assert not any(codes[sampler] for sampler in told)


def test_another_shift_and_a_part_of_the_steps_change_the_plan(host):
    whole = answered("tiny_wan.safetensors", sampling={"steps": 30})
    shifted = answered("tiny_wan.safetensors", sampling={"steps": 30, "shift": 3.0})
    part = answered("tiny_wan.safetensors", sampling={"steps": 30, "start": 10, "end": 20})
    half = answered("tiny_wan.safetensors", sampling={"steps": 15, "denoise": 0.5})
    assert (whole["evaluations"], part["evaluations"], half["evaluations"]) == (30, 10, 15)
    assert whole["cells"] != shifted["cells"]


@pytest.mark.parametrize("leftover", ["disable", "enable"])
@pytest.mark.parametrize(("start", "end"), [(0, 6), (4, 10), (6, 12)])
@pytest.mark.usefixtures("as_measured")
def test_a_part_of_ksampler_advanced_is_planned_as_it_runs(host, wan, patch, records, leftover, start, end):
    from host_inputs import conditioning, empty_latent

    patched = patch(wan, table="tiny_wan.safetensors", speed_up=2.0)
    host.NODE_CLASS_MAPPINGS["KSamplerAdvanced"]().sample(
        patched, "enable", 3, 12, 5.0, "euler", "simple", conditioning(2), conditioning(0), empty_latent(),
        start, end, leftover,
    )  # fmt: skip
    told = {"steps": 12, "sampler": "euler", "scheduler": "simple", "cfg": 5.0, "start": start, "end": end}
    shown = answered("tiny_wan.safetensors", sampling={**told, "leftover_noise": leftover}, speed_up=2.0)
    record = records(patched)[-1]
    real = [one.decision.reason.value for one in record.evaluations]
    assert [cell["reason"] for cell in shown["cells"]] == real
    assert shown["predicted_error"] == pytest.approx(record.predicted_error, rel=1e-6)


@pytest.mark.parametrize("sampler", ["uni_pc", "dpm_2", "euler"])
@pytest.mark.parametrize("scheduler", ["ddim_uniform", "sgm_uniform", "beta", "linear_quadratic"])
@pytest.mark.usefixtures("as_measured")
def test_the_panel_counts_the_steps_that_ksampler_makes(
    host, wan, patch, records, sample, sampler, scheduler
):
    patched = patch(wan, table="tiny_wan.safetensors", epsilon=0.03)
    sample(patched, steps=10, sampler=sampler, scheduler=scheduler)
    told = {"steps": 10, "sampler": sampler, "scheduler": scheduler, "cfg": 5.0}
    shown = answered("tiny_wan.safetensors", sampling=told, epsilon=0.03)
    real = [one.decision.reason.value for one in records(patched)[-1].evaluations]
    assert [cell["reason"] for cell in shown["cells"]] == real


def test_a_node_of_its_own_for_sigmas_leaves_none_out_whatever_the_sampler(host):
    told = {"steps": 20, "sampler": "uni_pc", "scheduler": "simple", "sigmas": "BasicScheduler"}
    whole = answered("tiny_wan.safetensors", sampling={**told, "sampler": "euler"})
    assert answered("tiny_wan.safetensors", sampling=told)["evaluations"] == whole["evaluations"] == 20


@pytest.mark.parametrize(
    "settings", [{"epsilon": 0.0}, {"n": 0}, {"start_percent": 0.3}, {"end_percent": 0.6}, {"rule": "joint"}]
)
@pytest.mark.usefixtures("as_measured")
def test_panel_and_run_give_the_same_reasons(host, wan, patch, records, sample, settings):
    patched = patch(wan, table="tiny_wan.safetensors", **settings)
    sample(patched, steps=20)
    told = {"steps": 20, "sampler": "euler", "cfg": 5.0}
    shown = answered("tiny_wan.safetensors", sampling=told, **settings)
    real = [one.decision.reason.value for one in records(patched)[-1].evaluations]
    if settings.get("rule") == "joint":  # its scores are the sample's own
        assert shown["cells"][0]["reason"] == real[0] == "first"
    else:
        assert [cell["reason"] for cell in shown["cells"]] == real


def test_without_a_table_the_panel_says_what_to_do(host):
    assert answered("automatic")["problem"]["code"] == "no_table"
    gone = answered("gone.safetensors")["problem"]
    assert (gone["code"], gone["values"]) == ("table_gone", {"name": "gone.safetensors"})
    assert "not an embedded table" in answered("automatic", embedded="hello")["problem"]["text"]


@pytest.mark.parametrize("scheduler", ["simple", "no such scheduler", None])
def test_steps_and_scheduler_come_from_the_graph_else_from_the_table(host, scheduler):
    told = answered("tiny_wan.safetensors", sampling={"scheduler": scheduler})
    assert (told["steps"], told["scheduler"], told["steps_known"]) == (50, "simple", False)


def test_every_preset_is_a_setting_of_the_node(host):
    from sencache.nodes.panel.preview import presets

    errors = [answered("tiny_wan.safetensors", **preset)["predicted_error"] for preset in presets().values()]
    assert list(presets()) == ["quality", "balanced", "fast"]
    assert errors == sorted(errors) and 0 < errors[0] < errors[-1]


@pytest.mark.parametrize(
    "sampling", [{"steps": "many"}, {"steps": -1}, {"shift": 0}, {"path": "/"}, {"cfg": [1]}, {"end": 2.5}]
)
def test_a_question_that_the_panel_would_not_ask_is_refused(host, sampling):
    from sencache.nodes.panel.question import QuestionError

    with pytest.raises(QuestionError):
        answered("tiny_wan.safetensors", sampling=sampling)


@pytest.mark.parametrize("wish", ["2", 0.5, -1, 1e9, float("nan"), [2], {}])
def test_a_wish_that_no_slider_has_is_refused(host, wish):
    from sencache.nodes.panel.question import QuestionError

    with pytest.raises(QuestionError):
        answered("tiny_wan.safetensors", wish=wish)


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling_settings": "[" * 3000},
        {"sampling_settings": "[]"},
        {"sampling_settings": '{"beta_schedule": "none"}', "schedule": "ModelSamplingDiscrete"},
        {"shift": "1e400"},
        {"prediction": "object"},
        {"schedule": "Module"},
        {"multiplier": "7"},
        {"steps": "many"},
        {"cfg": "nan"},
    ],
)
def test_a_strangers_metadata_is_refused_in_a_sentence(host, changed):
    from sencache.nodes.tables.embedded import to_text

    table = tables.load(SHIPPED / "tiny_wan.safetensors")
    described = {"schedule": "ModelSamplingDiscreteFlow", "multiplier": "1000", "sampling_settings": "{}"}
    text = to_text(dataclasses.replace(table, metadata={**table.metadata, **described, **changed}))
    problem = answered("automatic", embedded=text)["problem"]["text"]
    assert problem.endswith(".") and "Traceback" not in problem


@pytest.mark.parametrize("name", ["schedule", "prediction", "multiplier", "shift", "sampling_settings"])
def test_a_table_that_does_not_describe_its_sampling_whole_is_refused_in_a_sentence(host, name):
    from sencache.nodes.host.table_sampling import sampling_of

    table = tables.load(SHIPPED / "tiny_wan.safetensors")
    metadata = {key: value for key, value in table.metadata.items() if key != name}
    lacking = dataclasses.replace(table, metadata=metadata)
    with pytest.raises(tables.TableError, match="^The sampling (of|that) this table.*(not known|be rebuilt)"):
        sampling_of(lacking)


def test_sigmas_from_a_node_of_its_own_are_named_because_they_can_not_be_planned(host):
    table = "tiny_wan.safetensors"
    known = answered(table, sampling={"steps": 20, "scheduler": "simple", "sigmas": "BasicScheduler"})
    assert known["notes"] == []
    other = answered(table, sampling={"steps": 20, "sigmas": "LTXVScheduler"})
    values = {"node": "LTXVScheduler", "scheduler": "simple"}
    assert other["notes"] == [{"code": "own_sigmas", "values": values}]
    assert other["cells"] == known["cells"]


def test_what_is_remembered_while_a_slider_moves_changes_no_answer(host, monkeypatch):
    from sencache.nodes.panel import preview

    wan, ltxv = "tiny_wan.safetensors", "tiny_ltxv.safetensors"
    asked = [
        (wan, {"epsilon": 0.01}), (wan, {"epsilon": 0.05}), (wan, {"speed_up": 9.0}),
        (wan, {"speed_up": 2.0}),
        (wan, {"speed_up": 2.0, "n": 2}), (wan, {"speed_up": 2.0, "start_percent": 0.4}),
        (ltxv, {"speed_up": 2.0}),
        (wan, {"speed_up": 2.0, "forecast": "hold"}), (wan, {"speed_up": 9.0}), (wan, {"epsilon": 0.01}),
    ]  # fmt: skip
    found, solve = [], preview.solve
    monkeypatch.setattr(preview, "solve", lambda *of: found.append(of) or solve(*of))
    moving = [answered(table, sampling={"steps": 20}, **settings) for table, settings in asked]
    assert len(found) < len(asked)
    fresh = []
    for table, settings in asked:
        monkeypatch.setattr(preview, "_PLANS", preview.PlanCache())
        monkeypatch.setattr(preview, "_SCHEDULES", preview.ScheduleCache())
        fresh.append(answered(table, sampling={"steps": 20}, **settings))
    assert moving == fresh
    assert len({str(answer["cells"]) for answer in fresh}) >= 7
