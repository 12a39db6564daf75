"""What an artist does next: another size, a second sampler, another tab, a linked speed, a lost node."""

from __future__ import annotations

import re
import uuid

import pytest
from comfy_host import ROOT
from demo_workflow import PLACES, demo_workflow, with_calibration, with_second_sampler

FAR = {
    **PLACES, "8": (0, 330), "9": (760, 620), "10": (1120, 400), "11": (0, 500), "12": (320, 620),
    "13": (0, 460),
}  # fmt: skip
TAKES = re.compile(r"~[\d.]+ s")


def seed(studio):
    """Return a seed that no other test has, so that nothing comes from the host's cache."""
    studio.artist_seeds = getattr(studio, "artist_seeds", 15000 if studio.nodes2 else 16000) + 1
    return studio.artist_seeds


def put(studio, node, widget, value):
    studio.node(node, f"(node.widgets.find(one => one.name === '{widget}').value = {value!r})")


def workflow(studio, **patch):
    """Return the demo workflow with a latent of its own size."""
    prompt = demo_workflow(steps=10, seed=seed(studio), **{"speed_up": 2.0, **patch})
    size = {"width": 96, "height": 96, "length": 29, "batch_size": 1}
    prompt["11"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": size}
    prompt["3"]["inputs"]["latent_image"] = ["11", 0]
    return prompt


def stats(studio):
    """Return Cache Stats' panel, the first."""
    return studio.page.locator(".sencache", has=studio.page.locator(".history")).first


def rows(studio):
    return studio.page.locator(".history button").count()


def opened(studio, prompt):
    """Open a workflow as a saved file is: with an id of its own."""
    studio.load(prompt, FAR)
    saved = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}
    studio.load(saved)


def timed(studio, prompt):
    """Open and run a workflow; wait until the panel says how long its steps take."""
    studio.load(prompt, FAR)
    studio.finished(studio.queue())
    studio.until(lambda: TAKES.search(studio.panel().inner_text()))


@pytest.mark.parametrize("widget", ["width", "length", "batch_size"])
def test_the_seconds_go_when_the_size_changes_and_come_back_with_it(studio, widget):
    timed(studio, workflow(studio))
    before = studio.value("11", widget)
    put(studio, "11", widget, 2 * before + (widget == "length") * -1)
    studio.until(lambda: not TAKES.search(studio.panel().inner_text()), 5)
    put(studio, "11", widget, before)
    studio.until(lambda: TAKES.search(studio.panel().inner_text()), 5)


def test_a_batch_that_is_repeated_is_other_work(studio):
    prompt = workflow(studio)
    prompt["12"] = {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["11", 0], "amount": 1}}
    prompt["3"]["inputs"]["latent_image"] = ["12", 0]
    timed(studio, prompt)
    put(studio, "12", "amount", 6)
    studio.until(lambda: not TAKES.search(studio.panel().inner_text()), 5)


def test_with_a_guider_the_seconds_are_its_models_and_its_guidance_s(studio):
    prompt = workflow(studio)
    model = ["2", 0]
    prompt["3"] = {"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["13", 0], "guider": ["14", 0], "sampler": ["15", 0], "sigmas": ["16", 0],
        "latent_image": ["11", 0]}}  # fmt: skip
    prompt |= {
        "13": {"class_type": "RandomNoise", "inputs": {"noise_seed": seed(studio)}},
        "14": {"class_type": "CFGGuider", "inputs": {
            "model": model, "positive": ["1", 1], "negative": ["1", 2], "cfg": 5.0}},
        "15": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "16": {"class_type": "BasicScheduler", "inputs": {
            "model": model, "scheduler": "simple", "steps": 10, "denoise": 1.0}},
    }  # fmt: skip
    timed(studio, prompt)
    put(studio, "14", "cfg", 1.0)
    studio.until(lambda: not TAKES.search(studio.panel().inner_text()), 5)


def test_a_run_of_another_workflow_is_not_shown_under_a_node_that_has_its_id(studio):
    first = with_second_sampler(demo_workflow(steps=10, seed=seed(studio), speed_up=2.0))
    opened(studio, first)
    studio.finished(studio.queue())
    other = demo_workflow(steps=10, seed=seed(studio), speed_up=2.0)  # the same patch, kept by the host
    other["9"] = {"class_type": "ModelSamplingSD3", "inputs": {"model": ["2", 0], "shift": 5.0}}
    other["3"]["inputs"]["model"] = ["9", 0]
    opened(studio, other)
    history = studio.finished(studio.queue())
    ran = history["outputs"]["4"]["sencache"]
    assert [one["node_id"] for one in ran] == ["3"]
    studio.until(lambda: "5 of 10 steps computed" in stats(studio).inner_text())
    assert "ModelSamplingSD3" not in stats(studio).inner_text()


def test_each_change_of_the_second_sampler_is_in_the_history(studio):
    prompt = with_second_sampler(demo_workflow(steps=10, seed=seed(studio), speed_up=2.0))
    prompt["4"]["inputs"]["samples"] = ["9", 0]
    del prompt["10"]
    opened(studio, prompt)
    for count in (1, 2, 3):
        put(studio, "9", "seed", seed(studio))
        studio.finished(studio.queue())
        studio.until(lambda count=count: rows(studio) == count, 20)


def test_a_run_that_ends_behind_another_tab_is_in_the_history(studio):
    opened(studio, demo_workflow(steps=10, seed=seed(studio), speed_up=2.0))
    studio.finished(studio.queue())
    put(studio, "3", "seed", seed(studio))
    before = studio.queue()
    studio.page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    studio.finished(before)
    studio.page.wait_for_timeout(500)
    studio.page.evaluate("app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    studio.until(lambda: rows(studio) == 2, 20)


def linked_speed(studio, between):
    """Give the target speed by a primitive, through another node."""
    prompt = demo_workflow(steps=20, seed=seed(studio), speed_up=2.0)
    prompt["8"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 4.0}}
    studio.load(prompt, FAR)
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))
    studio.page.evaluate("""between => {
        const at = id => app.graph.getNodeById(id) ?? app.graph.getNodeById(Number(id));
        const [from, to] = ['8', '2'].map(at);
        const middle = LiteGraph.createNode(between);
        app.graph.add(middle);
        middle.pos = [0, 520];
        from.connect(0, middle, 0);
        middle.outputs[0].type = '*';
        middle.connect(0, to, to.inputs.findIndex(one => one.name === 'speed_up'));
    }""", between)  # fmt: skip


def test_a_speed_through_a_reroute_is_read(studio):
    linked_speed(studio, "Reroute")
    studio.until(lambda: studio.panel().get_attribute("data-nfe") == "5")


def test_a_speed_that_can_not_be_read_is_never_called_the_allowed_error(studio):
    linked_speed(studio, "PreviewAny")
    studio.until(lambda: "usual value" in studio.panel().inner_text())
    assert "allowed error" not in studio.panel().locator(".said").inner_text()
    studio.panel().locator(".gains button").first.click()
    studio.until(lambda: "Another node gives the target speed" in studio.panel().inner_text())


def test_a_run_whose_node_is_gone_is_put_back_as_far_as_it_goes_and_that_is_told(studio):
    opened(studio, demo_workflow(steps=10, seed=seed(studio), speed_up=2.0))
    studio.finished(studio.queue())
    put(studio, "3", "steps", 12)
    studio.finished(studio.queue())
    studio.until(lambda: rows(studio) == 2, 20)
    studio.node("2", "node.graph.remove(node)")
    stats(studio).locator("details").evaluate("one => one.open = true")
    studio.page.locator(".history button").nth(1).click()
    studio.until(lambda: studio.value("3", "steps") == 10)
    studio.until(lambda: "Not everything could be put back" in stats(studio).inner_text(), 5)


def test_two_samplers_after_one_patch_are_told_and_whose_plan_is_shown(studio):
    prompt = with_second_sampler(demo_workflow(steps=20, seed=seed(studio), speed_up=2.0))
    studio.load(prompt, FAR)
    studio.until(lambda: "the first of 2 samplers" in studio.panel().inner_text())


def test_a_stopped_run_claims_no_saving(studio):
    opened(studio, demo_workflow(steps=200, seed=seed(studio), speed_up=2.0))
    before = studio.queue()
    studio.until(lambda: stats(studio).locator(".strip .r").count() > 3, 60)
    studio.page.evaluate("app.api?.interrupt?.() ?? window.app.extensionManager.command.execute("
                         "'Comfy.Interrupt')")  # fmt: skip
    new = studio.until(lambda: set(studio.server.get("/history")) - before, 60)
    assert new
    studio.until(lambda: "stopped:" in stats(studio).inner_text(), 20)
    said = stats(studio).inner_text()
    assert "saved" not in said and "fewer" not in said and "of 200 steps" in said


def test_a_table_file_of_another_machine_joins_by_a_click_or_a_drop(studio):
    name = f"taken {'b' if studio.nodes2 else 'a'}"
    studio.load(with_calibration(demo_workflow(seed=seed(studio)), name, steps=24, samples=1), FAR)
    panel = studio.panel_with("Add table file")
    shipped = ROOT / "tables" / "tiny_wan.safetensors"
    with studio.page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Add table file").click()
    chooser.value.set_files(str(shipped))
    studio.until(lambda: re.search(r"Saved as|holds these samples already", panel.inner_text()), 20)
    dropped = """async ([node, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], 'theirs.safetensors'));
        const event = new DragEvent('drop', { dataTransfer: transfer });
        const at = app.graph.getNodeById(node) ?? app.graph.getNodeById(Number(node));
        return [at.onDragOver(new DragEvent('dragover', { dataTransfer: transfer })), at.onDragDrop(event)];
    }"""
    taken = studio.page.evaluate(dropped, ["8", list(shipped.read_bytes())])
    assert taken == [True, True]
    studio.until(lambda: "holds these samples already" in panel.inner_text(), 20)
    studio.picture("taken")


def test_a_comparison_that_the_last_run_did_not_make_is_called_so(studio):
    prompt = demo_workflow(steps=10, seed=seed(studio), speed_up=2.0)
    prompt["13"] = {"class_type": "SenCacheCompare", "inputs": {
        "images_a": ["6", 0], "images_b": ["6", 0], "fps": 16.0}}  # fmt: skip
    studio.load(prompt, FAR)
    studio.finished(studio.queue())
    studio.until(lambda: "identical, bit for bit" in " ".join(studio.panels()))
    assert "From an earlier run" not in " ".join(studio.panels())
    put(studio, "2", "table", "gone.safetensors")
    before = studio.queue()
    studio.until(lambda: set(studio.server.get("/history")) - before, 60)
    studio.until(lambda: "From an earlier run: the last one failed" in " ".join(studio.panels()), 20)
    studio.problems.clear()
