"""Cache Stats reports the samplers that lead to its latent."""

from __future__ import annotations

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


def sampling_at(node_id):
    """Let the host believe that this node of a queued graph is running."""
    from comfy_execution.utils import CurrentNodeContext

    return CurrentNodeContext("prompt-1", node_id)


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


def test_two_samplers_on_one_model_are_told_apart_by_the_graph(wan, sample, patch, stats):
    patched = patch(wan, epsilon=0.3)
    for node_id, steps in (("3", 6), ("4", 10)):
        with sampling_at(node_id):
            latent = {"samples": sample(patched, steps=steps)}
    prompt = {
        "3": {"inputs": {"model": ["1", 0]}},
        "4": {"inputs": {"model": ["1", 0]}},
        "7": {"inputs": {"samples": ["3", 0]}},
        "9": {"inputs": {"model": ["1", 0], "samples": ["7", 0]}},
    }
    assert "of 6 evaluations" in stats(patched, latent, prompt).args[2]
    prompt["9"]["inputs"]["samples"] = ["4", 0]
    assert "of 10 evaluations" in stats(patched, latent, prompt).args[2]
    prompt["4"]["inputs"]["latent_image"] = ["3", 0]
    both = stats(patched, latent, prompt).args[2]
    assert both.index("of 6 evaluations") < both.index("of 10 evaluations")


def test_a_second_run_of_a_sampler_replaces_its_first(wan, sample, patch, stats):
    patched = patch(wan, epsilon=0.3)
    for steps in (6, 10):
        with sampling_at("3"):
            latent = {"samples": sample(patched, steps=steps)}
    text = stats(patched, latent, {"9": {"inputs": {"samples": ["3", 0]}}}).args[2]
    assert "of 10 evaluations" in text and "of 6 evaluations" not in text


def test_an_unpatched_model_and_one_that_never_sampled_are_refused(wan, patch, stats):
    latent = {"samples": torch.zeros(1)}
    with pytest.raises(ValueError, match="Cache Stats: this model was not patched"):
        stats(wan, latent)
    with pytest.raises(ValueError, match="Cache Stats: no sampler has run"):
        stats(patch(wan), latent)


def test_records_are_bounded_and_hold_no_tensors(wan, sample, patch, records):
    from sencache.nodes.wrappers import MAX_RECORDS, Patch

    patched = patch(wan, epsilon=0.0)
    for _ in range(MAX_RECORDS + 3):
        sample(patched, steps=1)
    assert len(records(patched)) == MAX_RECORDS
    assert isinstance(patched.wrappers["outer_sample"]["sencache"][0].__self__, Patch)
