"""Names, inputs and workflows from strangers: one clear sentence, and nothing outside the table folders.

`python tests/survival/fuzz.py` does the same a hundred thousand times.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import hostile
import hostile_files
import pytest
import torch

SEED = 20261124


@pytest.fixture
def registered(host):
    """Our nodes in the host's list, as a pack's are."""
    from sencache.nodes.cache_stats import SenCacheStats
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.model_patch import SenCacheModelPatch
    from sencache.tests.e2e.tiny_prompt import TinyPrompt

    nodes = (SenCacheCalibrate, SenCacheModelPatch, SenCacheStats, TinyPrompt)
    ours = {node.GET_SCHEMA().node_id: node for node in nodes}
    host.NODE_CLASS_MAPPINGS.update(ours)
    yield
    for name in ours:
        del host.NODE_CLASS_MAPPINGS[name]


def test_names_are_refused_or_stay_in_the_folder(host):
    rng = random.Random(SEED)
    answers = Counter(hostile.answer_to_name(hostile.name(rng)) for _ in range(1500))
    assert answers["refused"] > 1000 and answers["accepted"] > 20


@pytest.mark.parametrize("given", ["x" * 10_000_000, "../" * 1_000_000 + "x.safetensors", "\x00" * 1_000_000])
def test_a_name_of_megabytes_is_answered_like_any_other(host, given):
    assert hostile.answer_to_name(given) == "refused"


def test_inputs_of_any_type_are_used_or_refused_in_a_sentence(host, wan):
    rng = random.Random(SEED)
    answers = Counter(hostile.answer_to_inputs(wan, hostile.inputs(rng)) for _ in range(600))
    assert answers["refused"] > 300 and answers["accepted"] > 10


def test_two_videos_of_any_kind_are_compared_or_refused_in_a_sentence(host):
    rng = random.Random(SEED)
    answers = Counter(hostile.answer_to_comparison(hostile.comparison(rng)) for _ in range(800))
    assert answers["refused"] > 300 and answers["accepted"] > 10


def test_workflows_with_any_values_are_validated_without_an_error_of_ours(host, registered):
    rng = random.Random(SEED)

    async def validate():
        return [await hostile.answer_to_workflow(hostile.workflow(rng), number) for number in range(200)]

    answers = Counter(asyncio.run(validate()))
    assert answers["refused"] > 100 and answers["accepted"] > 5


def test_the_panels_questions_are_answered_or_refused(host):
    rng = random.Random(SEED)
    answers = Counter(hostile_files.answer_to_question(rng) for _ in range(300))
    assert answers["refused"] > 50 and answers["accepted"] > 20


def test_embedded_texts_and_archives_are_refused_in_a_sentence(host, tmp_path):
    rng = random.Random(SEED)
    for answer in (hostile_files.embedded_texts(), hostile_files.archives(tmp_path)):
        assert Counter(answer(rng) for _ in range(400))["refused"] > 200


def test_what_is_accepted_samples(host, wan, sample):
    """Inputs that pass must not fail later, in the middle of a queue."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    rng, sampled = random.Random(SEED + 1), 0
    while sampled < 12:
        given = hostile.inputs(rng)
        try:
            patched = SenCacheModelPatch.execute(wan, **given).args[0]
        except ValueError:
            continue
        latent = {"samples": torch.zeros(1, 16, 2, 8, 8)}
        assert torch.isfinite(sample(patched, steps=5, latent=latent)).all(), given
        sampled += 1


@pytest.mark.parametrize(
    ("origin", "asked", "own"),
    [
        ("http://127.0.0.1:8188", "127.0.0.1:8188", True),
        ("https://studio.example", "studio.example", True),
        ("http://studio.example:80", "studio.example", True),
        ("http://127.0.0.1", "127.0.0.1:8188", False),
        ("http://127.0.0.1:8189", "127.0.0.1:8188", False),
        ("https://example.org", "127.0.0.1:8188", False),
        ("http://127.0.0.1:99999", "127.0.0.1:8188", False),
        ("http://[", "127.0.0.1:8188", False),
        ("null", "127.0.0.1:8188", False),
        ("null", "", False),
        ("", "127.0.0.1:8188", False),
        ("http://127.0.0.1:8188", "127.0.0.1:x", False),
    ],
)
def test_only_the_servers_own_pages_may_ask(host, origin, asked, own):
    from sencache.nodes.panel.routes import same_origin

    headers = {"Content-Type": "application/json", "Origin": origin, "Host": asked}
    assert same_origin(headers) is own
