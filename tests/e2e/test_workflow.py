"""The main job over HTTP, on the real server: load, calibrate, patch, sample, read the statistics."""

from __future__ import annotations

import io
import re
import time

import pytest
from comfy_server import ComfyServer, QueueError
from PIL import Image
from safetensors.torch import load_file
from workflows import artist_workflow

NODES = {"SenCacheCalibrate", "SenCacheModelPatch", "SenCacheStats", "SenCacheCompare"}
STEPS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests of this file."""
    with ComfyServer(tmp_path_factory.mktemp("server")) as running:
        yield running


def workflow(epsilon=0.2, table_name="e2e", calibration_steps=10, samples=2, seed=7):
    """Return the artist's workflow with its latent saved."""
    prompt = artist_workflow(STEPS, calibration_steps, samples, table_name, seed, epsilon=epsilon)
    save = {"class_type": "SaveLatent", "inputs": {"samples": ["8", 0], "filename_prefix": "e2e"}}
    return {**prompt, "9": save}


def nfe_of(history):
    """Read the count of computed evaluations out of Cache Stats' text."""
    text = history["outputs"]["8"]["text"][0]
    return int(re.match(rf"(\d+) of {STEPS} steps computed", text).group(1))


def saved_latent(server, history):
    """Load the latent that SaveLatent wrote."""
    saved = history["outputs"]["9"]["latents"][0]
    return load_file(server.base / "output" / saved["filename"])["latent_tensor"]


def test_the_pack_loads_with_its_nodes(server):
    assert "IMPORT FAILED" not in server.log.read_text()
    info = server.get("/object_info")
    assert NODES <= info.keys()
    patch = info["SenCacheModelPatch"]["input"]
    assert patch["required"]["epsilon"][1]["step"] == 0.0005  # four digits in the frontend, as the panel sets


def test_calibrate_patch_sample_and_stats_and_again_with_another_epsilon(server):
    prompt = workflow(epsilon=0.2)
    for node, drawn in (("20", "5"), ("21", "8")):
        prompt[node] = {"class_type": "PreviewImage", "inputs": {"images": [drawn, 1]}}
    first = server.run(prompt)
    assert 1 < nfe_of(first) < STEPS
    calibration = first["outputs"]["5"]["text"][0]
    assert "2 samples at 23 timesteps" in calibration and "e2e.safetensors" in calibration
    for node in ("20", "21"):
        picture = Image.open(io.BytesIO(server.view(first["outputs"][node]["images"][0])))
        assert picture.width > 700 and len(picture.convert("RGB").getcolors(1 << 24)) > 4
    assert (server.base / "models" / "sencache" / "e2e.safetensors").stat().st_size < 64 * 1024

    prompt["6"]["inputs"]["epsilon"] = 0.05
    second = server.run(prompt)
    assert server.executed(second, prompt) >= {"6", "7", "8"} and "5" not in server.executed(second, prompt)
    assert nfe_of(second) > nfe_of(first)


def test_a_new_table_file_is_offered_without_a_restart_and_found_automatically(server):
    server.run(workflow(table_name="offered"))
    node = server.get("/object_info/SenCacheModelPatch")["SenCacheModelPatch"]
    assert "offered.safetensors" in str(node["input"]["required"]["table"])
    prompt = workflow()
    del prompt["5"], prompt["6"]["inputs"]["sensitivity"]
    assert "offered.safetensors" in server.run(prompt)["outputs"]["8"]["text"][0]


def test_epsilon_zero_is_the_unpatched_result_bit_for_bit(server):
    patched = server.run(workflow(epsilon=0.0))
    plain = workflow(epsilon=0.0)
    plain["7"]["inputs"]["model"] = ["1", 0]
    plain["9"]["inputs"]["samples"] = ["7", 0]
    for node in ("5", "6", "8"):
        del plain[node]
    assert nfe_of(patched) == STEPS
    assert saved_latent(server, patched).equal(saved_latent(server, server.run(plain)))


def test_a_bad_table_name_is_refused_before_anything_runs(server):
    with pytest.raises(QueueError, match="SenCache Calibrate: .*can't be a table's name"):
        server.submit(workflow(table_name="../escape"))
    assert not list(server.base.rglob("*escape*"))


def test_a_table_that_is_gone_is_refused_in_a_sentence(server):
    prompt = workflow()
    prompt["6"]["inputs"]["table"] = "gone.safetensors"
    server.run(prompt)  # the connected table wins
    del prompt["5"], prompt["6"]["inputs"]["sensitivity"]
    message = "SenCache Model Patch: There is no sensitivity table 'gone.safetensors'"
    with pytest.raises(QueueError, match=message):
        server.run(prompt)


def test_a_second_accelerator_is_refused_in_a_sentence(server):
    prompt = workflow()
    prompt["10"] = {"class_type": "EasyCache", "inputs": {
        "model": ["1", 0], "reuse_threshold": 0.2, "start_percent": 0.1, "end_percent": 0.9, "verbose": False,
    }}  # fmt: skip
    prompt["6"]["inputs"]["model"] = ["10", 0]
    with pytest.raises(QueueError, match="SenCache Model Patch: EasyCache is already on this model"):
        server.run(prompt)


def test_a_cancelled_calibration_goes_on_at_the_second_queue(server):
    prompt = workflow(table_name="cancelled", samples=6, calibration_steps=12)
    prompt_id = server.submit(prompt)
    partial = server.base / "models" / "sencache" / "cancelled.unfinished"
    deadline = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    server.interrupt()
    server.wait(prompt_id)
    assert partial.exists() and not partial.with_suffix(".safetensors").exists()
    text = server.run(prompt)["outputs"]["5"]["text"][0]
    assert "6 samples at 23 timesteps" in text
    assert "of the samples were there from an earlier calibration" in text
    assert partial.with_suffix(".safetensors").exists() and not partial.exists()
