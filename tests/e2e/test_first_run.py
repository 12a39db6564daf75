"""From a fresh ComfyUI to a faster video: loader, Model Patch, sampler, nothing else, queued twice."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from comfy_server import ComfyServer
from first_runs import FILES, STEPS, experts, sampled, save_tuned, saved


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that knows no table of its models: they are fine-tunes of those that have one."""
    with ComfyServer(tmp_path_factory.mktemp("first run")) as running:
        folder = running.base / "models" / "diffusion_models"
        for name in FILES:
            for version, by in (("tuned", 1.001), ("low", 1.002), ("both", 1.003)):
                save_tuned(name, by, folder / f"{name} {version}.safetensors")
        yield running


def counts(server: ComfyServer) -> list[tuple[int, int]]:
    """Return what each run computed, as the server's log says."""
    found = re.findall(r"SenCache: (\d+) of (\d+) steps computed", server.log.read_text())
    return [(int(computed), int(total)) for computed, total in found]


def asked(name: str, version: str = "tuned", seed: int = 7) -> dict[str, Any]:
    """Return a model's workflow that wishes for twice the speed."""
    file = f"{name} {version}.safetensors"
    return saved(sampled(name, file, seed, epsilon=0.02, speed_up=2.0), "sampler")


@pytest.mark.parametrize("name", list(FILES))
def test_the_second_queue_is_faster(server, name):
    if name == "cogvideox" and "VOIDSampler" not in server.get("/object_info"):
        pytest.skip("this host has no CogVideoX")
    before = len(counts(server))
    for _ in range(2):  # the very same workflow: it must not stay on the measuring run
        server.run(asked(name))
    assert counts(server)[before:] == [(STEPS, STEPS), (STEPS // 2, STEPS)]
    server.run(asked(name))  # and what is planned is kept by the host
    assert len(counts(server)) == before + 2


def test_a_new_table_makes_only_its_own_models_workflow_sample_again(tmp_path):
    """As the host's output cache is asked; with epsilon 0 no table matters at all."""
    with ComfyServer(tmp_path / "server", "--cache-lru", "100") as server:
        folder = server.base / "models" / "diffusion_models"
        for version, by in (("tuned", 1.001), ("other", 1.002)):
            save_tuned("wan", by, folder / f"wan {version}.safetensors")
        off = saved(sampled("wan", "wan tuned.safetensors", epsilon=0.0), "sampler")
        for prompt in (off, asked("wan"), asked("wan"), asked("wan", "other")):
            server.run(prompt)
        assert counts(server) == [(STEPS, STEPS), (STEPS, STEPS), (STEPS // 2, STEPS), (STEPS, STEPS)]
        for prompt in (off, asked("wan")):
            server.run(prompt)
        assert len(counts(server)) == 4
        server.run(asked("wan", "other"))
        assert counts(server)[4:] == [(STEPS // 2, STEPS)]
        measured = (server.base / "models" / "sencache" / "measured").glob("*.safetensors")
        min(measured, key=lambda path: path.stat().st_mtime).unlink()  # of the model that ran first
        for prompt in (off, asked("wan", "other"), asked("wan")):
            server.run(prompt)
        assert counts(server)[5:] == [(STEPS, STEPS)]


def test_both_experts_are_measured_and_then_planned(server):
    before = len(counts(server))
    for _ in range(2):
        prompt = experts("wan both.safetensors", "wan low.safetensors", epsilon=0.02, speed_up=2.0)
        server.run(saved(prompt, "low"))
    assert counts(server)[before:] == [(10, 10), (10, 10), (5, 10), (5, 10)]


def test_two_queued_at_once_are_both_right(server):
    before = len(counts(server))
    prompts = [asked("wan", "low", seed) for seed in (1, 2)]
    threads = [threading.Thread(target=server.run, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = counts(server)[before:]
    assert len(found) == 2 and found[1][0] < STEPS
