"""The panel's answers are those of the run that follows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from host_inputs import panel_answer, patch_inputs
from sencache.calibration import table as tables
from tiny_models import sample

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


def question(table, embedded="", sampling=None, model=None, **settings):
    """Ask as the panel does."""
    inputs = patch_inputs(**settings)
    told = {"sampling": sampling or {}, "model": model}
    return {"settings": inputs, "tables": [table], "embedded": embedded, **told}


def answered(*args, **kwargs):
    """Return the server's answer."""
    return panel_answer(question(*args, **kwargs))


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
    """The run itself, at every position; few steps are held."""
    table, sampling, seen = "tiny_wan.safetensors", {"steps": steps, "sampler": "euler", "cfg": 5.0}, []
    for tenths in range(10, 61, 5):
        shown = answered(table, sampling=sampling, speed_up=tenths / 10)
        patched = patch(wan, table=table, speed_up=tenths / 10)
        sample(patched, steps=steps)
        record = records(patched)[-1]
        assert (record.nfe, len(record.evaluations)) == (shown["nfe"], shown["evaluations"])
        assert shown["nfe"] <= max(2, steps * 10 / tenths + 1e-9)
        if tenths > 10:
            assert shown["predicted_error"] == pytest.approx(record.predicted_error, rel=1e-6)
        seen.append(shown["nfe"])
    assert seen == sorted(seen, reverse=True) and seen[0] == steps and seen[-1] <= steps / 4


TOLD = ("nfe", "speed_up", "visibility")
LIMITS = [{}, {"n": 1}, {"start_percent": 0.4}, {"end_percent": 0.5, "n": 4}, {"forecast": "hold"}]


def same(offer, shown):
    """Tell whether a speed's offer is what an answer with it says."""
    error = pytest.approx(shown["predicted_error"], rel=1e-9)
    return {name: offer[name] for name in TOLD} == {name: shown[name] for name in TOLD} and (
        offer["error"] == error
    )


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "heun", "euler_ancestral"])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_speeds_to_choose_from_are_what_choosing_them_gives(host, limits, sampler):
    told = {"sampling": {"steps": 24, "sampler": sampler, "cfg": 5.0}, **limits}
    gains = answered("tiny_wan.safetensors", **told)["gains"]
    assert [one["target"] for one in gains] == [1.5, 2.0, 3.0, 4.0]
    for one in gains:
        shown = answered("tiny_wan.safetensors", speed_up=one["target"], **told)
        assert same(one, shown) and shown["gains"] == gains


def test_a_chosen_offer_is_what_the_run_computes(host, wan, patch, records, sample):
    sampling = {"steps": 20, "sampler": "euler", "cfg": 5.0, "scheduler": "simple"}
    for one in answered("tiny_wan.safetensors", sampling=sampling)["gains"]:
        patched = patch(wan, table="tiny_wan.safetensors", speed_up=one["target"])
        sample(patched, steps=20)
        record = records(patched)[-1]
        assert record.nfe == one["nfe"]
        assert one["error"] == pytest.approx(record.predicted_error, rel=1e-6)


@pytest.mark.parametrize(
    "off", [{"epsilon": 0.0}, {"n": 0}, {"epsilon": 0.0, "n": 0}, {"exact": True}, {"speed_up": 1.0}]
)
def test_what_is_off_is_offered_as_if_it_were_on(host, off):
    """A choice switches on what kept every step computed."""
    usual, shown = answered("tiny_wan.safetensors"), answered("tiny_wan.safetensors", **off)
    assert shown["nfe"] == shown["evaluations"] == 50
    assert (shown["gains"], shown["scale"]) == (usual["gains"], usual["scale"])


@pytest.mark.parametrize("steps", [50, 20, 8, 3, 2, 1])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_scale_holds_every_speed_that_a_run_can_have_the_slowest_first(host, limits, steps):
    told = {"sampling": {"steps": steps, "sampler": "euler", "cfg": 5.0}, **limits}
    scale = answered("tiny_wan.safetensors", **told)["scale"]
    counts, speeds = [one["nfe"] for one in scale], [one["speed_up"] for one in scale]
    assert counts == sorted(set(counts), reverse=True) and speeds == sorted(set(speeds))
    assert counts[0] == steps and counts[-1] >= min(2, steps)
    by_count = {one["nfe"]: one for one in scale}
    for hundredths in (*range(100, 1001, 25), *(100 * steps / count for count in counts)):
        shown = answered("tiny_wan.safetensors", speed_up=hundredths / 100, **told)
        assert same(by_count[shown["nfe"]], shown), hundredths
        reached = [count for count in counts if count <= max(2, steps * 100 / hundredths + 1e-9)]
        assert shown["nfe"] == (reached[0] if reached else counts[-1])


@pytest.mark.parametrize("sampler", ["uni_pc", "heun", "dpm_2", "euler_ancestral", "dpmpp_2m"])
def test_the_scale_counts_what_the_sampler_evaluates(host, sampler):
    told = {"sampling": {"steps": 20, "sampler": sampler, "cfg": 5.0}}
    whole = answered("tiny_wan.safetensors", **told)
    assert whole["scale"][0]["nfe"] == whole["evaluations"] and whole["scale"][0]["speed_up"] == 1
    by_count, missing = {one["nfe"]: one for one in whole["scale"]}, []
    for tenths in range(10, 61, 5):
        shown = answered("tiny_wan.safetensors", speed_up=tenths / 10, **told)
        if sampler in ("heun", "dpm_2") and shown["nfe"] not in by_count:
            missing.append(tenths)  # a slower plan calls the model less often: the scale has that one
            continue
        assert same(by_count[shown["nfe"]], shown), tenths
    assert len(missing) <= 2


@pytest.mark.parametrize("rule", ["joint", "paper"])
def test_the_published_rules_offer_no_speeds_since_nothing_is_planned(host, rule):
    shown = answered("tiny_wan.safetensors", rule=rule, speed_up=2.0)
    assert shown["gains"] == shown["scale"] == []
    assert shown["predicted_error"] is None and shown["nfe"] <= 25


@pytest.mark.parametrize(
    ("settings", "governs"),
    [
        ({}, "epsilon"),
        ({"speed_up": 2.0}, "speed"),
        ({"speed_up": 1.0}, "speed"),
        ({"speed_up": 2.0, "exact": True}, "exact"),
        ({"exact": True}, "exact"),
        ({"epsilon": 0.0, "exact": True}, "exact"),
        ({"epsilon": 0.0}, "off"),
        ({"epsilon": 0.0, "speed_up": 2.0}, "off"),
        ({"n": 0, "speed_up": 2.0}, "off"),
        ({"rule": "paper"}, "epsilon"),
    ],
)
def test_what_decides_how_much_is_computed_is_named(host, settings, governs):
    shown = answered("tiny_wan.safetensors", **settings)
    assert shown["governs"] == governs
    computes_all = governs in ("exact", "off") or settings.get("speed_up") == 1
    assert (shown["nfe"] == shown["evaluations"]) == computes_all


def test_the_error_is_told_in_the_words_that_it_has(host):
    from sencache.caching.visibility import visibility

    shown = answered("tiny_wan.safetensors", speed_up=3.0)
    for one in (*shown["gains"], *shown["scale"]):
        assert one["visibility"] == visibility(one["error"]).value
    assert shown["visibility"] == visibility(shown["predicted_error"]).value


OWN = "tiny_wan.safetensors"
FOREIGN = "tiny_ltxv.safetensors"


@pytest.fixture
def known(wan):
    """What a run has told the page of the tiny Wan."""
    from sencache.nodes.automatic import own_identity

    identity = own_identity(wan)
    return {"fingerprint": identity.fingerprint, "weights": identity.weights}


def foreign_notes(shown):
    codes = ("foreign", "perhaps_foreign", "another_model")
    return [note for note in shown["notes"] if note["code"] in codes]


@pytest.mark.parametrize("settings", [{"speed_up": 2.0}, {"epsilon": 0.03}, {"rule": "joint"}], ids=str)
def test_with_another_models_table_the_panel_predicts_nothing_and_names_it(
    host, wan, patch, records, sample, known, settings
):
    sampling = {"steps": 16, "sampler": "euler", "cfg": 5.0, "scheduler": "simple"}
    told = {"sampling": sampling, "any_model": True, **settings}
    shown, unknown = answered(FOREIGN, model=known, **told), answered(FOREIGN, **told)
    model = tables.load(SHIPPED / FOREIGN).metadata["model"]
    assert foreign_notes(shown) == [{"code": "foreign", "values": {"table": FOREIGN, "model": model}}]
    assert shown["predicted_error"] is shown["visibility"] is None
    assert {cell["score"] for cell in shown["cells"]} == {None}
    for one in (*shown["gains"], *shown["scale"]):
        assert one["error"] is one["visibility"] is None
    named = ("nfe", "speed_up", "evaluations")
    assert [shown[name] for name in named] == [unknown[name] for name in named]
    if "rule" not in settings:
        patched = patch(wan, table=FOREIGN, any_model=True, **settings)
        sample(patched, steps=16)
        record = records(patched)[-1]
        assert record.predicted_error is None and "foreign" in [note.code for note in record.notes]


def test_with_a_table_of_another_model_that_samples_alike_the_run_computes_what_the_panel_says(
    host, wan, patch, records, sample, known
):
    from sencache.nodes.tables.embedded import to_text

    table = tables.load(SHIPPED / OWN)
    other = dataclasses.replace(table, metadata={**table.metadata, "fingerprint": "0123456789abcdef"})
    text, told = to_text(other, "shared.safetensors"), {"steps": 16, "sampler": "euler", "cfg": 5.0}
    for speed_up in (1.5, 2.0, 4.0):
        asked = {"any_model": True, "speed_up": speed_up}
        shown = answered("automatic", embedded=text, model=known, sampling=told, **asked)
        patched = patch(wan, embedded_table=text, **asked)
        sample(patched, steps=16)
        assert records(patched)[-1].nfe == shown["nfe"] and foreign_notes(shown)


def test_another_models_table_is_refused_before_the_run_as_the_run_refuses_it(host, wan, patch, known):
    problem = answered(FOREIGN, model=known, speed_up=2.0)["problem"]
    model = tables.load(SHIPPED / FOREIGN).metadata["model"]
    assert (problem["code"], problem["values"]) == ("another_model", {"table": FOREIGN, "model": model})
    with pytest.raises(ValueError, match="was measured on LTXV.*any_model"):
        patch(wan, table=FOREIGN, speed_up=2.0)


def test_an_embedded_table_of_another_model_is_told_like_a_file(host, known):
    from sencache.nodes.tables.embedded import to_text

    text = to_text(tables.load(SHIPPED / FOREIGN), "shared.safetensors")
    assert answered("automatic", embedded=text, model=known)["problem"]["code"] == "another_model"
    shown = answered("automatic", embedded=text, model=known, any_model=True)
    assert [note["code"] for note in foreign_notes(shown)] == ["foreign"]


def test_a_models_own_table_is_never_called_foreign(host, known):
    for table in (OWN, "automatic"):
        shown = answered(table, model=known, any_model=True, speed_up=2.0)
        assert foreign_notes(shown) == [] and shown["predicted_error"] > 0


def test_while_no_run_has_told_the_model_any_model_is_warned_of(host):
    assert foreign_notes(answered(OWN, any_model=True)) == [{"code": "perhaps_foreign", "values": {}}]
    assert foreign_notes(answered(OWN)) == []
    assert answered(OWN)["predicted_error"] > 0


@pytest.mark.parametrize(("steps", "told"), [(8, True), (12, True), (13, False), (50, False)])
def test_few_steps_are_said_to_gain_little_before_the_run_and_after_it(
    host, wan, patch, sample, records, steps, told
):
    from sencache.caching.report import as_dict

    for sampler in ("euler", "heun"):
        sampling = {"steps": steps, "sampler": sampler, "cfg": 5.0}
        shown = answered("tiny_wan.safetensors", sampling=sampling, speed_up=2.0)
        note = [{"code": "few_steps", "values": {"count": steps}}] if told else []
        assert [one for one in shown["notes"] if one["code"] == "few_steps"] == note
        if steps < 20:
            patched = patch(wan, table="tiny_wan.safetensors", speed_up=2.0)
            sample(patched, steps=steps, sampler=sampler)
            said = as_dict(records(patched)[-1])["notes"]
            assert [one for one in said if one["code"] == "few_steps"] == note, sampler


def test_a_sampler_that_can_not_be_foreseen_is_named_and_others_are_planned_as_they_run(
    host, wan, patch, records, sample
):
    import comfy.samplers

    codes = {}
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        sampling = {"steps": 12, "sampler": sampler, "cfg": 5.0, "scheduler": "simple"}
        shown = answered("tiny_wan.safetensors", sampling=sampling, epsilon=0.03)
        codes[sampler] = {note["code"] for note in shown["notes"]} - {"few_steps"}
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


@pytest.mark.parametrize(
    "sampling", [{"steps": "many"}, {"steps": -1}, {"shift": 0}, {"path": "/"}, {"cfg": [1]}, {"end": 2.5}]
)
def test_a_question_that_the_panel_would_not_ask_is_refused(host, sampling):
    from sencache.nodes.panel.wire import QuestionError

    with pytest.raises(QuestionError):
        answered("tiny_wan.safetensors", sampling=sampling)


@pytest.mark.parametrize("speed_up", ["2", True, float("nan"), float("inf"), [2], {}])
def test_a_speed_that_is_no_number_is_refused(host, speed_up):
    from sencache.nodes.panel.wire import QuestionError

    with pytest.raises(QuestionError):
        answered("tiny_wan.safetensors", speed_up=speed_up)


@pytest.mark.parametrize("speed_up", [-1, -1e9])
def test_a_speed_below_0_is_refused_as_the_node_refuses_it(host, wan, patch, speed_up):
    problem = answered("tiny_wan.safetensors", speed_up=speed_up)["problem"]["text"]
    with pytest.raises(ValueError) as caught:
        patch(wan, table="tiny_wan.safetensors", speed_up=speed_up)
    assert problem.rstrip(".") in str(caught.value)


@pytest.mark.parametrize("speed_up", [0.9, 0.5, 1e-9])
def test_a_speed_below_1_computes_every_step_for_nothing_is_slower(
    host, wan, patch, records, sample, speed_up
):
    assert answered("tiny_wan.safetensors", speed_up=speed_up, sampling={"steps": 6})["nfe"] == 6
    patched = patch(wan, table="tiny_wan.safetensors", speed_up=speed_up)
    sample(patched, steps=6)
    assert records(patched)[-1].nfe == 6


def test_a_setting_that_another_node_gives_is_named_and_the_usual_one_stands_in_its_place(host):
    linked = answered("tiny_wan.safetensors", speed_up=None, epsilon=None)
    note = next(note for note in linked["notes"] if note["code"] == "linked_settings")
    assert note["values"] == {"names": "epsilon, speed_up"}
    assert linked["cells"] == answered("tiny_wan.safetensors", speed_up=2.0)["cells"]  # the node's own


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
    monkeypatch.setattr(preview, "_ANSWERS", preview.AnswerCache())
    moving = [answered(table, sampling={"steps": 20}, **settings) for table, settings in asked]
    while_moving, fresh = len(found), []
    found.clear()
    for table, settings in asked:
        monkeypatch.setattr(preview, "_PLANS", preview.PlanCache())
        monkeypatch.setattr(preview, "_SCHEDULES", preview.ScheduleCache())
        monkeypatch.setattr(preview, "_ANSWERS", preview.AnswerCache())
        fresh.append(answered(table, sampling={"steps": 20}, **settings))
    assert moving == fresh and while_moving < len(found)
    assert len({str(answer["cells"]) for answer in fresh}) >= 7
