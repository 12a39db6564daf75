"""The panels speak the language that ComfyUI is set to: their own words, reasons, notes and problems."""

from __future__ import annotations

import re

import pytest
from demo_workflow import PLACES, demo_workflow, with_calibration
from sencache.caching.sentences import texts

LOCALES = {"zh": "zh", "zh-TW": "zh", "fr": "en", "en": "en"}  # what each is answered in


@pytest.fixture(params=LOCALES)
def speaking(request, studio):
    """A window in one of ComfyUI's languages, and the texts that it should show."""
    studio.set("Comfy.Locale", request.param)
    studio.open()
    yield studio, texts()[LOCALES[request.param]]
    studio.set("Comfy.Locale", "en")
    studio.open()


def pattern(text):
    """Return a pattern for a text with anything in its gaps."""
    return re.compile(re.sub(r"\\\{\w+\\\}", ".+?", re.escape(text)))


def shows(studio, *wanted):
    """Wait until the panels show all of these texts, whatever is in their gaps."""
    studio.until(lambda: all(pattern(text).search("\n".join(studio.panels())) for text in wanted), 60)


def test_the_panel_of_model_patch_is_in_the_users_language(speaking):
    studio, said = speaking
    studio.load(demo_workflow(steps=20), PLACES)
    panel = said["panel"]
    shown = ("expected", "by_epsilon", "error", "use_speed", "speed", "offer", "embed", "plan_of")
    shows(studio, *(panel[name] for name in shown))
    first = studio.panel().locator(".strip > i").first.get_attribute("title")
    assert said["reasons"]["first"] in first and panel["computed"] in first
    studio.node("2", "(node.widgets.find(one => one.name === 'speed_up').value = 10)")
    studio.node("3", "(node.widgets.find(one => one.name === 'steps').value = 12)")
    shows(studio, said["notes"]["wish_raised"])
    studio.picture(f"language_{studio.page.evaluate('app.extensionManager.setting.get(`Comfy.Locale`)')}")


def test_why_there_is_no_plan_is_said_in_the_users_language(speaking):
    studio, said = speaking
    studio.load(demo_workflow(table="automatic"), PLACES)
    shows(studio, said["panel"]["measures_next"])
    studio.node("2", "(node.widgets.find(one => one.name === 'table').value = 'gone.safetensors')")
    shows(studio, said["notes"]["table_gone"])


def test_a_finished_run_is_told_in_the_users_language(speaking):
    studio, said = speaking
    locale = studio.page.evaluate("app.extensionManager.setting.get('Comfy.Locale')")
    seed = 7000 + 2 * list(LOCALES).index(locale) + studio.nodes2
    studio.load(with_calibration(demo_workflow(steps=8, seed=seed), "languages", steps=6, samples=1), PLACES)
    shows(studio, said["panel"]["stats_wait"], said["panel"]["calibrate_wait"])
    studio.finished(studio.queue())
    shows(studio, said["panel"]["counts"], said["notes"]["few_steps"])
    studio.picture(f"run_{locale}")
    studio.node("2", "(node.mode = 4)")
    studio.finished(studio.queue())
    shows(studio, said["notes"]["not_patched"])
