"""A model that nobody has measured, as an artist meets it: the panels say what the first run is for."""

from __future__ import annotations

import itertools
import re
import uuid

import pytest
from browser import Studio
from first_runs import STEPS, experts, sampled, save_tuned, with_stats
from workflows import numbered

COLUMNS = [  # of nodes under each other: their left edge, and how far they are apart
    (0, 150, ["loader", "high loader", "low loader", "positive", "negative", "latent"]),
    (320, 700, ["patch", "high patch"]),
    (660, 700, ["low patch"]),
    (1000, 420, ["high", "low"]),
    (1000, 190, ["sampler", "noise", "guider", "void", "sigmas"]),
    (1330, 420, ["stats", "high stats", "low stats"]),
]
TUNED = itertools.count(1)  # each fine-tune has a factor of its own: models are told apart by their weights
WAITING, MEASURED = "The next run measures the model", "The model was measured in this run"
SECONDS = 90
INTO_A_SUBGRAPH = """names => {
    const chosen = app.graph.nodes.filter(one => names.includes(one.comfyClass));
    app.canvas.selectItems(chosen);
    app.graph.convertToSubgraph(new Set(chosen));
}"""
ENTER = "app.canvas.setGraph(app.graph.nodes.find(one => one.subgraph).subgraph)"
LEAVE = "app.canvas.setGraph(app.rootGraph)"


def unmeasured(studio, name):
    """Write a model that has no table; return its file's name."""
    number = next(TUNED)
    file = f"nobody measured {name} {number}.safetensors"
    save_tuned(name, 1 + number / 500, studio.server.base / "models" / "diffusion_models" / file)
    return file


def workflow(studio, name):
    """Return loader, Model Patch, sampler and Cache Stats by name, as they are dropped in.

    Of ten steps each, the experts would hardly reuse any at the default epsilon.
    """
    if name != "experts":
        return with_stats(sampled(name, unmeasured(studio, name)), "stats", "patch", "sampler")
    prompt = experts(unmeasured(studio, "wan"), unmeasured(studio, "wan"), epsilon=0.06)
    for one in ("high", "low"):
        prompt = with_stats(prompt, f"{one} stats", f"{one} patch", one)
    return prompt


def open_laid_out(studio, prompt):
    """Open a workflow with its nodes beside each other, in a page that knows the new models' files."""
    studio.open()
    ids = {name: str(index + 1) for index, name in enumerate(prompt)}
    places = {}
    for left, apart, names in COLUMNS:
        for row, name in enumerate(one for one in names if one in prompt):
            places[ids[name]] = (left, apart * row)
    studio.load(numbered(prompt), places)
    studio.page.evaluate("app.canvas.ds.scale = 0.85; app.canvas.setDirty(true, true)")


def said(studio, words):
    """Count the panels that say something."""
    return sum(words in one for one in studio.panels())


def planned(studio):
    """Return what each Model Patch's panel says of the next run: computed, of steps."""
    plans = studio.page.locator(".sencache[data-nfe]:visible").all_inner_texts()
    found = re.findall(r"(\d+) of (\d+) steps computed", "\n".join(plans))
    return [(int(computed), int(steps)) for computed, steps in found]


def plans(studio, count):
    """Wait until every Model Patch shows a plan that reuses something; return them."""
    found = studio.until(lambda: len(both := planned(studio)) == count and both, SECONDS)
    assert all(computed < steps for computed, steps in found)
    assert said(studio, "measured/nobody_measured") >= count
    return found


def computed(studio, found):
    """Wait until Cache Stats say that the runs computed what was planned."""
    words = [f"{computed} of {steps} steps computed, " for computed, steps in found]
    studio.until(lambda: all(said(studio, one) for one in words), SECONDS)


@pytest.mark.parametrize("name", ["wan", "ltxv", "cogvideox", "experts"])
def test_the_first_queue_measures_and_the_second_is_faster(studio, name):
    if name == "cogvideox" and "VOIDSampler" not in studio.server.get("/object_info"):
        pytest.skip("this host has no CogVideoX")
    count = 2 if name == "experts" else 1
    open_laid_out(studio, workflow(studio, name))
    studio.until(lambda: said(studio, WAITING) == count)
    studio.picture(f"first_run_{name}_before")
    studio.finished(studio.queue())
    studio.until(lambda: said(studio, MEASURED) == count, SECONDS)
    found = plans(studio, count)  # there without a second run
    assert [steps for _, steps in found] == [STEPS // count] * count
    studio.picture(f"first_run_{name}_after")
    studio.finished(studio.queue())
    computed(studio, found)
    studio.picture(f"first_run_{name}_second")


@pytest.mark.parametrize("inside", [["SenCacheModelPatch"], ["SenCacheModelPatch", "KSampler"]])
def test_a_saved_workflow_with_its_patch_in_a_subgraph_is_measured_too(studio, inside):
    open_laid_out(studio, workflow(studio, "wan"))
    studio.page.evaluate(INTO_A_SUBGRAPH, inside)
    studio.page.wait_for_timeout(300)
    held = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}
    studio.open()
    studio.load(held)
    studio.page.evaluate(ENTER)
    studio.until(lambda: said(studio, WAITING))
    studio.finished(studio.queue())
    found = plans(studio, 1)
    studio.picture(f"first_run_subgraph_{len(inside)}")
    studio.page.evaluate(LEAVE)
    studio.until(lambda: said(studio, MEASURED))
    studio.finished(studio.queue())
    computed(studio, found)


def test_two_windows_of_one_server_both_show_the_plan(studio, chromium):
    prompt = workflow(studio, "wan")
    open_laid_out(studio, prompt)
    other = Studio(chromium, studio.server, studio.nodes2, studio.pictures)
    try:
        open_laid_out(other, prompt)
        for window in (studio, other):
            window.until(lambda window=window: said(window, WAITING))
        studio.finished(studio.queue())
        found = plans(studio, 1)
        assert plans(other, 1) == found
        assert not said(other, MEASURED)  # that run was not its own
        other.picture("first_run_other_window")
        sampler = str(list(prompt).index("sampler") + 1)
        other.node(sampler, "(node.widgets.find(one => one.name === 'seed').value = 8)")
        other.finished(other.queue())
        computed(other, found)
        assert said(studio, MEASURED) and not other.problems
    finally:
        other.page.close()
