"""Model Patch and Cache Stats for raylight, on a real Ray with real workers, on the CPU.

raylight itself needs graphics cards; its two runner methods are all that the nodes use of it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from comfy_host import ROOT, find_host
from host_inputs import conditioning, empty_latent, patch_inputs

ray = pytest.importorskip("ray", reason="the package ray is not installed")
DISTRIBUTED = Path(__file__).resolve().parent.parent / "distributed"
sys.path.insert(0, str(DISTRIBUTED))
RANKS = 2
CONDS = (conditioning(2), conditioning(0))


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two processes, which have neither the pack nor this test on their path."""
    variables = {"PYTHONPATH": str(DISTRIBUTED), "OMP_NUM_THREADS": "1", "COMFYUI_PATH": str(find_host())}
    ray.init(
        num_cpus=RANKS, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False,
        runtime_env={"env_vars": variables},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def actors(host, cluster, tmp_path_factory):
    """Two workers in one group, as raylight hands them from node to node."""
    from ray_worker import Worker

    folder = tmp_path_factory.mktemp("workers")
    meeting = (folder / "meeting").as_uri()
    kind = ray.remote(Worker)
    workers = [kind.remote(rank, RANKS, meeting, str(folder / str(rank))) for rank in range(RANKS)]
    return {"workers": workers}


@pytest.fixture(params=[False, True], ids=["whole", "split"])
def loaded(actors, request):
    """The workers with a fresh model each, its sequence split over both or not."""
    ray.get([worker.load.remote(request.param) for worker in actors["workers"]])
    return actors


def sampled(actors, steps=12, seed=1):
    """Let all workers sample; return the hashes of their latents, and whether the models are patched."""
    asked = [worker.sample.remote(steps, seed, CONDS, empty_latent()) for worker in actors["workers"]]
    hashes, patched = zip(*ray.get(asked), strict=True)
    return set(hashes), set(patched)


def ray_patch(actors, **inputs):
    from sencache.nodes.ray.nodes import SenCacheModelPatchRay

    given = patch_inputs(**inputs)
    given.pop("embedded_table", None)
    return SenCacheModelPatchRay.execute(actors, **given).args[0]


def stats(actors):
    """Run Cache Stats (Ray) as the server would."""
    from sencache.nodes.ray.nodes import SenCacheStatsRay

    SenCacheStatsRay.hidden = SimpleNamespace(unique_id="4", prompt={})
    samples = {"samples": torch.zeros(1)}
    output = SenCacheStatsRay.execute(actors, samples)
    assert output.args[0] is samples
    return output


def test_a_table_file_travels_to_the_workers_and_all_of_them_reuse_the_same_steps(loaded):
    plain, patched = sampled(loaded)
    assert len(plain) == 1 and patched == {False}
    assert ray_patch(loaded, table="tiny_wan.safetensors", speed_up=2.0) is loaded
    cached, patched = sampled(loaded)
    assert len(cached) == 1 and cached != plain and patched == {True}
    output = stats(loaded)
    (told,) = output.ui["sencache"]
    assert (told["nfe"], told["evaluations"], told["table"]) == (6, 12, "tiny_wan.safetensors")
    assert "6 of 12" in output.args[2] and output.args[1].shape[-1] == 3


def test_final_takes_the_patch_off_a_model_that_outlives_the_node(loaded):
    plain, _ = sampled(loaded)
    ray_patch(loaded, table="tiny_wan.safetensors", speed_up=2.0)
    sampled(loaded)
    ray_patch(loaded, table="tiny_wan.safetensors", speed_up=2.0, exact=True)
    assert sampled(loaded) == (plain, {False})
    assert "SenCache Model Patch" in stats(loaded).args[2]
    assert stats(loaded).ui["sencache_notes"][0]["code"] == "not_patched"


def test_the_first_run_is_measured_by_every_worker_and_saved_by_one(loaded, unknown):
    plain, _ = sampled(loaded)
    ray_patch(loaded, speed_up=2.0)
    assert sampled(loaded)[0] == plain
    assert stats(loaded).ui["sencache"][0]["nfe"] == 12
    (table,) = unknown.glob("*.safetensors")
    assert table.stem.startswith(("tiny_wan", "WAN21_T2V"))  # older hosts do not know the file
    second, _ = sampled(loaded, seed=2)
    told = stats(loaded).ui["sencache"][0]
    assert len(second) == 1 and told["nfe"] == 6 and told["table"].endswith(table.name)


@pytest.mark.parametrize("failing", range(RANKS))
def test_a_worker_that_can_not_measure_makes_no_other_wait_for_it(loaded, unknown, failing):
    ray_patch(loaded, speed_up=2.0)
    worker = loaded["workers"][failing]
    ray.get(worker.measures.remote(False))
    try:
        assert len(sampled(loaded)[0]) == 1
    finally:
        ray.get(worker.measures.remote(True))
    assert len(list(unknown.glob("*.safetensors"))) == (failing != 0)  # the first one writes
    for seed in (2, 3):
        assert len(sampled(loaded, seed=seed)[0]) == 1
    assert stats(loaded).ui["sencache"][0]["nfe"] == 6


def test_what_is_wrong_is_told_in_one_sentence_of_the_node(loaded, unknown):
    with pytest.raises(ValueError, match=r"^SenCache Model Patch \(Ray\): .*epsilon"):
        ray_patch(loaded, epsilon=-1.0)
    with pytest.raises(ValueError, match=r"^SenCache Model Patch \(Ray\): .*gone"):
        ray_patch(loaded, table="gone.safetensors")
    with pytest.raises(ValueError, match="there are no Ray workers; connect the Ray model loader"):
        ray_patch({"workers": []})
    assert sampled(loaded)[1] == {False}


def test_where_nothing_may_be_measured_every_worker_says_so_and_none_waits(loaded, unknown):
    ray_patch(loaded, measure=False)
    asked = [worker.sample.remote(4, 1, CONDS, empty_latent()) for worker in loaded["workers"]]
    for one in asked:
        with pytest.raises(ValueError, match=r"SenCache Model Patch: There is no sensitivity table"):
            ray.get(one)


def test_a_worker_that_lacks_the_pack_is_told_and_none_keeps_the_patch(loaded, monkeypatch):
    from sencache.nodes.ray import sent

    known = sent.BOOTSTRAP
    told = iter([known, known.with_name("gone") / known.name, known, known])
    monkeypatch.setattr(sent._Bootstrap, "__reduce__", lambda self: (runpy.run_path, (str(next(told)),)))
    with pytest.raises(ValueError, match="can't load this pack; it must be installed at the same path"):
        ray_patch(loaded, table="tiny_wan.safetensors", speed_up=2.0)
    monkeypatch.undo()
    assert sampled(loaded)[1] == {False}


def test_a_worker_that_is_gone_is_told_in_one_sentence(cluster):
    from ray_worker import Worker

    gone = ray.remote(Worker).remote(0, 1, "", "/nowhere")
    ray.kill(gone)
    with pytest.raises(ValueError, match=r"^SenCache Model Patch \(Ray\): a worker has failed: .*[^.]\.$"):
        ray_patch({"workers": [gone]}, table="tiny_wan.safetensors")
    with pytest.raises(ValueError, match=r"^Cache Stats \(Ray\): a worker has failed: "):
        stats({"workers": [gone]})


def test_workers_with_videos_of_their_own_decide_and_measure_each_for_itself(actors, unknown):
    workers = actors["workers"]
    ray.get([worker.load.remote(False) for worker in workers])
    ray.get([worker.sample_apart.remote(True) for worker in workers])
    try:
        ray_patch(actors, speed_up=2.0)
        for worker, steps in zip(workers, (8, 12), strict=True):
            ray.get(worker.sample.remote(steps, steps, CONDS, empty_latent()))  # the other one is idle
    finally:
        ray.get([worker.sample_apart.remote(False) for worker in workers])
    assert len(list(unknown.glob("*.safetensors"))) == 1


def test_a_table_of_another_model_is_refused_by_the_workers(loaded, required):
    required("ltxv")
    with pytest.raises(ValueError, match="was measured on LTXV.* and this model is WAN21_T2V"):
        ray_patch(loaded, table="tiny_ltxv.safetensors")


def test_nothing_of_the_driver_s_package_is_asked_for_in_a_worker(loaded):
    ray_patch(loaded, table="tiny_wan.safetensors")
    for names in ray.get([worker.modules.remote() for worker in loaded["workers"]]):
        packages = {name.split(".")[0] for name in names} - {"server"}
        assert packages == {"sencache_in_worker"}


def test_the_nodes_are_there_only_with_raylight(host, tmp_path, monkeypatch):
    import folder_paths
    from sencache.nodes.ray import nodes as ray_nodes

    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])
    assert not ray_nodes.is_installed()
    package = tmp_path / "any name" / "src" / "raylight"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert ray_nodes.is_installed()


def test_the_run_that_waits_for_two_cards_asks_the_node_what_it_takes(host):
    from argparse import Namespace

    from raylight_run import workflow
    from sencache.nodes.ray.nodes import SenCacheModelPatchRay

    asked = Namespace(model="x", encoder="y", steps=20, fsdp=False)
    given = workflow(asked, {})["patch"]["inputs"]
    known = {one.id for one in SenCacheModelPatchRay.GET_SCHEMA().inputs}
    assert set(given) == known - {"sensitivity"}


BARE = """
import runpy, sys, time
sys.path.insert(0, {host!r})
import comfy.cli_args
comfy.cli_args.args.cpu = True
import torch, comfy.samplers, folder_paths
began = time.perf_counter()
made = runpy.run_path({bootstrap!r})
assert callable(made["patch"]) and callable(made["report"])
held = [name for name in ("server", "aiohttp", "comfy_api.latest", "PIL.ImageTk") if name in sys.modules]
print(held, round(time.perf_counter() - began, 2))
"""


def test_the_pack_s_half_in_a_worker_imports_without_comfyuis_server():
    bootstrap = ROOT / "nodes" / "ray" / "bootstrap.py"
    code = BARE.format(host=str(find_host()), bootstrap=str(bootstrap))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("[] "), done.stdout
