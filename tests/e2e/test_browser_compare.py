"""SenCache Compare in the browser: both videos in step, the wipe by mouse and keys, the report's numbers."""

from __future__ import annotations

import uuid

import pytest
from examples_demo import comparison
from workflows import numbered

PROMPT = numbered(comparison().prompt)
IDS = {name: str(index + 1) for index, name in enumerate(comparison().prompt)}
PLACES = {IDS[name]: place for name, place in {
    "demo": (0, 700), "patch": (320, 700), "without": (700, 700), "with": (700, 1100), "stats": (1050, 900),
    "frames without": (1400, 700), "frames with": (1400, 850), "compare": (60, 20)}.items()}  # fmt: skip
NAMES = "node.inputs.slice(0, 2).map(one => one.label ?? one.localized_name)"
PIXELS = """canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""


def workflow(seed=7, epsilon=0.3):
    """Return the comparison template with few steps, so that both videos differ visibly."""
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in PROMPT.items()}
    prompt[IDS["patch"]]["inputs"]["epsilon"] = epsilon
    for name in ("without", "with"):
        prompt[IDS[name]]["inputs"] |= {"steps": 12, "seed": seed}
    return prompt


@pytest.fixture
def compared(studio):
    """Run the workflow; return its history once both pictures are there, paused at the first frame."""
    studio.load(workflow(), PLACES)
    studio.page.locator(".sencache .compare").wait_for()
    history = studio.finished(studio.queue())
    studio.page.locator(".compare canvas[data-frame]").wait_for()
    pause = button(studio, "Pause")
    if pause.count():
        pause.click()
    slide(studio, "Frame", 0)
    button(studio, "Side by side").click()
    return history["outputs"][IDS["compare"]]


def button(studio, name):
    return studio.page.locator(".compare").get_by_role("button", name=name, exact=True)


def slider(studio, name):
    return studio.page.locator(".compare").get_by_role("slider", name=name, exact=True)


def slide(studio, name, value):
    slider(studio, name).fill(str(value))


def canvas(studio):
    return studio.page.locator(".compare canvas")


def frame(studio):
    return int(canvas(studio).get_attribute("data-frame"))


def pixels(studio):
    """Return the canvas's pixels as rows of grey values."""
    data = canvas(studio).evaluate(PIXELS)
    wide = canvas(studio).evaluate("canvas => canvas.width")
    grey = data[::4]
    return [grey[start : start + wide] for start in range(0, len(grey), wide)]


def halves(rows, width=192, gap=8):
    return [row[:width] for row in rows], [row[width + gap :] for row in rows]


def apart(one, other):
    """Return how far two pictures are apart in the mean, in levels."""
    pairs = [(a, b) for row, twin in zip(one, other, strict=True) for a, b in zip(row, twin, strict=True)]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def test_before_it_is_run_the_panel_says_what_to_do(studio):
    studio.load(workflow(), PLACES)
    studio.until(lambda: "Queue the workflow: both videos appear here" in " ".join(studio.panels()))


def test_both_pictures_appear_with_the_numbers_of_the_report(studio, compared):
    one, other = halves(pixels(studio))
    assert len({value for row in one for value in row}) > 50  # a picture, not a plane
    assert 0.5 < apart(one, other) < 60
    report = compared["text"][0].splitlines()
    said = studio.panel_with("PSNR").inner_text()
    assert all(line in said for line in report) and report[0].startswith("PSNR ")
    assert "reference" in said and "faster" in said
    assert studio.node(IDS["compare"], NAMES) == ["reference", "faster"]
    box = canvas(studio).bounding_box()
    assert box["width"] > 300 and abs(box["width"] / box["height"] - 392 / 192) < 0.05
    studio.picture("compare_side")


def test_the_picture_grows_with_the_node_and_the_node_has_room_for_it(studio, compared):
    before = canvas(studio).bounding_box()
    wider = "(node.setSize([node.size[0] + 250, node.size[1]]), node.setDirtyCanvas(true, true))"
    studio.node(IDS["compare"], wider)
    studio.until(lambda: canvas(studio).bounding_box()["width"] > before["width"] + 150)
    studio.page.wait_for_timeout(600)
    panel = studio.page.locator(".sencache:has(.compare)").bounding_box()
    last = studio.page.locator(".compare > div").last.bounding_box()
    assert last["y"] + last["height"] <= panel["y"] + panel["height"] + 1
    studio.picture("compare_large")


def test_the_wipe_follows_the_mouse_and_changes_the_side_that_it_passes(studio, compared):
    one, other = halves(pixels(studio))
    button(studio, "Wipe").click()
    size = studio.node(IDS["compare"], "[...node.pos]")
    box = canvas(studio).bounding_box()
    middle = box["y"] + box["height"] / 2
    for start, end in ((0.5, 0.85), (0.85, 0.2)):
        studio.page.mouse.move(box["x"] + start * box["width"], middle)
        studio.page.mouse.down()
        studio.page.mouse.move(box["x"] + (start + end) / 2 * box["width"], middle, steps=3)
        studio.page.mouse.move(box["x"] + end * box["width"], middle, steps=3)
        studio.page.mouse.up()
        at = round(end * 192)
        seen = pixels(studio)
        left, right = ([row[: at - 3] for row in seen], [row[at + 3 :] for row in seen])
        assert apart(left, [row[: at - 3] for row in one]) < 0.5
        assert apart(right, [row[at + 3 :] for row in other]) < 0.5
        assert abs(float(slider(studio, "Divider of the wipe").input_value()) - end) < 0.02
        if end > 0.5:
            studio.picture("compare_wipe")
    assert studio.node(IDS["compare"], "[...node.pos]") == size  # the node was not dragged along
    studio.page.mouse.move(box["x"] + 0.6 * box["width"], middle)  # without a button nothing follows
    assert abs(float(slider(studio, "Divider of the wipe").input_value()) - 0.2) < 0.02


def test_the_wipe_and_the_frames_are_reached_by_keys(studio, compared):
    button(studio, "Side by side").focus()
    studio.page.keyboard.press("Tab")
    studio.page.keyboard.press("Enter")
    assert button(studio, "Wipe").get_attribute("aria-pressed") == "true"
    slider(studio, "Divider of the wipe").focus()
    before = float(slider(studio, "Divider of the wipe").input_value())
    left = pixels(studio)
    for _ in range(20):
        studio.page.keyboard.press("ArrowRight")
    moved = float(slider(studio, "Divider of the wipe").input_value()) - before
    assert moved == pytest.approx(0.1, abs=0.006)
    assert pixels(studio) != left
    slider(studio, "Frame").focus()
    studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.press("ArrowRight")
    assert frame(studio) == 3 and "3 / 8" in studio.panel_with("PSNR").inner_text()


def test_frames_step_together_and_play_at_the_speed_that_was_set(studio, compared):
    shown = {}
    for index in (0, 4):
        slide(studio, "Frame", index)
        shown[index] = halves(pixels(studio))
    first, fifth = shown[0], shown[4]
    assert all(apart(first[side], fifth[side]) > 0.5 for side in (0, 1))
    slide(studio, "Frame", 0)
    assert halves(pixels(studio)) == first
    counted = """canvas => new Promise(done => {
        const seen = [], watch = new MutationObserver(() => seen.push(Number(canvas.dataset.frame)));
        watch.observe(canvas, {attributeFilter: ["data-frame"]});
        setTimeout(() => (watch.disconnect(), done(seen.filter((one, at) => one !== seen[at - 1]))), 2000);
    })"""
    button(studio, "Play").click()
    seen = canvas(studio).evaluate(counted)
    assert 7 <= len(seen) <= 13  # 6 a second
    follows = sum(later == earlier % 8 + 1 for earlier, later in zip(seen, seen[1:], strict=False))
    assert follows >= len(seen) - 3  # a busy machine may leave one out
    button(studio, "Pause").click()
    assert canvas(studio).evaluate(counted) == []


def test_the_difference_is_shown_and_says_how_much_it_is_amplified(studio, compared):
    one, other = halves(pixels(studio))
    button(studio, "Difference").click()
    seen, gain = pixels(studio), compared["sencache_compare"][0]["gain"]
    assert f"difference, amplified {gain} times" in studio.panel_with("PSNR").inner_text()
    expected = [[min(255, gain * abs(a - b)) for a, b in zip(*rows, strict=True)]
                for rows in zip(one, other, strict=True)]  # fmt: skip
    assert apart(seen, expected) < 3 + 2 * gain  # JPEG's own errors are amplified here, and not there
    assert 2 < sum(map(sum, seen)) / 192**2 < 200
    studio.picture("compare_difference")


def test_another_run_keeps_the_view_and_identical_videos_are_called_so(studio, compared):
    button(studio, "Wipe").click()
    slide(studio, "Divider of the wipe", 0.25)
    studio.node(IDS["patch"], "(node.widgets.find(one => one.name === 'epsilon').value = 0)")
    studio.finished(studio.queue())
    studio.until(lambda: "Both videos are identical, bit for bit." in " ".join(studio.panels()))
    assert button(studio, "Wipe").get_attribute("aria-pressed") == "true"
    assert float(slider(studio, "Divider of the wipe").input_value()) == 0.25


def test_a_removed_node_stops_playing(studio, compared):
    button(studio, "Play").click()
    held = canvas(studio).element_handle()
    first = held.get_attribute("data-frame")
    studio.until(lambda: held.get_attribute("data-frame") != first)
    studio.node(IDS["compare"], "node.graph.remove(node)")
    studio.page.wait_for_timeout(300)
    still = held.get_attribute("data-frame")
    moved = []
    for _ in range(10):
        studio.page.wait_for_timeout(90)
        moved.append(held.get_attribute("data-frame"))
    assert set(moved) == {still}


def test_a_tab_that_was_left_shows_its_comparison_again(studio):
    studio.load(workflow(seed=9), PLACES)
    opened = {**studio.page.evaluate("app.graph.serialize()"), "id": str(uuid.uuid4())}  # as a saved file is
    studio.load(opened)
    before = studio.queue()
    studio.page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    studio.until(lambda: studio.page.locator(".compare").count() == 0)
    studio.finished(before)
    studio.page.evaluate("app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    canvas(studio).and_(studio.page.locator("[data-frame]")).wait_for()
    assert "PSNR" in studio.panel_with("PSNR").inner_text()


def test_frames_that_are_gone_are_told(studio, compared):
    studio.page.route("**/view?*sencache_compare*", lambda route: route.fulfill(status=404))
    studio.node(IDS["with"], "(node.widgets.find(one => one.name === 'seed').value = 8)")
    try:
        studio.finished(studio.queue())
        studio.until(lambda: "ComfyUI has emptied its temp folder" in " ".join(studio.panels()))
    finally:
        studio.page.unroute("**/view?*sencache_compare*")
        studio.problems.clear()  # the browser's own line about the 404 names our folder
    studio.picture("compare_gone")


def test_it_is_told_in_chinese_and_seen_in_a_light_theme(studio):
    studio.set("Comfy.ColorPalette", "light")
    studio.set("Comfy.Locale", "zh")
    try:
        studio.open()
        studio.load(workflow(seed=11), PLACES)
        studio.finished(studio.queue())
        studio.page.locator(".compare canvas[data-frame]").wait_for()
        said = studio.panel_with("PSNR").inner_text()
        assert studio.node(IDS["compare"], NAMES) == ["参考", "加速"]
        assert all(word in said for word in ("并排", "划像", "差异", "参考", "加速", "最差帧"))
        studio.picture("compare_light_zh")
        button(studio, "划像").click()
        studio.picture("compare_light_zh_wipe")
    finally:
        studio.set("Comfy.ColorPalette", "dark")
        studio.set("Comfy.Locale", "en")
        studio.open()
