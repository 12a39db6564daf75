"""What the panels say stays true: after a refusal, another file, another copy, a reload, or in a subgraph."""

from __future__ import annotations

import copy
import json
import shutil
import uuid

import pytest
from comfy_host import ROOT
from demo_workflow import PLACES, demo_workflow, with_calibration

SLOW = 240  # seconds, on a machine that others use as well
TRUST_PLACES = {**PLACES, "8": (0, 330), "9": (320, 520)}
INNER = "subgraph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch')"


def nfe(studio):
    """Read the expected evaluations off the panel."""
    return int(studio.panel().get_attribute("data-nfe") or 0)


def said(studio):
    """Read the panel's headline."""
    return studio.panel().locator(".said").first.inner_text()


def put(studio, node, widget, value):
    """Set a widget of a node."""
    studio.node(node, f"(node.widgets.find(one => one.name === '{widget}').value = {json.dumps(value)})")


def seed(studio):
    """Return a seed that no other test has, so that nothing comes from the host's cache."""
    studio.trust_seeds = getattr(studio, "trust_seeds", 7000 if studio.nodes2 else 8000) + 1
    return studio.trust_seeds


def folder(studio):
    """Return the user's table folder."""
    place = studio.server.base / "models" / "sencache"
    place.mkdir(parents=True, exist_ok=True)
    return place


def prompt_of(studio, **settings):
    """Return the demo workflow with settings, at a seed of its own."""
    return demo_workflow(**{"steps": 20, "speed_up": 2.0, "seed": seed(studio), **settings})


@pytest.fixture
def patched(studio):
    """The demo workflow at twice the speed, opened; its panel has answered."""
    studio.load(prompt_of(studio), TRUST_PLACES)
    studio.until(lambda: nfe(studio) == 10)
    return studio


def refused(studio):
    """Press Run where the node refuses, and close what ComfyUI shows."""
    before = studio.queue()
    studio.until(lambda: set(studio.server.get("/history")) - before, SLOW)
    studio.page.wait_for_timeout(400)
    studio.page.keyboard.press("Escape")


def test_a_run_refused_for_another_models_table_takes_the_plan_away(patched):
    patched.finished(patched.queue())
    patched.until(lambda: patched.panel_with("of 20 steps computed,").count())
    put(patched, "2", "table", "tiny_ltxv.safetensors")
    patched.until(lambda: "measured on another model" in said(patched))  # the last run has told the model
    assert nfe(patched) == 0
    refused(patched)
    patched.until(lambda: "SenCache Model Patch: the table 'tiny_ltxv" in said(patched))
    assert "looks-" not in patched.panel().locator(".said").first.get_attribute("class")
    patched.until(lambda: patched.panel_with("The last run failed").count())
    stats = patched.panel_with("The last run failed")
    assert "steps computed" not in stats.inner_text().split("Earlier")[0]
    put(patched, "2", "table", "automatic")
    patched.until(lambda: "tiny_ltxv" not in patched.panel().inner_text())
    put(patched, "2", "table", "tiny_wan.safetensors")
    patched.until(lambda: nfe(patched) == 10)


def test_a_table_of_another_model_that_is_accepted_predicts_nothing(studio):
    workflow = prompt_of(studio, table="tiny_cogvideox.safetensors", any_model=True, steps=12)
    studio.load(workflow, TRUST_PLACES)
    words = ("any_model is on", "nothing can be predicted")  # the latter where an earlier run told the model
    studio.until(lambda: any(one in studio.panel().inner_text() for one in words))
    history = studio.finished(studio.queue())
    ran = history["outputs"]["4"]["sencache"][0]
    assert ran["predicted_error"] is None and ran["visibility"] is None
    assert "foreign" in {note["code"] for note in ran["notes"]}
    studio.until(lambda: "nothing can be predicted" in studio.panel().inner_text())
    assert "predicted error" not in studio.panel().inner_text()
    stats = studio.panel_with("Computed because").inner_text()
    assert "nothing can be predicted" in stats and "0.0000" not in stats


def test_a_deleted_tables_plan_goes_and_a_replaced_ones_changes(studio):
    name = f"mine {'b' if studio.nodes2 else 'a'}.safetensors"
    shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", folder(studio) / name)
    studio.open()
    studio.load(prompt_of(studio, table=name), TRUST_PLACES)
    error = studio.until(lambda: "predicted error 0.0724" in studio.panel().inner_text())
    shutil.copy(ROOT / "tables" / "tiny_cogvideox.safetensors", folder(studio) / name)
    studio.until(lambda: error and "predicted error 0.0724" not in studio.panel().inner_text())
    (folder(studio) / name).unlink()
    studio.until(lambda: "There is no sensitivity table" in said(studio))
    assert nfe(studio) == 0


def test_a_table_that_calibrate_replaces_changes_the_plan_and_both_nodes_say_what_happened(studio):
    name = f"again {'b' if studio.nodes2 else 'a'}"
    studio.load(with_calibration(prompt_of(studio), name, steps=24, samples=1), TRUST_PLACES)
    studio.load({**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())})  # as a saved one
    studio.page.evaluate("app.canvas.ds.scale = 0.7; app.canvas.setDirty(true, true)")
    studio.finished(studio.queue(), SLOW)
    studio.until(lambda: studio.panel_with(f"Finished: {name}").count())
    studio.panel_with("Finished").get_by_role("button", name="Use it").click()
    studio.until(lambda: f"{name}.safetensors, 20 steps" in studio.panel().inner_text())
    calibrate = studio.panel_with("Finished")
    assert "Measured with these settings" in calibrate.inner_text()
    assert all(f"{x}×: compute" in calibrate.inner_text() for x in ("1.5", "2", "3", "4"))
    before = studio.panel().inner_text()
    put(studio, "1", "prompt", "bunny stretches")
    studio.until(lambda: "the next run measures again" in calibrate.inner_text())
    assert "That takes about" in calibrate.inner_text()
    studio.picture("measures_again")
    studio.finished(studio.queue(), SLOW)
    studio.until(lambda: "earlier table of that name was replaced" in calibrate.inner_text())
    studio.until(lambda: studio.panel().inner_text() != before)
    studio.page.reload()
    studio.page.wait_for_function("window.app?.graph?.nodes?.length > 5")
    studio.until(lambda: studio.panel_with(f"Finished: {name}").count())  # and its button
    assert studio.panel_with("Finished").get_by_role("button", name="Use it").count() == 1


def test_cache_stats_names_samplers_by_their_titles(patched):
    patched.node("3", "(node.title = 'First pass')")
    patched.finished(patched.queue())
    patched.until(lambda: patched.panel_with("First pass: 10 of 20 steps computed").count())


def test_a_bypassed_node_announces_no_speed_and_a_muted_one_says_what_will_happen(patched):
    patched.node("2", "(node.mode = 4)")
    patched.until(lambda: said(patched) == "This node is bypassed: every step is computed.")
    patched.node("2", "(node.mode = 2)")
    patched.until(lambda: "the run is refused" in said(patched))
    patched.node("2", "(node.mode = 0)")
    patched.until(lambda: "10 of 20" in said(patched))


def test_cache_stats_on_the_first_of_two_patches_sees_what_the_second_reused(studio):
    workflow = prompt_of(studio)
    workflow["9"] = copy.deepcopy(workflow["2"])
    workflow["9"]["inputs"]["model"] = ["2", 0]
    workflow["3"]["inputs"]["model"] = ["9", 0]
    studio.load(workflow, TRUST_PLACES)
    history = studio.finished(studio.queue())
    assert history["outputs"]["4"]["sencache"][0]["nfe"] == 10


def test_a_missing_table_is_told_once_in_one_sentence(studio):
    studio.load(prompt_of(studio, table="gone.safetensors"), TRUST_PLACES)
    studio.until(lambda: "There is no sensitivity table 'gone.safetensors'" in said(studio))
    refused(studio)
    errors = studio.page.evaluate("JSON.stringify(app.lastNodeErrors ?? null)")
    assert "embedded_table" not in errors
    assert "gone.safetensors" in said(studio)


def test_after_a_refused_prompt_cache_stats_does_not_show_the_last_runs_numbers(patched):
    patched.finished(patched.queue())
    patched.until(lambda: patched.panel_with("10 of 20 steps computed,").count())
    patched.node("2", "(node.mode = 2)")
    patched.page.evaluate("window.app.queuePrompt(0, 1).catch(() => {})")
    patched.until(lambda: patched.panel_with("refused before it began").count())
    patched.page.keyboard.press("Escape")
    patched.problems.clear()  # the host writes its refusals to the console


def test_embedded_table_is_no_text_field(patched):
    assert patched.page.get_by_text("embedded_table", exact=True).count() == 0
    if patched.nodes2:
        patched.page.locator("[data-node-id='2']").get_by_text("Show advanced").first.click()
        patched.page.wait_for_timeout(500)
        assert patched.page.get_by_text("embedded_table").count() == 0
        assert patched.page.get_by_text("longest skip").count() > 0
        patched.picture("advanced")


def test_a_page_loaded_in_mid_run_shows_the_strip_at_once(studio):
    studio.load(prompt_of(studio, steps=400, speed_up=1.5), TRUST_PLACES)
    workflow = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}
    studio.load(workflow)
    before = studio.queue()
    strip = studio.page.locator(".sencache .strip[data-filled]").first
    studio.until(lambda: strip.count() and int(strip.get_attribute("data-filled")) > 20, SLOW)
    studio.page.reload()
    studio.page.wait_for_function("window.app?.graph?.nodes?.length > 5")
    studio.until(lambda: strip.count() and int(strip.get_attribute("data-filled")) > 20, 10)
    studio.finished(before, SLOW)
    studio.until(lambda: studio.panel_with("of 400 steps computed").count())


def test_a_copy_of_a_workflow_does_not_show_the_first_ones_strip(studio):
    studio.load(prompt_of(studio, steps=12), TRUST_PLACES)
    workflow = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}
    studio.page.evaluate("workflow => window.app.loadGraphData(workflow, true, true, 'one')", workflow)
    studio.page.wait_for_timeout(800)
    studio.finished(studio.queue())
    studio.until(lambda: studio.panel_with("6 of 12 steps computed").count())
    studio.page.evaluate("workflow => window.app.loadGraphData(workflow, true, true, 'two')", workflow)
    studio.page.wait_for_timeout(1200)
    assert not studio.panel_with("of 12 steps computed,").count()


def test_an_earlier_runs_settings_are_put_back_by_a_click_and_undone_in_one_step(studio):
    studio.load(prompt_of(studio, steps=14), TRUST_PLACES)
    workflow = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}
    studio.load(workflow)
    studio.finished(studio.queue())
    first = studio.value("3", "seed")
    for node, widget, value in (("2", "speed_up", 3.5), ("3", "steps", 21), ("3", "seed", seed(studio))):
        put(studio, node, widget, value)
    studio.page.wait_for_timeout(600)
    studio.finished(studio.queue())
    history = studio.page.locator(".sencache details")
    studio.until(lambda: history.is_visible())
    history.locator("summary").click()
    rows = history.locator("button")
    assert rows.count() == 2 and "7 of 14" in rows.nth(1).inner_text()
    assert rows.nth(1).locator("img").get_attribute("src").startswith("data:image/jpeg;base64,")
    rows.nth(1).click()
    studio.until(lambda: studio.value("2", "speed_up") == 2.0)
    assert (studio.value("3", "steps"), studio.value("3", "seed")) == (14, first)
    studio.picture("history")


def test_a_workflow_of_an_earlier_version_opens_with_its_values(studio):
    workflow = json.loads((ROOT / "tests" / "e2e" / "earlier_workflow.json").read_text(encoding="utf-8"))
    studio.load(workflow)
    saved = {"table": "tiny_wan.safetensors", "epsilon": 0.06, "speed_up": 0, "n": 12, "measure": True}
    assert {name: studio.value("2", name) for name in saved} == saved
    assert studio.value("2", "exact") is False and studio.value("2", "embedded_table") == ""
    studio.until(lambda: "epsilon) 0.06 decides" in said(studio))
    saved = studio.page.evaluate("app.graph.serialize()")
    node = next(one for one in saved["nodes"] if one["type"] == "SenCacheModelPatch")
    names = [one["widget"]["name"] for one in node["inputs"] if "widget" in one]
    assert dict(zip(names, node["widgets_values"], strict=True))["n"] == 12


TWO_DEEP = """() => {
    const inside = (graph, node) => {
        app.canvas.setGraph(graph);
        const { subgraph, node: host } = graph.convertToSubgraph(new Set([node]));
        return { subgraph, host };
    };
    const root = app.rootGraph ?? app.graph;
    const patch = root.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
    const first = inside(root, patch);
    const inner = first.subgraph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
    const slot = inner.inputs.find(one => one.name === 'speed_up');
    first.subgraph.addInput('speed_up', 'FLOAT').connect(slot, inner);
    const second = inside(root, root.nodes.find(one => one.subgraph === first.subgraph));
    const middle = second.subgraph.nodes.find(one => one.subgraph);
    const outer = middle.inputs.find(one => one.name === 'speed_up');
    second.subgraph.addInput('speed_up', 'FLOAT').connect(outer, middle);
    app.canvas.setGraph(root);
    return root.nodes.find(one => one.subgraph === second.subgraph).widgets.map(one => one.name);
}"""


def test_a_subgraph_two_levels_deep_shows_the_slider_outside_and_it_moves_the_promoted_widget(patched):
    names = patched.page.evaluate(TWO_DEEP)
    assert "speed_up" in names
    outer = "(app.rootGraph ?? app.graph).nodes.find(one => one.subgraph)"
    knob = patched.page.locator(".sencache:visible input[type=range]")
    patched.until(lambda: knob.count() == 1)
    patched.picture("subgraph")
    knob.focus()
    for _ in range(10):
        patched.page.keyboard.press("ArrowRight")
    widget = f"{outer}.widgets.find(one => one.name === 'speed_up').value"
    patched.until(lambda: patched.page.evaluate(widget) == 3)
    patched.until(lambda: any("6 of 20 steps" in one for one in patched.panels()))
    history = patched.finished(patched.queue())
    assert history["outputs"]["4"]["sencache"][0]["nfe"] == 6


def test_two_copies_of_a_subgraph_have_each_its_own_speed(patched):
    patched.page.evaluate("""() => {
        const root = app.rootGraph ?? app.graph;
        const patch = root.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        const { subgraph, node } = root.convertToSubgraph(new Set([patch]));
        const inner = subgraph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        const slot = inner.inputs.find(one => one.name === 'speed_up');
        subgraph.addInput('speed_up', 'FLOAT').connect(slot, inner);
        const host = root.nodes.find(one => one.subgraph === subgraph);
        const copy = LiteGraph.createNode(host.type);
        copy.pos = [host.pos[0], host.pos[1] + 260];
        root.add(copy);
        const loader = root.nodes.find(one => one.comfyClass === 'SenCacheDemo');
        loader.connect(0, copy, 0);
        host.widgets.find(one => one.name === 'speed_up').value = 2;
        copy.widgets.find(one => one.name === 'speed_up').value = 4;
    }""")
    patched.until(lambda: all(any(x in one for one in patched.panels()) for x in ("2.0×", "4.0×")))
    patched.picture("two_subgraphs")
