"""The panel of Model Patch, as an artist uses it: moved by mouse and by keys, before anything is run."""

from __future__ import annotations

import re

import pytest
from demo_workflow import PLACES, demo_workflow


def nfe(studio):
    """Read the expected evaluations off the panel."""
    return int(studio.panel().get_attribute("data-nfe") or 0)


@pytest.fixture
def patched(studio):
    """The demo workflow, opened; its panel has answered."""
    studio.load(demo_workflow(steps=20, speed_up=2.0), PLACES)
    studio.until(lambda: nfe(studio))
    return studio


def test_the_plan_is_there_before_anything_is_run(patched):
    said = patched.panel().inner_text()
    assert "10 of 20 steps computed · details change" in said
    assert re.search(r"predicted error 0\.0\d+ · tiny_wan\.safetensors, 20 steps, simple", said)
    cells = patched.panel().locator(".strip > i")
    assert cells.count() == 20
    assert patched.panel().evaluate("panel => panel.scrollHeight <= panel.clientHeight + 1")
    computed = patched.panel().locator(".strip > i.c")
    assert computed.count() == nfe(patched) and cells.first.get_attribute("class") == "c"
    assert "first step" in cells.first.get_attribute("title")
    patched.picture("panel")


def drag(studio, shares):
    """Drag the speed slider to these shares of its width; yield after each."""
    box = studio.panel().locator("input[type=range]").bounding_box()
    middle = box["y"] + box["height"] / 2
    studio.page.mouse.move(box["x"] + 0.1 * box["width"], middle)
    studio.page.mouse.down()
    for share in shares:
        studio.page.mouse.move(box["x"] + share * box["width"], middle, steps=3)
        studio.page.wait_for_timeout(400)
        yield
    studio.page.mouse.up()
    studio.page.wait_for_timeout(900)


def test_dragging_the_speed_slider_sets_the_target_speed_and_shows_the_plan(patched):
    position, seen = patched.node("2", "[...node.pos]"), []
    for _ in drag(patched, (0.15, 0.3, 0.5)):
        seen.append((nfe(patched), patched.value("2", "speed_up")))
    assert [one for one, _ in seen] == sorted({one for one, _ in seen}, reverse=True)
    assert [speed for _, speed in seen] == sorted({speed for _, speed in seen})
    assert all(one == int(20 / speed + 1e-9) for one, speed in seen)
    assert patched.value("2", "epsilon") == 0.03
    assert patched.node("2", "[...node.pos]") == position
    patched.picture("slider")


def test_a_drag_is_one_step_for_undo_and_the_keys_are_comfyuis_again(patched):
    for _ in drag(patched, (0.2, 0.3, 0.4, 0.5, 0.6)):
        pass
    assert patched.value("2", "speed_up") > 3
    patched.page.keyboard.press("Control+z")
    patched.until(lambda: patched.value("2", "speed_up") == 2.0)
    patched.panel().locator(".gains button").nth(2).click()
    patched.until(lambda: patched.value("2", "speed_up") == 3.0)
    before = len(patched.server.get("/history"))
    patched.page.keyboard.press("Control+Enter")
    patched.until(lambda: len(patched.server.get("/history")) > before, 120)


def test_a_sampler_that_adds_noise_is_named(patched):
    patched.node("3", "(node.widgets.find(one => one.name === 'sampler_name').value = 'euler_ancestral')")
    patched.until(lambda: "adds noise at every step" in patched.panel().inner_text())


def looks_in_two_seconds(studio):
    """Count how often any panel looks at the graph."""
    return studio.page.evaluate("""async () => {
        const stringify = JSON.stringify;
        let looks = 0;
        JSON.stringify = (...given) => { looks += "asker" in Object(given[0]); return stringify(...given); };
        await new Promise(wait => setTimeout(wait, 2000));
        JSON.stringify = stringify;
        return looks;
    }""")


def test_panels_in_subgraphs_are_gone_with_their_workflow(patched):
    patched.page.evaluate("""() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        app.canvas.selectItems([node]); app.graph.convertToSubgraph(new Set([node]));
    }""")
    patched.page.wait_for_timeout(500)
    workflow = patched.page.evaluate("app.graph.serialize()")
    first = looks_in_two_seconds(patched)
    for _ in range(4):
        patched.load(workflow)
    assert 0 < first <= 20 and looks_in_two_seconds(patched) <= first + 4  # one panel inside, one outside


def test_what_is_promoted_to_a_subgraphs_node_counts_and_the_slider_moves_it(patched):
    patched.page.evaluate("""() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        app.canvas.selectItems([node]);
        const { subgraph } = app.graph.convertToSubgraph(new Set([node]));
        const inner = subgraph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        const slot = inner.inputs.find(one => one.name === 'speed_up');
        subgraph.addInput('speed_up', 'FLOAT').connect(slot, inner);
        app.canvas.setGraph(subgraph);
    }""")
    outer = "(app.rootGraph ?? app.graph).nodes.find(one => one.subgraph)"
    widget = f"{outer}.widgets.find(one => one.name === 'speed_up')"
    patched.until(lambda: patched.page.evaluate(f"!!{widget}"))
    patched.page.evaluate(f"{widget}.value = 5")
    patched.until(lambda: nfe(patched) and nfe(patched) <= 5)
    few = nfe(patched)
    patched.panel().locator(".gains button").first.click()
    patched.until(lambda: patched.page.evaluate(f"{widget}.value") == 1.5)
    patched.until(lambda: nfe(patched) > few)
    patched.page.evaluate("app.canvas.setGraph(app.rootGraph ?? app.graph)")


def test_a_widget_and_another_nodes_steps_change_the_plan(patched):
    before = nfe(patched)
    patched.node("2", "(node.widgets.find(one => one.name === 'speed_up').value = 4)")
    patched.until(lambda: nfe(patched) < before)
    patched.node("3", "(node.widgets.find(one => one.name === 'steps').value = 40)")
    patched.until(lambda: "10 of 40 steps" in patched.panel().inner_text())


def test_without_a_table_the_panel_says_what_to_do(studio):
    workflow = demo_workflow(table="automatic")
    workflow["1"]["inputs"]["prompt"] = "man and taxi"  # not what an earlier test has run
    studio.load(workflow, PLACES)
    studio.until(lambda: "The next run measures the model" in studio.panel().inner_text())
    studio.picture("no_table")


def test_a_bypassed_node_says_that_it_is_off(patched):
    patched.node("2", "(node.mode = 4)")
    patched.until(lambda: "every step is computed" in patched.panel().inner_text())


def test_undo_brings_the_speed_and_its_plan_back(patched):
    before, speed = nfe(patched), patched.value("2", "speed_up")
    patched.panel().locator(".gains button").nth(3).click()
    patched.until(lambda: patched.value("2", "speed_up") == 4)
    patched.until(lambda: nfe(patched) < before)
    patched.page.mouse.click(500, 900)
    patched.page.keyboard.press("Control+z")
    patched.until(lambda: patched.value("2", "speed_up") == speed)
    patched.until(lambda: nfe(patched) == before)


def test_a_copy_has_a_panel_of_its_own(patched):
    patched.page.evaluate("""() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        app.canvas.selectItems([node]); app.canvas.copyToClipboard([node]); app.canvas.pasteFromClipboard();
    }""")
    patched.until(lambda: patched.page.locator(".sencache[data-nfe]:not([data-nfe=''])").count() == 2)
    copy = "app.graph.nodes.filter(one => one.comfyClass === 'SenCacheModelPatch').pop()"
    patched.page.evaluate(f"{copy}.widgets.find(one => one.name === 'epsilon').value = 0")
    patched.until(lambda: any("every step is computed" in said for said in patched.panels()))
    assert any("10 of 20 steps computed" in said for said in patched.panels())


def test_a_collapsed_node_opens_with_its_panel_as_it_was(patched):
    said = patched.panel().inner_text()
    patched.node("2", "node.collapse()")
    patched.page.wait_for_timeout(400)
    assert not patched.panel().is_visible()
    patched.picture("collapsed")
    patched.node("2", "node.collapse()")
    patched.until(lambda: patched.panel().is_visible())
    assert patched.panel().inner_text() == said


@pytest.mark.parametrize("scale", [0.4, 1.6])
def test_the_panel_stays_inside_its_node_when_zoomed(patched, scale):
    patched.page.evaluate(f"app.canvas.ds.scale = {scale}; app.canvas.setDirty(true, true)")
    patched.page.wait_for_timeout(500)
    patched.picture(f"zoom_{scale}")
    inside = """() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        const panel = document.querySelector('.sencache[data-nfe]').getBoundingClientRect();
        const view = app.canvas.ds;
        const canvas = app.canvas.canvas.getBoundingClientRect();
        const left = (node.pos[0] + view.offset[0]) * view.scale + canvas.left;
        const top = (node.pos[1] + view.offset[1]) * view.scale + canvas.top;
        const right = left + node.size[0] * view.scale, bottom = top + node.size[1] * view.scale;
        const across = panel.left >= left - 2 && panel.right <= right + 2;
        return across && panel.top >= top && panel.bottom <= bottom + 40;
    }"""
    assert patched.page.evaluate(inside)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_panels_text_is_readable_in_every_theme(patched, theme):
    patched.set("Comfy.ColorPalette", theme)
    patched.page.wait_for_timeout(700)
    patched.picture(f"theme_{theme}")
    contrast = patched.page.evaluate("""() => {
        const panel = document.querySelector('.sencache[data-nfe]'), style = getComputedStyle(panel);
        let behind = panel;  // the panel shows the node's own colour
        const clear = one => /^rgba\\(.*, 0\\)$|^transparent$/.test(getComputedStyle(one).backgroundColor);
        while (behind && clear(behind)) behind = LiteGraph.vueNodesMode ? behind.parentElement : null;
        const back = behind ? getComputedStyle(behind).backgroundColor : LiteGraph.NODE_DEFAULT_BGCOLOR;
        const light = colour => {
            const paint = document.createElement('canvas').getContext('2d');
            paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map(one => one / 255)
                .map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
                .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
        };
        const [low, high] = [light(style.color), light(back)].sort((one, two) => one - two);
        return (high + 0.05) / (low + 0.05);
    }""")
    patched.set("Comfy.ColorPalette", "dark")
    assert contrast > 4.5


def test_inside_a_subgraph_the_panel_finds_the_sampler_outside(patched):
    patched.page.evaluate("""() => {
        const node = app.graph.nodes.find(one => one.comfyClass === 'SenCacheModelPatch');
        app.canvas.selectItems([node]);
        const { subgraph } = app.graph.convertToSubgraph(new Set([node]));
        app.canvas.setGraph(subgraph);
    }""")
    patched.until(lambda: "of 20 steps" in " ".join(patched.panels()))
    patched.page.evaluate("""() => {
        (app.rootGraph ?? app.graph).nodes.find(one => one.comfyClass === 'KSampler').widgets
            .find(one => one.name === 'steps').value = 24;
    }""")
    patched.until(lambda: "of 24 steps" in " ".join(patched.panels()))
    patched.picture("subgraph")
    patched.page.evaluate("app.canvas.setGraph(app.rootGraph ?? app.graph)")
