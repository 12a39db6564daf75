"""What a run's record adds up to, and what its report tells a person to do."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from sencache.caching.config import SenCacheConfig
from sencache.caching.notes import Note
from sencache.caching.policy import Action, Decision, Reason
from sencache.caching.remarks import FEW_STEPS
from sencache.caching.report import as_dict, as_text
from sencache.tests.toy_records import FIRST, OFF, long_record, outside, over, planned, record, reused

NO_SAVING = "A computed step took"


def lines_with(record, words: str) -> list[str]:
    return [line for line in as_text(record).splitlines() if words in line]


def test_a_record_counts_computed_and_reused_evaluations():
    run = record(FIRST, reused(0.05), reused(0.09), over(0.2), reused(0.03))
    assert (run.nfe, run.reused, run.speed_up) == (2, 3, 2.5)
    assert lines_with(run, "computed, ") == ["2 of 5 steps computed, 3 reused: 2.50x fewer."]


def test_a_sampler_that_calls_the_model_twice_a_step_is_not_said_to_have_twice_the_steps():
    decisions = (FIRST, reused(0.05), over(0.2), reused(0.03))
    twice, once = record(*decisions, steps=2), record(*decisions, steps=4)
    calls = "2 of 4 model calls (2 steps) computed, 2 reused: 2.00x fewer."
    assert lines_with(twice, "computed, ") == [calls]
    assert lines_with(once, "computed, ") == ["2 of 4 steps computed, 2 reused: 2.00x fewer."]
    assert as_dict(twice)["steps_asked"] == 2 and as_dict(record(*decisions))["steps_asked"] is None


def test_seconds_are_medians_so_that_a_slow_first_evaluation_does_not_count():
    decisions = (FIRST, reused(0.05), over(0.2), reused(0.04), over(0.3))
    run = record(*decisions, seconds=(60.0, 0.25, 2.0, 0.75, 1.0))
    assert run.median_seconds(reused=False) == 2.0 and run.median_seconds(reused=True) == 0.5
    assert run.seconds_saved == (2.0 - 0.25) + (2.0 - 0.75)
    assert lines_with(run, NO_SAVING) == [
        "A computed step took 2.000 s, a reused one 0.500 s (medians): about 3.0 s saved."
    ]


def test_where_nothing_was_reused_no_seconds_are_claimed():
    run = record(FIRST, over(0.2))
    assert run.median_seconds(reused=True) is None and run.seconds_saved == 0.0
    assert lines_with(run, NO_SAVING) == []


def test_the_report_names_settings_and_table():
    run = replace(
        record(FIRST), config=SenCacheConfig("paper", "hold", 0.07, max_reuse=10), table_name="wan21"
    )
    settings = "Settings: allowed error (epsilon) 0.07, longest skip (n) 10, rule paper, forecast hold"
    assert lines_with(run, "Settings") == [settings + ", table wan21."]
    assert lines_with(replace(run, table_name=""), "Settings") == [settings + "."]


def test_the_report_tells_the_predicted_changes():
    run = record(FIRST, reused(0.02), over(0.5), reused(0.06))
    assert lines_with(run, "Predicted change") == [
        "Predicted change of the output: 0.0200 to 0.5000, median 0.0600, against an allowed error of 0.1."
    ]
    assert lines_with(record(FIRST), "Predicted") == ["Predicted error: nothing to compare."]


def test_the_report_counts_why_evaluations_were_computed_most_frequent_first():
    run = record(FIRST, over(0.2), over(0.3), reused(0.05), outside(0.05), outside(0.05), outside(0.05))
    assert lines_with(run, "Computed because") == [
        "Computed because: outside the start-end range (3), predicted error above the limit (2), "
        "first step (1)."
    ]


def test_where_everything_was_too_far_the_advice_is_a_larger_epsilon():
    run = record(FIRST, over(0.32), over(0.25), over(0.4))
    assert lines_with(run, "No step was skipped") == [
        "No step was skipped: the smallest predicted error was 0.2500. Raise the allowed error (epsilon) "
        "above it. With samplers that add noise at every step (SDE, ancestral, LCM) every skipped step costs "
        "more."
    ]


@pytest.mark.parametrize(
    "decisions",
    [(FIRST, outside(0.01), outside(0.5)), (FIRST, over(0.05, limit=0.001), outside(0.02))],
    ids=["range", "strict"],
)
def test_where_epsilon_is_not_what_kept_it_from_reuse_the_advice_is_not_to_raise_it(decisions):
    advice = lines_with(record(*decisions), "No step was skipped")
    assert len(advice) == 1 and "start, end and strict percent" in advice[0] and "epsilon" not in advice[0]


def test_where_evaluations_over_epsilon_were_left_the_strict_ones_do_not_count():
    run = record(FIRST, over(0.05, limit=0.001), over(0.3))
    assert "0.3000. Raise the allowed error (epsilon) above it" in as_text(run)


def test_missing_outputs_are_not_blamed_on_a_setting():
    missing = Decision(Action.COMPUTE, Reason.NO_STORED_OUTPUT, 0.05, 0.1)
    run = record(FIRST, missing, missing)
    assert lines_with(run, "No step was skipped") == []
    assert "At 2 of the steps there was no stored output to reuse" in as_text(run)


def test_reuse_that_is_off_is_said_and_nothing_else_is_advised():
    off = record(OFF, OFF, epsilon=0.0)
    by_speed = replace(off, config=SenCacheConfig(speed_up=1.0))
    for run in (off, by_speed):
        text = as_text(run)
        assert "Every step was computed, because the settings say so" in text
        assert "Raise the allowed" not in text and "little to gain" not in text


def test_few_steps_are_said_to_gain_little_and_many_are_not():
    few = record(FIRST, *[reused(0.05)] * (FEW_STEPS - 1))
    assert f"With {FEW_STEPS} steps there is little to gain" in as_text(few)
    assert "little to gain" not in as_text(record(FIRST, *[reused(0.05)] * FEW_STEPS))
    assert "little to gain" not in as_text(long_record())


@pytest.mark.parametrize(
    ("settings", "aim"),
    [
        ({}, "epsilon"),
        ({"speed_up": 2.0}, "speed"),
        ({"epsilon": 0.0, "speed_up": 2.0}, "off"),
        ({"max_reuse": 0}, "off"),
        ({"speed_up": 1.0}, "speed"),
    ],
)
def test_what_a_run_aimed_for_is_told(settings, aim):
    assert as_dict(replace(record(FIRST), config=SenCacheConfig(**settings)))["aim"] == aim


def test_a_run_that_was_stopped_says_so():
    assert lines_with(record(FIRST, complete=False), "stopped") == ["The run was stopped before its end."]
    assert lines_with(record(FIRST), "stopped") == []


def test_notes_come_last():
    notes = (Note("embedded_differs", {"name": "mine.safetensors"}), Note("unguided", {"cfg": "5"}))
    run = record(FIRST, reused(0.05), notes=notes)
    differs, unguided = as_text(run).splitlines()[-2:]
    assert "the local file 'mine.safetensors' holds another" in differs
    assert "measured without guidance and this run has cfg 5:" in unguided
    assert as_dict(run)["notes"][-2:] == [note.as_dict() for note in notes]


def test_a_good_run_gets_no_advice():
    assert [line.split()[0] for line in as_text(long_record()).splitlines()] == [
        "5",
        "Settings:",
        "A",
        "Predicted",
        "Computed",
    ]


def test_a_run_stopped_before_its_first_evaluation_is_reported_without_a_reason():
    lines = as_text(record(complete=False)).splitlines()
    assert lines[0] == "0 of 0 steps computed, 0 reused: 0.00x fewer."
    assert lines[-1] == "The run was stopped before its end."
    assert not any(line.startswith("Computed because") for line in lines)
    assert as_dict(record())["reuse_ratio"] == 0.0


def test_the_report_as_values_says_the_same():
    run = record(FIRST, reused(0.05), reused(0.09), over(0.2), node_id="7", table_name="wan21")
    values = as_dict(run)
    steps = values.pop("steps")
    assert values == {
        "evaluations": 4,
        "steps_asked": None,
        "nfe": 2,
        "reused": 2,
        "reuse_ratio": 0.5,
        "speed_up": 2.0,
        "aim": "epsilon",
        "seconds_computed": 2.0,
        "seconds_reused": 0.5,
        "seconds_saved": 3.0,
        "reasons": {"first": 1, "within_limit": 2, "over_limit": 1},
        "planned": None,
        "predicted_error": None,
        "visibility": None,
        "surprise": None,
        "complete": True,
        "node_id": "7",
        "table": "wan21",
        "notes": [{"code": "few_steps", "values": {"count": 4}}],
    }
    assert steps[3] == {
        "sigma": 0.25,
        "action": "compute",
        "reason": "over_limit",
        "score": 0.2,
        "limit": 0.1,
        "seconds": 2.0,
        "missed": None,
        "expected": None,
    }
    assert steps[0]["score"] is None and [step["action"] for step in steps[1:3]] == ["reuse", "reuse"]


def planned_run(*decisions, **settings):
    run = record(*decisions, planned=3, predicted_error=0.0312)
    return replace(run, config=SenCacheConfig(**settings))


def test_a_planned_run_tells_what_was_planned_and_the_error_to_expect():
    run = planned_run(FIRST, reused(0.01), reused(0.02), planned(0.06), planned(0.02))
    assert lines_with(run, "Planned") == [
        "Planned to compute 3 steps; predicted error of the finished latent (rms, of about 1): 0.0312, "
        "hardly visible. Of each step, the error predicted if it and all before it, back to the last "
        "computed one, are reused: 0.0100 to 0.0600, median 0.0200."
    ]
    assert lines_with(run, "Computed because") == [
        "Computed because: planned (2), first step (1)."
    ]
    assert as_dict(run)["planned"] == 3 and as_dict(run)["predicted_error"] == 0.0312


def test_a_target_speed_is_named_in_epsilons_place():
    run = planned_run(FIRST, reused(0.01), speed_up=2.5)
    settings = "Settings: target speed 2.5x, longest skip (n) 30, rule plan, forecast linear."
    assert lines_with(run, "Settings") == [settings]


def test_a_run_with_a_foreign_table_predicts_nothing_and_a_note_says_why():
    foreign = Note("foreign", {"table": "mine.safetensors", "model": "Other (1.30 B parameters)"})
    run = replace(planned_run(FIRST, reused(0.01), planned(0.06)), predicted_error=None, notes=(foreign,))
    run = replace(run, foreign=True)
    text = as_text(run)
    assert "redicted error" not in text and "0.06" not in text and "redicted change" not in text
    assert "'mine.safetensors' was measured on another model (Other (1.30 B parameters))" in text
    told = as_dict(run)
    assert (told["planned"], told["predicted_error"], told["visibility"]) == (3, None, None)
    assert "" not in text.splitlines()


def test_where_a_plan_reuses_nothing_the_report_names_the_error_that_a_reuse_would_leave():
    run = planned_run(FIRST, planned(0.09), planned(0.07), epsilon=0.001)
    assert lines_with(run, "No step was skipped") == [
        "No step was skipped: skipping a single one would leave an error of 0.0700 or more. Raise the "
        "allowed error (epsilon) above that, or set a target speed."
    ]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_values_are_json_even_of_a_run_whose_latent_was_not_finite(broken):
    run = record(FIRST, over(broken), over(0.3), reused(0.05))
    values = json.loads(json.dumps(as_dict(run), allow_nan=False))
    assert values == as_dict(run)
    assert [step["score"] for step in values["steps"]] == [None, None, 0.3, 0.05]
    assert "Predicted change of the output: 0.0500 to 0.3000" in as_text(run)


def test_the_speed_up_is_rounded_as_the_browser_rounds_it():
    run = record(*[FIRST] * 16, *[reused(0.01)] * 34)
    assert run.times_fewer == "3.13" and lines_with(run, "3.13x fewer")
    assert record(FIRST).times_fewer == "1.00"


def test_a_broken_runs_numbers_are_left_out_of_json():
    told = as_dict(record(reused(math.nan, math.inf), reused(0.01), predicted_error=math.nan))
    assert told["predicted_error"] is None and told["steps"][0]["limit"] is None
    json.dumps(told, allow_nan=False)


def test_more_than_planned_is_explained():
    run = record(FIRST, reused(0.01), over(0.2), over(0.3), planned=1)
    assert lines_with(run, "More steps were computed than planned (2 more): the latent moved further")
    assert not lines_with(record(FIRST, reused(0.01), planned=1), "than planned (")
    assert not lines_with(record(FIRST, reused(0.01), over(0.2)), "than planned (")


def test_where_noise_kept_a_planned_run_from_reuse_no_larger_epsilon_is_advised():
    text = as_text(planned_run(FIRST, over(0.2), over(0.3), planned(0.05)))
    assert "(1 more): the latent moved further" in text and "Raise the allowed" not in text


@pytest.mark.parametrize(("nfe", "unmet"), [(2, False), (3, True)])
def test_a_wish_that_was_not_met_is_told_after_the_run(nfe, unmet):
    decisions = [FIRST, *[planned(0.1)] * (nfe - 1), *[reused(0.01)] * (4 - nfe)]
    run = replace(record(*decisions, planned=nfe), config=SenCacheConfig(speed_up=2.0))
    assert ("The target speed of 2 was not reached: 3 of 4 steps were computed" in as_text(run)) == unmet
    limited = replace(run, notes=(Note("wish_limited", {"wished": "2", "count": 3, "total": 4}),))
    assert "was not reached" not in as_text(limited)  # told before the run already
