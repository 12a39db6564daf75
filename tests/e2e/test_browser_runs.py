"""From the queue to the result, as an artist sees it: the strip fills, and the table travels along."""

from __future__ import annotations

import re
import shutil
import uuid

from comfy_host import ROOT
from demo_workflow import PLACES, demo_workflow, with_calibration, with_second_sampler
from safetensors.torch import load_file

SLOW = 240  # seconds, on a machine that others use as well
PATCHES = {**PLACES, "8": (0, 250), "9": (1120, 320), "10": (1450, 320)}


def latent_of(studio, history):
    """Load the latent that the workflow saved."""
    saved = history["outputs"]["5"]["latents"][0]
    return load_file(studio.server.base / "output" / saved["filename"])["latent_tensor"]


def tables(studio):
    """Return the user's table folder."""
    folder = studio.server.base / "models" / "sencache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def seed(studio):
    """Return a seed that no other test has, so that nothing comes from the host's cache."""
    studio.seeds = getattr(studio, "seeds", 100 if studio.nodes2 else 1000) + 1
    return studio.seeds


def test_the_strip_fills_while_it_samples_and_ends_with_what_was_saved(studio):
    studio.load(demo_workflow(steps=50, epsilon=0.05, seed=seed(studio)), PATCHES)
    studio.page.wait_for_timeout(500)
    before, filled = studio.queue(), []
    strip = studio.page.locator(".sencache .strip[data-filled]")

    def done():
        if strip.count():
            filled.append(int(strip.first.get_attribute("data-filled")))
        return any("steps computed," in said for said in studio.panels())

    studio.until(done, SLOW)
    studio.finished(before)
    during = sorted({one for one in filled if 0 < one < 50})
    assert len(during) >= 2 and filled == sorted(filled)
    said = studio.panel_with("steps computed,").inner_text()
    found = re.search(r"KSampler: (\d+) of 50 steps computed, (\d\.\d\d)× fewer", said)
    assert abs(float(found[2]) - 50 / int(found[1])) < 0.0051
    assert re.search(r"[\d.]+ s instead of about [\d.]+ s: [\d.]+ s saved", said)
    assert re.search(r"Computed because: planned \(\d+\), first step \(1\)\.", said)
    assert int(found[1]) == int(studio.panel().get_attribute("data-nfe"))
    assert strip.first.locator("i.c").count() == int(found[1])
    studio.picture("stats")


def test_a_second_queue_starts_a_new_strip_and_two_samplers_have_their_own(studio):
    studio.load(with_second_sampler(demo_workflow(steps=12, seed=seed(studio))), PATCHES)
    studio.node("9", "(node.title = 'Second')")
    history = studio.finished(studio.queue())
    both = studio.until(lambda: [one for one in studio.panels() if "Second: " in one and "KSampler: " in one])
    assert len(both) == 1 and both[0].count("steps computed,") == 2
    assert "Second: " not in studio.panel_with("KSampler: ").inner_text().split("\n")[0]
    first = [one["node_id"] for one in history["outputs"]["4"]["sencache"]]
    assert first == ["3"]
    studio.picture("two_samplers")
    studio.node("2", "(node.widgets.find(one => one.name === 'epsilon').value = 0)")
    studio.finished(studio.queue())  # a second prompt: its strips take the place of the first one's
    studio.until(lambda: sum("all 12 steps computed" in one for one in studio.panels()) == 2)


def test_an_embedded_table_gives_the_same_latent_where_its_file_is_gone(studio):
    file = tables(studio) / "mine.safetensors"
    shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", file)
    studio.open()
    studio.load(demo_workflow(table="mine.safetensors", epsilon=0.08, seed=seed(studio)), PATCHES)
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))
    latent = latent_of(studio, studio.finished(studio.queue()))

    studio.panel().get_by_role("button", name="Embed table").click()
    studio.until(lambda: "kB in the workflow" in studio.panel().inner_text())
    workflow = studio.page.evaluate("app.graph.serialize()")
    prompt = studio.page.evaluate("app.graphToPrompt().then(made => made.output)")
    assert studio.value("2", "embedded_table").startswith("sencache1:")

    file.unlink()
    studio.open()
    studio.load(workflow)
    studio.until(lambda: "embedded in the workflow" in studio.panel().inner_text())
    assert "is missing" not in studio.page.locator("body").inner_text()
    studio.picture("embedded")
    studio.node("5", "(node.widgets[0].value = 'shared')")
    again = studio.finished(studio.queue())
    assert latent_of(studio, again).equal(latent)
    prompt["5"]["inputs"]["filename_prefix"] = "api"
    assert latent_of(studio, studio.server.run(prompt)).equal(latent)

    studio.panel().get_by_role("button", name="Save embedded table").click()
    studio.until(lambda: "Saved as mine.safetensors" in studio.panel().inner_text())
    assert file.stat().st_size > 1000
    studio.panel().get_by_role("button", name="Take table out").click()
    studio.until(lambda: studio.value("2", "embedded_table") == "")
    assert studio.value("2", "table") == "mine.safetensors"
    studio.node("5", "(node.widgets[0].value = 'saved')")
    assert latent_of(studio, studio.finished(studio.queue())).equal(latent)
    file.unlink()


def test_another_local_file_of_that_name_is_left_alone_and_the_node_says_so(studio):
    file = tables(studio) / "tiny_wan.safetensors"
    studio.load(demo_workflow(epsilon=0.06, seed=seed(studio)), PATCHES)
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))
    studio.panel().get_by_role("button", name="Embed table").click()
    studio.until(lambda: "kB in the workflow" in studio.panel().inner_text())
    shutil.copy(ROOT / "tables" / "tiny_ltxv.safetensors", file)
    try:
        studio.node("2", "(node.widgets.find(one => one.name === 'epsilon').value = 0.07)")
        note = "the local file 'tiny_wan.safetensors' holds another one"
        studio.until(lambda: note in studio.panel().inner_text())
        history = studio.finished(studio.queue())
        assert note in history["outputs"]["4"]["text"][0]
        studio.panel().get_by_role("button", name="Save embedded table").click()
        studio.until(lambda: "already has another table" in studio.panel().inner_text())
    finally:
        file.unlink()


def test_calibration_shows_its_progress_and_its_table_is_chosen_by_a_button(studio):
    name = f"measured {'b' if studio.nodes2 else 'a'}"
    studio.load(with_calibration(demo_workflow(table="automatic", seed=seed(studio)), name), PATCHES)
    before, seen = studio.queue(), set()

    def finished():
        seen.update(line for said in studio.panels() for line in said.split("\n") if "Sample" in line)
        return any(f"Finished: {name}" in said for said in studio.panels())

    studio.until(finished, SLOW)
    studio.finished(before)
    assert any("left" in one for one in seen) and any("Sample 2 of 2" in one for one in seen)
    panel = studio.panel_with("Finished")
    assert panel.locator("svg polyline").count() == 2
    studio.picture("calibrated")
    panel.get_by_role("button", name="Use it").click()
    studio.until(lambda: studio.value("2", "table") == f"{name}.safetensors")
    studio.until(lambda: f"{name}.safetensors, 20 steps" in studio.panel().inner_text())

    tracked = studio.page.evaluate(
        "JSON.stringify(app.extensionManager.workflow.activeWorkflow.changeTracker.activeState)"
    )
    assert f"{name}.safetensors" in tracked  # kept where the page is loaded anew


def test_a_connected_calibration_wakes_the_panel_and_a_bypassed_ones_table_is_found(studio):
    name = f"connected {'b' if studio.nodes2 else 'a'}"
    workflow = with_calibration(demo_workflow(table="automatic", seed=seed(studio)), name, steps=6, samples=1)
    workflow["2"]["inputs"]["sensitivity"] = ["8", 0]
    studio.load(workflow, PATCHES)
    studio.until(lambda: "measures the model first" in studio.panel().inner_text())
    history = studio.finished(studio.queue())
    computed = history["outputs"]["4"]["sencache"][0]["nfe"]
    studio.until(lambda: f"{name}.safetensors, 20 steps" in studio.panel().inner_text())
    assert int(studio.panel().get_attribute("data-nfe")) == computed
    studio.node("8", "(node.mode = 4)")  # 'automatic' then finds the table that it has saved
    studio.node("8", "(node.widgets.find(one => one.name === 'table_name').value = 'another name')")
    studio.node("3", f"(node.widgets.find(one => one.name === 'seed').value = {seed(studio)})")
    studio.page.wait_for_timeout(900)
    assert f"{name}.safetensors" in studio.panel().inner_text()
    history = studio.finished(studio.queue())
    assert history["outputs"]["4"]["sencache"][0]["table"] == f"{name}.safetensors"


def test_a_bypassed_patch_leaves_the_workflow_running_and_cache_stats_says_so(studio):
    studio.load(demo_workflow(seed=seed(studio)), PATCHES)
    studio.finished(studio.queue())
    studio.until(lambda: any("steps computed," in said for said in studio.panels()))
    studio.node("2", "(node.mode = 4)")
    history = studio.finished(studio.queue())
    assert history["status"]["status_str"] == "success" and history["outputs"]["5"]["latents"]
    studio.until(lambda: any("is not patched" in said for said in studio.panels()))
    assert not any("steps computed," in said for said in studio.panels())
    studio.picture("bypassed")
    studio.node("2", "(node.mode = 0)")
    studio.node("3", f"(node.widgets.find(one => one.name === 'seed').value = {seed(studio)})")
    studio.finished(studio.queue())
    studio.until(lambda: any("steps computed," in said for said in studio.panels()))


def test_a_cancelled_calibration_says_what_it_keeps_and_goes_on_from_there(studio):
    name = f"cancelled {'b' if studio.nodes2 else 'a'}"
    workflow = with_calibration(demo_workflow(seed=seed(studio)), name, steps=8, samples=4)
    studio.load(workflow, PATCHES)
    studio.queue()
    studio.until(lambda: any("Sample 2 of 4" in said for said in studio.panels()), SLOW)
    studio.server.interrupt()
    kept = re.compile(r"Stopped\. ([123]) of 4 samples are kept: queue again to go on from there\.")
    studio.until(lambda: kept.search(" ".join(studio.panels())), SLOW)
    number = kept.search(" ".join(studio.panels()))[1]
    studio.picture("cancelled")
    studio.page.keyboard.press("Escape")
    studio.queue()
    studio.until(lambda: any(f"{number} kept from an earlier" in said for said in studio.panels()), SLOW)
    studio.until(lambda: any("Finished" in said for said in studio.panels()), SLOW)


def as_opened(studio, workflow):
    """Return a workflow as a saved file holds it: with an id of its own, which an API prompt has not."""
    studio.load(workflow, PATCHES)
    return {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}


def test_a_run_that_goes_on_in_another_tab_is_found_again(studio):
    workflows = (demo_workflow(steps=steps, epsilon=0.05, seed=seed(studio)) for steps in (30, 8))
    long, short = (as_opened(studio, workflow) for workflow in workflows)
    studio.load(long)
    before = studio.queue()
    studio.load(short)
    studio.page.wait_for_timeout(500)
    studio.finished(before)
    studio.page.wait_for_timeout(500)
    assert not any("of 30 steps computed," in said for said in studio.panels())
    studio.page.evaluate("app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    studio.until(lambda: any("of 30 steps computed," in said for said in studio.panels()))


def test_a_prompt_without_an_embedded_table_does_not_take_the_one_of_the_workflow_before_it(studio):
    studio.load(demo_workflow(), PATCHES)
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))
    studio.panel().get_by_role("button", name="Embed table").click()
    studio.until(lambda: studio.value("2", "embedded_table"))
    held = studio.page.evaluate("app.graph.serialize()")
    bare = demo_workflow()
    del bare["2"]["inputs"]["embedded_table"]
    studio.load(bare, PATCHES)
    assert studio.value("2", "embedded_table") == ""
    studio.load(held)
    assert studio.value("2", "embedded_table").startswith("sencache1:")
