"""The one knob: what it asks for is what the next run does, whatever else changes."""

from __future__ import annotations

import json
import re

import pytest
from demo_workflow import PLACES, demo_workflow, with_calibration

SLOW = 240  # seconds, on a machine that others use as well
FAST_PLACES = {**PLACES, "8": (0, 330)}


def nfe(studio):
    """Read the expected evaluations off the panel."""
    return int(studio.panel().get_attribute("data-nfe") or 0)


def said(studio):
    """Read the panel's headline."""
    return studio.panel().locator(".said").inner_text()


def put(studio, node, widget, value):
    """Set a widget of a node."""
    studio.node(node, f"(node.widgets.find(one => one.name === '{widget}').value = {json.dumps(value)})")


def seed(studio):
    """Return a seed that no other test has, so that nothing comes from the host's cache."""
    studio.speed_seeds = getattr(studio, "speed_seeds", 5000 if studio.nodes2 else 6000) + 1
    return studio.speed_seeds


@pytest.fixture
def patched(studio):
    """The demo workflow at twice the speed, opened; its panel has answered."""
    studio.load(demo_workflow(steps=20, speed_up=2.0, seed=seed(studio)), FAST_PLACES)
    studio.until(lambda: nfe(studio) == 10)
    return studio


def test_a_speed_set_before_a_table_is_known_is_obeyed_by_the_very_next_run(studio):
    name = f"unknown {'b' if studio.nodes2 else 'a'}"
    workflow = demo_workflow(table="automatic", speed_up=2.0, seed=seed(studio))
    workflow = with_calibration(workflow, name, steps=24, samples=1)
    workflow["2"]["inputs"]["sensitivity"] = ["8", 0]
    studio.load(workflow, FAST_PLACES)
    studio.until(lambda: "measures the model first" in said(studio))
    slider = studio.panel().locator("input[type=range]")
    slider.focus()
    for _ in range(24):
        studio.page.keyboard.press("ArrowRight")
    assert studio.value("2", "speed_up") == 4.4
    studio.until(lambda: "aims for 4.4" in studio.panel().inner_text())
    history = studio.finished(studio.queue(), SLOW)
    ran = history["outputs"]["4"]["sencache"][0]
    assert (ran["nfe"], ran["aim"]) == (4, "speed")  # 20 / 4.4, rounded down
    studio.until(lambda: nfe(studio) == 4)
    assert studio.value("2", "speed_up") == 4.4 and studio.value("2", "epsilon") == 0.03


def test_the_speed_stays_when_steps_sampler_and_table_change(patched):
    patched.panel().locator(".gains button").nth(2).click()  # 3x
    for steps, expected in ((50, 16), (20, 6), (8, 2)):
        put(patched, "3", "steps", steps)
        patched.until(lambda expected=expected: nfe(patched) == expected)
        assert patched.panel().locator("output").inner_text() == "3.0×"
        assert patched.value("2", "speed_up") == 3.0
    put(patched, "3", "sampler_name", "uni_pc")
    patched.page.wait_for_timeout(900)
    assert patched.value("2", "speed_up") == 3.0 and nfe(patched) == 2
    patched.page.reload()
    patched.page.wait_for_function("window.app?.graph?.nodes?.length > 5")
    patched.until(lambda: patched.value("2", "speed_up") == 3.0)


def test_the_arrow_keys_move_the_speed_both_ways_and_it_reads_what_the_slider_shows(patched):
    slider = patched.panel().locator("input[type=range]")
    slider.focus()
    patched.page.keyboard.press("End")
    patched.until(lambda: patched.value("2", "speed_up") == 6)
    patched.page.wait_for_timeout(700)
    assert patched.panel().locator("output").inner_text() == "6.0×"
    for press in range(1, 15):
        patched.page.keyboard.press("ArrowLeft")
        patched.page.wait_for_timeout(90)
        assert patched.value("2", "speed_up") == pytest.approx(6 - press / 10)
    assert patched.panel().locator("output").inner_text() == "4.6×"
    patched.page.keyboard.press("Home")
    patched.until(lambda: nfe(patched) == 20)
    assert "nothing is skipped" in said(patched) or "every step" in said(patched)


def test_the_speeds_to_choose_from_say_what_they_give_and_are_chosen_by_a_click(patched):
    rows = patched.panel().locator(".gains button")
    assert [row.split("\n")[:2] for row in rows.all_inner_texts()] == [
        ["1.5×", "13 of 20"], ["2×", "10 of 20"], ["3×", "6 of 20"], ["4×", "5 of 20"],
    ]  # fmt: skip
    assert rows.nth(1).get_attribute("aria-pressed") == "true"
    history = patched.finished(patched.queue())
    each = history["outputs"]["4"]["sencache"][0]["seconds_computed"]  # what the machine has shown just now
    told = re.compile(r"~([\d.]+) s")
    patched.until(lambda: abs(float(told.search(rows.nth(2).inner_text() + "~0 s")[1]) - 6 * each) < 0.11)
    rows.nth(2).click()
    patched.until(lambda: nfe(patched) == 6)
    assert patched.value("2", "speed_up") == 3.0
    assert rows.nth(2).get_attribute("aria-pressed") == "true"
    patched.page.keyboard.press("Control+z")
    patched.until(lambda: patched.value("2", "speed_up") == 2.0)


def test_a_speed_out_of_reach_is_not_offered_and_not_painted(patched):
    put(patched, "2", "n", 1)
    patched.until(lambda: patched.panel().locator(".gains button").nth(2).is_disabled())
    scale = patched.panel().locator(".scale").evaluate("one => one.style.background")
    assert "transparent" in scale
    assert not patched.panel().locator(".gains button").nth(1).is_disabled()


def test_the_slider_is_painted_with_what_each_speed_looks_like(patched):
    put(patched, "3", "steps", 50)
    patched.until(lambda: nfe(patched) == 25)
    scale = patched.panel().locator(".scale").evaluate("one => one.style.background")
    words = re.findall(r"--looks-(\w+)", scale)
    assert words[0] == "invisible" and words[-1] == "another_video"
    order = ["invisible", "hardly_visible", "details_change", "another_video"]
    assert [order.index(one) for one in words] == sorted(order.index(one) for one in words)


def test_a_clip_that_becomes_another_video_does_not_look_calm(patched):
    calm = patched.panel().locator(".said").evaluate("one => getComputedStyle(one).color")
    put(patched, "2", "speed_up", 6.0)
    patched.until(lambda: "another video" in said(patched))
    line = patched.panel().locator(".said")
    assert "looks-another_video" in line.get_attribute("class")
    assert line.evaluate("one => getComputedStyle(one).color") != calm
    patched.finished(patched.queue())
    stats = patched.until(lambda: patched.panel_with("3 of 20 steps computed, "))
    assert "looks-another_video" in stats.locator(".said").first.get_attribute("class")
    patched.picture("another_video")


def test_the_allowed_error_decides_where_the_target_is_0_and_the_node_says_so(patched):
    put(patched, "2", "speed_up", 0)
    patched.until(lambda: "epsilon) 0.03 decides" in said(patched))
    assert patched.panel().locator(".knob").get_attribute("class") == "knob follows"
    shown = float(patched.panel().locator("output").inner_text().rstrip("×"))
    assert shown == pytest.approx(20 / nfe(patched), abs=0.1)
    patched.panel().get_by_role("button", name="Use the target speed").click()
    patched.until(lambda: patched.value("2", "speed_up") == 2)
    patched.until(lambda: nfe(patched) == 10)


@pytest.mark.parametrize(("widget", "usual"), [("epsilon", 0.03), ("n", 30)])
def test_where_0_keeps_every_step_the_node_says_so_and_the_slider_takes_over(patched, widget, usual):
    put(patched, "2", widget, 0)
    patched.until(lambda: "every step is computed" in said(patched))
    slider = patched.panel().locator("input[type=range]")
    slider.focus()
    patched.page.keyboard.press("ArrowRight")
    patched.until(lambda: 0 < nfe(patched) < 20)
    assert patched.value("2", widget) == usual
    shown = nfe(patched)
    history = patched.finished(patched.queue())
    assert history["outputs"]["4"]["sencache"][0]["nfe"] == shown


def test_final_renders_exactly_and_keeps_the_speed_for_the_next_draft(patched):
    put(patched, "2", "exact", True)
    patched.until(lambda: "Final: every step is computed" in said(patched))
    history = patched.finished(patched.queue())
    assert history["outputs"]["4"]["sencache"][0]["nfe"] == 20
    assert patched.value("2", "speed_up") == 2.0
    put(patched, "2", "exact", False)
    put(patched, "3", "seed", seed(patched))
    patched.until(lambda: nfe(patched) == 10)
    history = patched.finished(patched.queue())
    assert history["outputs"]["4"]["sencache"][0]["nfe"] == 10


def test_with_few_steps_the_node_says_before_the_run_that_there_is_little_to_gain(patched):
    put(patched, "3", "steps", 6)
    patched.until(lambda: "With 6 steps there is little to gain" in patched.panel().inner_text())
    put(patched, "3", "steps", 30)
    patched.until(lambda: "little to gain" not in patched.panel().inner_text())


@pytest.mark.parametrize("sampler", ["heun", "euler_ancestral", "dpm_adaptive"])
def test_a_sampler_that_is_not_foreseen_is_not_told_two_things(patched, sampler):
    put(patched, "2", "speed_up", 0)
    put(patched, "2", "epsilon", 0.0001)
    put(patched, "3", "sampler_name", sampler)
    patched.until(lambda: "nothing is skipped" in said(patched))
    text = patched.panel().inner_text()
    assert "as it goes" not in text and "may compute many more" not in text


def test_a_connected_number_that_rounds_the_speed_is_told(studio):
    workflow = demo_workflow(steps=20, speed_up=2.0, seed=seed(studio))
    workflow["8"] = {"class_type": "PrimitiveInt", "inputs": {"value": 2}}
    studio.load(workflow, FAST_PLACES)
    studio.until(lambda: nfe(studio) == 10)
    studio.page.evaluate("""() => {
        const at = id => app.graph.getNodeById(id) ?? app.graph.getNodeById(Number(id));
        const [from, to] = ['8', '2'].map(at);
        const widget = from.widgets[0];
        Object.defineProperty(widget, 'value', {
            get() { return this.rounded ?? 2; }, set(value) { this.rounded = Math.round(value); },
        });
        from.outputs[0].type = 'FLOAT';
        from.connect(0, to, to.inputs.findIndex(one => one.name === 'speed_up'));
    }""")
    studio.page.wait_for_timeout(600)
    studio.panel().locator(".gains button").first.click()  # 1.5 becomes 2
    studio.until(lambda: "rounds the target speed" in said(studio))


def test_the_slider_stands_above_every_widget_and_the_rest_is_folded(patched):
    shown = "node.widgets.filter(one => !one.hidden).map(one => one.name)"
    order = patched.node("2", shown)
    assert order[:3] == ["sencache", "speed_up", "exact"]
    if patched.nodes2:
        visible = patched.page.locator("[data-node-id='2']").inner_text()
    else:
        visible = " ".join(order)
        patched.panel().get_by_role("button", name="More settings").click()
        patched.until(lambda: "epsilon" in patched.node("2", shown))
        patched.picture("unfolded")
        patched.panel().get_by_role("button", name="Fewer settings").click()
    assert "start_percent" not in visible and "embedded_table" not in visible


def test_a_node_that_grew_with_a_long_note_shrinks_again(patched):
    before = patched.node("2", "node.size[1]")
    high = patched.panel().bounding_box()["height"]
    put(patched, "3", "steps", 6)
    patched.until(lambda: "little to gain" in patched.panel().inner_text())
    patched.until(lambda: patched.panel().bounding_box()["height"] > high + 10)
    put(patched, "3", "steps", 20)
    patched.until(lambda: abs(patched.panel().bounding_box()["height"] - high) < 6)
    assert abs(patched.node("2", "node.size[1]") - before) < 6


@pytest.mark.parametrize(
    "word", ["faster", "skip steps", "fast", "turbo", "lazy", "teacache", "speed up", "sencache"]
)
def test_the_words_that_an_artist_types_find_the_node(patched, word):
    page = patched.page
    page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    box = page.locator("[role=dialog] input, .comfy-vue-node-search-container input").first
    box.fill(word)
    page.wait_for_timeout(700)
    found = page.locator("[role=dialog], .comfy-vue-node-search-container").first.inner_text()
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert "SenCache Model Patch" in found and "SenCache Demo" not in found


def test_nothing_of_ours_stands_in_the_side_panel_and_the_node_keeps_its_width(patched):
    width = patched.panel().bounding_box()["width"]
    patched.page.evaluate("""() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        app.canvas.selectItems([node]);
    }""")
    patched.set("Comfy.RightSidePanel.IsOpen", True)
    patched.page.wait_for_timeout(1500)
    patched.picture("side_panel")
    heading = patched.page.get_by_text(re.compile("^(ADVANCED )?INPUTS$")).first
    edge = heading.bounding_box()["x"] - 20
    named = patched.page.get_by_text("sencache", exact=True).all()  # the workflow's tab, and hidden ones
    assert not [one for one in named if one.is_visible() and one.bounding_box()["x"] > edge]
    patched.set("Comfy.RightSidePanel.IsOpen", False)
    patched.page.wait_for_timeout(700)
    wider = "(node.setSize([node.size[0] + 120, node.size[1]]), node.setDirtyCanvas(true, true))"
    patched.node("2", wider)
    patched.until(lambda: patched.panel().bounding_box()["width"] > width + 90)


def test_in_app_mode_the_speed_and_its_panel_work_as_on_the_canvas(patched):
    page = patched.page
    app = page.evaluate("app.graph.serialize()")
    app["extra"]["linearMode"] = True
    inputs = [["2", "speed_up"], ["2", "sencache"], ["2", "exact"], ["3", "seed"]]
    app["extra"]["linearData"] = {"inputs": inputs, "outputs": ["7"]}
    page.evaluate("app => window.app.loadGraphData(app, true, true, 'as an app')", app)
    page.wait_for_timeout(1500)
    tour = page.get_by_text("Skip", exact=True)
    if tour.count():
        tour.first.click()
    try:
        patched.until(lambda: nfe(patched) == 10)
        patched.panel().locator(".gains button").first.click()
        patched.until(lambda: nfe(patched) == 13)
        assert patched.value("2", "speed_up") == 1.5
        assert not patched.panel().get_by_role("button", name="More settings").is_visible()
        page.locator("[data-testid=increment]:visible").first.click()  # the target speed's own
        patched.until(lambda: patched.value("2", "speed_up") == 1.6 and nfe(patched) == 12)
        before = set(patched.server.get("/history"))
        page.get_by_role("button", name="Run", exact=True).click()
        ran = patched.finished(before)["outputs"]["4"]["sencache"][0]
        assert (ran["nfe"], ran["aim"]) == (12, "speed")
        patched.picture("app_mode")
    finally:
        patched.set("Comfy.VueNodes.Enabled", patched.nodes2)  # App mode needs Nodes 2.0, and turns it on
