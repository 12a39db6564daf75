"""Cache Stats reports the samplers that lead to its latent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


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
    assert f"{record.nfe} of 12 evaluations computed, {record.reused} reused" in text
    assert image.shape[0] == 1 and image.shape[-1] == 3
    assert output.ui["text"] == [text] and len(output.ui["images"]) == 1


def test_two_samplers_on_one_model_are_told_apart_by_the_graph(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3", 6), ("4", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    graph["4"] = {"class_type": "KSampler", "inputs": {"model": ["2", 0], "latent_image": ["8", 0]}}
    graph["7"] = {"class_type": "LatentCrop", "inputs": {"samples": ["3", 0]}}
    graph["9"]["inputs"]["samples"] = ["7", 0]
    assert "of 6 evaluations" in stats(patched, latent, graph).args[2]
    graph["9"]["inputs"]["samples"] = ["4", 0]
    assert "of 10 evaluations" in stats(patched, latent, graph).args[2]
    graph["4"]["inputs"]["latent_image"] = ["3", 0]
    both = stats(patched, latent, graph).args[2]
    assert both.index("of 6 evaluations") < both.index("of 10 evaluations")


def test_a_second_run_of_a_sampler_replaces_its_first(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for prompt_id, steps in (("first", 6), ("second", 10)):
        with sampling_at("3", prompt_id):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert "of 10 evaluations" in text and "of 6 evaluations" not in text


def test_a_sampler_that_a_list_ran_twice_is_shown_twice(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for steps in (6, 10):
        with sampling_at("3"):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert text.index("of 6 evaluations") < text.index("of 10 evaluations")


def test_a_sampler_inside_a_node_that_expanded_counts_as_that_node(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3.0.0.1", 6), ("30.0.0.1", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, graph).args[2]
    assert "of 6 evaluations" in text and "of 10 evaluations" not in text


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
    assert "of 6 evaluations" in stats(patched, latent, graph).args[2]
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
    assert "of 10 evaluations" in stats(patched, latent, graph).args[2]
    graph["4"]["inputs"]["model"] = ["1", 0]
    text = stats(patched, latent, graph).args[2]
    assert "of 6 evaluations" in text and "of 10 evaluations" not in text


def test_another_samplers_run_is_not_shown_for_one_that_never_ran(wan, sample, patch, stats, graph):
    patched = patch(wan, epsilon=0.3)
    with sampling_at("5"):
        latent = {"samples": sample(patched)}
    assert "No sampler before this node ran" in stats(patched, latent, graph).args[2]


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
