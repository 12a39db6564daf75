"""What pages and server tell each other: `web/` has the types of the schema, and questions are checked."""

from __future__ import annotations

import json
import math

import pytest
from host_inputs import panel_answer
from typescript import TARGET, declarations

NUMBERS = (True, "2", math.nan, math.inf, -math.inf, [2], {}, 10**400)
PLAN = {
    "settings": {"epsilon": 0.03, "speed_up": 2.0, "exact": False, "table": "automatic", "sensitivity": None},
    "sampling": {"steps": 20, "sampler": "euler", "scheduler": "simple", "cfg": 5.0, "shift": 3.0},
    "tables": ["automatic", "tiny_wan.safetensors"],
    "embedded": "",
    "model": {"fingerprint": "0" * 16, "weights": "0" * 16},
}


@pytest.fixture
def wire(host):
    """The schema."""
    from sencache.nodes.panel import wire

    return wire


def kinds(of):
    """Yield every model of a kind, those made of it too."""
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


def refused(wire, kind, question) -> str:
    """Return the one line in which a question is refused."""
    with pytest.raises(wire.QuestionError) as caught:
        wire.read(kind, question)
    said = str(caught.value)
    assert said and len(said) <= 200 and "\n" not in said and "pydantic" not in said
    return said


def test_the_types_of_the_scripts_are_those_of_the_schema(wire):
    """Where this fails: python tests/support/typescript.py."""
    assert TARGET.read_text(encoding="utf-8") == declarations(wire.SPOKEN)


def test_every_question_answer_and_event_is_in_the_scripts_types(wire):
    written = TARGET.read_text(encoding="utf-8")
    names = {kind.__name__ for kind in (*kinds(wire.Question), *kinds(wire.Told))} - {"Event"}
    assert len(names) > 20
    assert not [name for name in sorted(names) if f"interface {name} {{" not in written]


def test_the_panels_own_question_is_read_as_it_is(wire):
    asked = wire.read(wire.PlanQuestion, PLAN)
    assert asked.settings == PLAN["settings"] and asked.tables == PLAN["tables"]
    assert (asked.sampling.steps, asked.sampling.end, asked.model.weights) == (20, None, "0" * 16)
    assert wire.read(wire.PlanQuestion, {}) == wire.PlanQuestion()


def test_a_whole_number_will_do_where_the_page_leaves_the_point_out(wire):
    """JavaScript writes 5.0 as 5."""
    sampling = {"steps": 20, "cfg": 5, "denoise": 1, "shift": 3}
    asked = wire.read(wire.PlanQuestion, {"settings": {"speed_up": 2, "epsilon": 0}, "sampling": sampling})
    assert (asked.sampling.cfg, asked.sampling.denoise, asked.sampling.shift) == (5.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("kind", "question", "place"),
    [
        ("PlanQuestion", {**PLAN, "wish": 2.0}, "wish"),
        ("PlanQuestion", {**PLAN, "sampling": {"path": "/"}}, "sampling.path"),
        ("PlanQuestion", {**PLAN, "model": {**PLAN["model"], "name": "x"}}, "model.name"),
        ("CostQuestion", {"steps": 24, "samples": 1, "seed": 3}, "seed"),
        ("EmbedQuestion", {"table": "x.safetensors", "path": "/etc/passwd"}, "path"),
        ("SaveQuestion", {"text": "", "name": "x"}, "name"),
        ("NewsQuestion", {"workflow": "x", "client": "me", "prompt": "y"}, "prompt"),
    ],
)
def test_a_field_that_no_page_sends_is_refused_by_name(wire, kind, question, place):
    assert refused(wire, getattr(wire, kind), question).startswith(f"{place}: ")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda one: str(one)[:8])
@pytest.mark.parametrize("name", ["steps", "cfg", "denoise", "shift", "start", "end"])
def test_what_is_no_number_is_not_taken_for_one_in_the_sampling(wire, name, number):
    assert name in refused(wire, wire.PlanQuestion, {**PLAN, "sampling": {name: number}})


@pytest.mark.parametrize("number", [*NUMBERS, None, 0.5, 0, -1], ids=lambda one: str(one)[:8])
@pytest.mark.parametrize("name", ["steps", "samples"])
def test_what_is_no_count_is_not_taken_for_one_in_a_cost(wire, name, number):
    assert name in refused(wire, wire.CostQuestion, {"steps": 24, "samples": 1, name: number})


@pytest.mark.parametrize("number", [math.nan, math.inf, [2], {}], ids=str)
def test_a_setting_is_a_text_or_a_number_that_is_one(wire, number):
    refused(wire, wire.PlanQuestion, {**PLAN, "settings": {"epsilon": number}})


@pytest.mark.parametrize("name", ["epsilon", "speed_up", "n", "start_percent", "strict_epsilon"])
@pytest.mark.parametrize("number", [True, "2"], ids=str)
def test_a_settings_number_is_no_text_and_no_switch(wire, name, number):
    called = "max_reuse" if name == "n" else name
    with pytest.raises(wire.QuestionError, match=f"{called} is not a number"):
        panel_answer({**PLAN, "settings": {name: number}, "tables": ["tiny_wan.safetensors"], "model": None})


@pytest.mark.parametrize(
    "question",
    [
        {"tables": ["x" * 201]},
        {"tables": ["x"] * 17},
        {"tables": "automatic"},
        {"tables": [1]},
        {"settings": {f"s{n}": 1 for n in range(65)}},
        {"settings": {"x" * 201: 1}},
        {"settings": {"rule": "x" * 201}},
        {"settings": []},
        {"embedded": None},
        {"model": {"fingerprint": "x"}},
        {"model": "x"},
        [],
        None,
        "question",
    ],
    ids=lambda one: str(one)[:30],
)
def test_a_question_that_is_too_long_or_of_another_shape_is_refused(wire, question):
    refused(wire, wire.PlanQuestion, question)


def test_a_refusal_repeats_nothing_long_of_what_was_asked(wire):
    said = refused(wire, wire.PlanQuestion, {"settings": {"x" * 5000: [1]}, "y" * 5000: 1})
    assert "x" * 50 not in said and "y" * 50 not in said


def test_a_question_as_deep_as_json_can_be_is_refused(wire):
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    refused(wire, wire.PlanQuestion, {"settings": {"epsilon": deep}})
    refused(wire, wire.PlanQuestion, {"tables": deep})


def test_an_answer_is_plain_json_and_reads_back_as_it_was(wire):
    from sencache.nodes.panel.preview import answer

    asked = {**PLAN, "tables": ["tiny_wan.safetensors"], "model": None}
    for kind, question in ((wire.PlanTold, asked), (wire.Refused, {**asked, "tables": ["gone.safetensors"]})):
        told = answer(wire.read(wire.PlanQuestion, question))
        plain = json.loads(json.dumps(told.plain(), allow_nan=False))
        assert isinstance(told, kind) and kind.model_validate(plain) == told


def test_an_answer_can_not_say_what_the_schema_does_not(wire):
    with pytest.raises(ValueError):
        wire.SaveTold(name="x", there=False, path="/home")
