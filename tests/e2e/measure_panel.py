"""Measures the panel and the live strip: `python tests/e2e/measure_panel.py` writes `results/panel.json`.

How long after the slider's last move the panel's answer is on the page, in the real browser, the pause before
it asks included; what the live strip costs a sampling run of the tiny model; and what is sent to nobody.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "tests" / "tiny"), str(ROOT / "tests" / "support")]
package = ModuleType("sencache")
package.__path__ = [str(ROOT)]
sys.modules["sencache"] = package

from browser import CHROMIUM, QUIET, Studio  # noqa: E402
from comfy_host import start_host  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from demo_workflow import PLACES, demo_workflow  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
MOVES, RUNS, STEPS = 60, 21, 50
WATCH = """() => {
    const panel = document.querySelector('.sencache[data-nfe]');
    window.moved = 0; window.answers = [];
    panel.querySelector('input[type=range]').addEventListener(
        'input', () => { window.moved = performance.now(); }, true);
    new MutationObserver(() => requestAnimationFrame(() => {  // the frame that shows it
        if (window.moved) window.answers.push(performance.now() - window.moved);
        window.moved = 0;
    })).observe(panel, {attributes: true, attributeFilter: ['data-nfe']});
}"""

DROP = """drop => {
    window.dispatch ??= EventTarget.prototype.dispatchEvent;
    window.dropped = 0;
    EventTarget.prototype.dispatchEvent = function (event) {
        if (!drop || !event.type.startsWith('sencache.')) return window.dispatch.call(this, event);
        window.dropped += 1;
        return true;
    };
}"""


def answer_times(studio: Studio) -> list[float]:
    """Move the slider by mouse and return the milliseconds from each last move to its answer."""
    studio.load(demo_workflow(steps=STEPS), PLACES)
    studio.until(lambda: studio.panel().get_attribute("data-nfe"))
    studio.page.evaluate(WATCH)
    box = studio.panel().locator("input[type=range]").bounding_box()
    across = box["y"] + box["height"] / 2
    studio.page.mouse.move(box["x"] + 3, across)
    studio.page.mouse.down()
    times = []
    for move in range(MOVES):
        share = 0.1 + 0.8 * ((move * 7) % MOVES) / MOVES
        studio.page.mouse.move(box["x"] + share * box["width"], across, steps=3)
        studio.page.wait_for_timeout(500)
        answers = studio.page.evaluate("window.moved ? [] : window.answers.splice(0)")
        assert answers, f"no answer to move {move} within half a second"
        times.append(answers[-1])  # a quick answer may come between the parts of one move
    studio.page.mouse.up()
    return times


def summed_up(times: list[float]) -> dict[str, Any]:
    """Return what the results say of the answers' milliseconds."""
    return {
        "answers": len(times),
        "median_ms": round(statistics.median(times), 1),
        "percentile_95_ms": round(statistics.quantiles(times, n=20)[-1], 1),
        "largest_ms": round(max(times), 1),
    }


def sampling_seconds(studio: Studio) -> dict[str, Any]:
    """Return what a sampling run takes while the strip fills, while its news is dropped, and seen by nobody.

    Medians and quartiles, by turns in one page, of the run's seconds and of the page's processor seconds.
    What the page's own drawing costs is in both of the first two.
    """
    found: dict[str, list[float]] = {}
    studio.load(demo_workflow(steps=STEPS), PLACES)
    session = studio.page.context.new_cdp_session(studio.page)
    session.send("Performance.enable")

    def used() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "ProcessTime")

    order = ["strip_fills", "news_dropped", "seen_by_nobody"]
    for turn in range(RUNS):
        order.append(order.pop(0))  # each is the first as often as the others
        for index, name in enumerate(order):
            seed = 3 * turn + index
            studio.page.evaluate(DROP, name == "news_dropped")
            studio.page.wait_for_timeout(300)
            before = used()
            if name == "seen_by_nobody":
                history = studio.server.run(demo_workflow(steps=STEPS, seed=seed))
            else:
                studio.node("3", f"(node.widgets.find(one => one.name === 'seed').value = {seed})")
                history = studio.finished(studio.queue())
                found.setdefault(f"page_{name}", []).append(used() - before)
                assert (studio.page.evaluate("window.dropped") > 3) == (name == "news_dropped")
            found.setdefault(name, []).append(history["outputs"]["4"]["sencache"][0]["seconds"])
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in found.items()}
    return {
        "runs": RUNS,
        "quartiles": {name: [round(one, 3) for one in of] for name, of in quartiles.items()},
    }


def live_costs() -> tuple[dict[str, float], int]:
    """Return the seconds that the live strip of one run takes in all, and the events sent to nobody.

    Its calls, and writing its messages: every evaluation is sent here, more than ever happens, through the
    host's own server object. Without a browser, or after it has gone, a run must send nothing.
    """
    import asyncio
    import threading

    with tempfile.TemporaryDirectory() as base:
        start_host(Path(base))
        from comfy_execution.utils import CurrentNodeContext
        from sencache.caching.policy import Action, Decision, Reason
        from sencache.nodes.panel import live
        from server import PromptServer

        loop = PromptServer.instance.loop
        for client in (None, "gone"):
            PromptServer.instance.client_id = client
            with CurrentNodeContext("prompt", "3"):
                assert live.LiveRun.begin(STEPS) is None
                assert live.LiveCalibration.begin({}, STEPS, 0) is None
        loop.run_until_complete(asyncio.sleep(0.1))
        to_nobody = PromptServer.instance.messages.qsize()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(PromptServer.instance.publish_loop(), loop)
        PromptServer.instance.client_id = "nobody"
        live.SECONDS_BETWEEN = 0.0
        decision = Decision(Action.REUSE, Reason.WITHIN_LIMIT, 0.0123)
        runs = 200
        began = time.perf_counter()
        for _ in range(runs):
            run = live.LiveRun(live.Listener(PromptServer.instance, "prompt", "3"), ["4"], STEPS)
            for _ in range(STEPS):
                run.evaluated(decision)
        calls = (time.perf_counter() - began) / runs
        message = {"type": live.RUN_EVENT, "data": {"stats": ["4"], "cells": [[True, 0.01, "reason"] * 3]}}
        began = time.perf_counter()
        for _ in range(runs * STEPS):
            json.dumps(message)
        return {"calls": calls, "messages": (time.perf_counter() - began) / runs}, to_nobody


def machine() -> str:
    """Name the machine."""
    return f"{platform.machine()}, Python {platform.python_version()}"


def main() -> None:
    """Measure and write the results."""
    RESULTS.mkdir(exist_ok=True)
    found: dict[str, Any] = {"machine": machine(), "load": os.getloadavg()[0], "moves": MOVES, "steps": STEPS}
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base) / "server") as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            for nodes2 in (False, True):
                studio = Studio(browser, server, nodes2, Path(base))
                found["nodes2" if nodes2 else "classic"] = summed_up(answer_times(studio))
                if not nodes2:
                    found["sampling_seconds"] = sampling_seconds(studio)
                studio.page.close()
            browser.close()
    live, found["events_without_browser"] = live_costs()
    found["live_seconds_per_run"] = {name: round(value, 6) for name, value in live.items()}
    share = 100 * sum(live.values()) / found["sampling_seconds"]["quartiles"]["seen_by_nobody"][1]
    found["live_percent_of_sampling"] = round(share, 3)
    (RESULTS / "panel.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
