"""ComfyUI-Distributed, SwarmUI and the like: whole jobs on several servers with one folder of models."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from comfy_host import ROOT
from comfy_server import ComfyServer
from first_runs import STEPS, sampled, save_tuned, saved
from sencache.calibration import table as tables

COUNT = 2


@pytest.fixture
def servers(tmp_path):
    """Two servers on one folder of models, among them one that no table is of."""
    with ComfyServer(tmp_path / "first") as first:
        models = first.base / "models"
        save_tuned("wan", 1.001, models / "diffusion_models" / "wan tuned.safetensors")
        with ComfyServer(tmp_path / "second", models=models) as second:
            yield first, second


def counts(server):
    """Return what each run computed, as the server's log says."""
    found = re.findall(r"SenCache: (\d+) of (\d+) steps computed", server.log.read_text())
    return [(int(computed), int(total)) for computed, total in found]


def asked(seed, **patch):
    file = "wan tuned.safetensors"
    return saved(sampled("wan", file, seed, **{"epsilon": 0.02, "speed_up": 2.0, **patch}), "sampler")


def at_once(servers, *seeds):
    """Queue a job of another seed to each server at the same time, and wait for all."""
    with ThreadPoolExecutor(COUNT) as pool:
        waiting = [pool.submit(one.run, asked(seed)) for one, seed in zip(servers, seeds, strict=True)]
        return [one.result() for one in waiting]


def test_both_measure_at_once_and_keep_one_whole_table_that_serves_both(servers):
    at_once(servers, 1, 2)
    measured = servers[0].base / "models" / "sencache" / "measured"
    (path,) = measured.glob("*.safetensors")
    tables.load(path)
    at_once(servers, 3, 4)
    for server in servers:
        assert counts(server) == [(STEPS, STEPS), (STEPS // 2, STEPS)]
        assert "Traceback" not in server.log.read_text()


def test_a_server_that_starts_later_is_fast_at_once_with_what_the_others_have_measured(servers, tmp_path):
    first, second = servers
    first.run(asked(1))
    second.run(asked(2))
    assert counts(first) == [(STEPS, STEPS)] and counts(second) == [(STEPS // 2, STEPS)]


def test_an_embedded_table_makes_every_server_fast_whatever_it_knows(tmp_path):
    from sencache.nodes.tables.embedded import to_text

    shipped = tables.load(ROOT / "tables" / "tiny_wan.safetensors")
    job = asked(1, embedded_table=to_text(shipped, "brought.safetensors"), any_model=False)
    with ComfyServer(tmp_path / "alone") as server:
        save_tuned("wan", 1.001, server.base / "models" / "diffusion_models" / "wan tuned.safetensors")
        server.run(job)
        assert counts(server) == [(STEPS // 2, STEPS)]
        assert not (server.base / "models" / "sencache" / "measured").exists()
        shutil.rmtree(server.base / "models" / "sencache", ignore_errors=True)
