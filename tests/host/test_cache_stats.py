"""Cache Stats reports the samplers that lead to its latent."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def stats(host):
    """Run the Cache Stats node as the server would, at a node of a queued graph."""
    from sencache.nodes.cache_stats import SenCacheStats

    def run(model, samples, prompt=None, node_id="9"):
        SenCacheStats.hidden = SimpleNamespace(prompt=prompt, unique_id=node_id, extra_pnginfo=None)
        return SenCacheStats.execute(model, samples)

    return run


def sampling_at(node_id, prompt_id="prompt-1"):
    """Let the host believe that this node of a queued graph is running."""
    from comfy_execution.utils import CurrentNodeContext

    return CurrentNodeContext(prompt_id, node_id)


@pytest.fixture
def graph(host):
    """Return a queued graph: a loader, our patch, a sampler, and Cache Stats at the end."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "tiny_wan.safetensors"}},
        "2": {"class_type": "SenCacheModelPatch", "inputs": {"model": ["1", 0]}},
        "3": {"class_type": "KSampler", "inputs": {"model": ["2", 0], "latent_image": ["8", 0]}},
        "8": {"class_type": "EmptyLatentImage", "inputs": {}},
        "9": {"class_type": "SenCacheStats", "inputs": {"model": ["2", 0], "samples": ["3", 0]}},
    }


def test_the_latent_passes_through_and_text_and_picture_tell_the_run(wan, sample, patch, stats, records):
    patched = patch(wan, epsilon=0.3)
    latent = {"samples": sample(patched, steps=12)}
    output = stats(patched, latent)
    passed, image, text = output.args
    record = records(patched)[-1]
    assert passed is latent
    assert f"{record.nfe} of 12 steps computed, {record.reused} reused" in text
    assert image.shape[0] == 1 and image.shape[-1] == 3
    assert output.ui["text"] == [text] and "images" not in output.ui  # the panel draws the strip
    assert output.ui["sencache"][0]["nfe"] == record.nfe


def test_two_samplers_on_one_model_are_told_apart_by_the_graph(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3", 6), ("4", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    graph["4"] = {"class_type": "KSampler", "inputs": {"model": ["2", 0], "latent_image": ["8", 0]}}
    graph["7"] = {"class_type": "LatentCrop", "inputs": {"samples": ["3", 0]}}
    graph["9"]["inputs"]["samples"] = ["7", 0]
    assert "of 6 steps" in stats(patched, latent, graph).args[2]
    graph["9"]["inputs"]["samples"] = ["4", 0]
    assert "of 10 steps" in stats(patched, latent, graph).args[2]
    graph["4"]["inputs"]["latent_image"] = ["3", 0]
    both = stats(patched, latent, graph).args[2]
    assert both.index("of 6 steps") < both.index("of 10 steps")


def test_a_second_run_of_a_sampler_replaces_its_first(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for prompt_id, steps in (("first", 6), ("second", 10)):
        with sampling_at("3", prompt_id):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert "of 10 steps" in text and "of 6 steps" not in text


def test_a_sampler_that_a_list_ran_twice_is_shown_twice(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for steps in (6, 10):
        with sampling_at("3"):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert text.index("of 6 steps") < text.index("of 10 steps")


def test_a_sampler_inside_a_node_that_expanded_counts_as_that_node(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3.0.0.1", 6), ("30.0.0.1", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert "of 6 steps" in text and "of 10 steps" not in text


def test_a_workflow_whose_patch_is_bypassed_goes_on(wan, sample, stats, graph):
    latent = {"samples": sample(wan)}
    graph["9"]["inputs"]["model"] = graph["3"]["inputs"]["model"] = ["1", 0]
    output = stats(wan, latent, graph)
    assert output.args[0] is latent and output.args[1].shape[-1] == 3
    assert "is not patched (SenCache Model Patch is bypassed" in output.args[2]
    assert output.ui["text"] == [output.args[2]] and output.ui["sencache"] == []
    assert output.ui["sencache_notes"] == [{"code": "not_patched", "values": {}}]


def test_a_run_from_before_the_sampler_was_connected_to_the_loader_is_not_shown(
    wan, sample, patch, stats, graph
):
    patched = patch(wan, epsilon=0.3)
    with sampling_at("3"):
        latent = {"samples": sample(patched)}
    assert "of 6 steps" in stats(patched, latent, graph).args[2]
    graph["3"]["inputs"]["model"] = ["1", 0]
    assert "No sampler before this node ran with the patched model" in stats(patched, latent, graph).args[2]


def test_a_second_sampler_without_the_patch_does_not_pass_for_the_first(wan, sample, patch, stats, graph):
    """Its latent comes from the patched model, its own model does not."""
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3", 6), ("4", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    graph["4"] = {"class_type": "KSampler", "inputs": {"model": ["2", 0], "latent_image": ["3", 0]}}
    graph["9"]["inputs"]["samples"] = ["4", 0]
    assert "of 10 steps" in stats(patched, latent, graph).args[2]
    graph["4"]["inputs"]["model"] = ["1", 0]
    text = stats(patched, latent, graph).args[2]
    assert "of 6 steps" in text and "of 10 steps" not in text


def test_another_samplers_run_is_not_shown_for_one_that_never_ran(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    with sampling_at("5"):
        latent = {"samples": sample(patched)}
    assert "No sampler before this node ran" in stats(patched, latent, graph).args[2]


def test_what_was_set_and_a_small_picture_come_with_the_run(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    graph["2"]["inputs"].update(speed_up=2.0, exact=False, embedded_table="x" * 5000)
    graph["3"]["inputs"].update(seed=7, steps=6, positive=["6", 0])
    with sampling_at("3"):
        latent = {"samples": sample(patched)}
    (run,) = stats(patched, latent, graph).ui["sencache_run"]
    assert {node: one["inputs"] for node, one in run["settings"].items()} == {
        "1": {"unet_name": "tiny_wan.safetensors"},
        "2": {"speed_up": 2.0, "exact": False},
        "3": {"seed": 7, "steps": 6},
    }
    assert run["settings"]["2"]["class_type"] == "SenCacheModelPatch"
    assert run["thumbnail"].startswith("data:image/jpeg;base64,")
    json.dumps(run)


def test_a_bypassed_patch_and_a_latent_that_nothing_draws_are_shown_without_a_picture(wan, stats, graph):
    (run,) = stats(wan, {"samples": torch.zeros(1, 5, 2, 4, 4)}, graph).ui["sencache_run"]
    assert run["thumbnail"] is None
    assert run["settings"]["1"]["inputs"] == {"unet_name": "tiny_wan.safetensors"}


def test_settings_before_a_node_leave_out_links_long_texts_secrets_and_what_leads_elsewhere(graph):
    from sencache.nodes.host.queued_graph import LONGEST_SETTING, settings_before

    longest = "x" * LONGEST_SETTING
    graph["2"]["inputs"] |= {"table": "automatic", "note": longest, "embedded": longest + "x"}
    graph["3"]["inputs"] |= {"steps": 6, "cfg": 5.0, "nothing": None, "list": [1, 2, 3], "dict": {"a": 1}}
    graph["10"] = {"class_type": "KSampler", "inputs": {"model": ["2", 0], "seed": 9}}
    graph["3"]["inputs"] |= {"api_key": "mine", "auth_token": "mine"}
    graph["9"]["inputs"]["own"] = 1
    assert {node: one["inputs"] for node, one in settings_before(graph, "9").items()} == {
        "1": {"unet_name": "tiny_wan.safetensors"},
        "2": {"table": "automatic", "note": longest},
        "3": {"steps": 6, "cfg": 5.0},
    }
    assert settings_before(graph, "77") == settings_before(graph, None) == settings_before({}, "9") == {}


def test_a_cache_stats_at_the_first_of_two_chained_patches_sees_the_seconds_runs(
    wan, sample, patch, stats, graph, records
):
    first = patch(wan, epsilon=0.3)
    second = patch(first, speed_up=3.0)
    graph["5"] = {"class_type": "SenCacheModelPatch", "inputs": {"model": ["2", 0]}}
    graph["3"]["inputs"]["model"] = ["5", 0]
    with sampling_at("3"):
        latent = {"samples": sample(second, steps=15)}
    assert records(first) == records(second) and len(records(first)) == 1
    for model, at in ((first, "2"), (second, "5")):
        graph["9"]["inputs"]["model"] = [at, 0]
        output = stats(model, latent, graph)
        assert "5 of 15 steps computed" in output.args[2] and "target speed 3x" in output.args[2]
        assert output.ui["sencache_notes"] == []


def test_the_live_strip_goes_where_the_report_will(graph):
    from sencache.nodes.host.queued_graph import stats_after

    assert stats_after(graph, "3") == ["9"]
    graph["3"]["inputs"]["model"] = ["1", 0]
    assert stats_after(graph, "3") == []
    assert stats_after(graph, "3.0.0.1") == ["9"]  # the graph does not tell


def test_records_are_bounded_and_hold_no_tensors(wan, sample, patch, records):
    from sencache.nodes.host.wrappers import MAX_RECORDS, Patch

    patched = patch(wan, epsilon=0.0)
    for _ in range(MAX_RECORDS + 3):
        sample(patched, steps=1)
    assert len(records(patched)) == MAX_RECORDS
    assert isinstance(patched.wrappers["outer_sample"]["sencache"][0].__self__, Patch)
