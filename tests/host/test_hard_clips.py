"""Clips whose picture is decided at once: computed more often there, as often in all as any other."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_models import MODELS, sample

STEPS, WISH = 50, 3.0
TABLE = "tiny_wan.safetensors"
HARD, EASY = (4, 740), (13, 830)  # prompt and seed; a table of other prompts knows nothing of the first


def sampled(host: ModuleType, model: Any, clip: tuple[int, int]) -> torch.Tensor:
    return sample(host, model, MODELS["wan"], *clip, "euler", STEPS, 5.0)


def computed(record: Any) -> list[int]:
    return [step for step, one in enumerate(record.evaluations) if not one.decision.reuse]


def error(found: torch.Tensor, reference: torch.Tensor) -> float:
    return float((found - reference).square().mean().sqrt())


def test_a_hard_clip_ends_much_nearer_than_by_the_plan_made_before_the_run(
    host, wan, patch, records, monkeypatch
):
    from sencache.caching.planned import Planned

    uncached = sampled(host, wan, HARD)
    learning = patch(wan, table=TABLE, speed_up=WISH)
    near = error(sampled(host, learning, HARD), uncached)
    monkeypatch.setattr(Planned, "learn", lambda self, missed, expected: None)
    following = patch(wan, table=TABLE, speed_up=WISH)
    far = error(sampled(host, following, HARD), uncached)
    assert near < 0.5 * far
    assert records(learning)[-1].nfe == records(following)[-1].nfe == STEPS // 3


def test_hard_and_easy_clips_cost_the_same_and_are_computed_elsewhere(host, wan, patch, records):
    model = patch(wan, table=TABLE, speed_up=WISH)
    for clip in (HARD, EASY):
        sampled(host, model, clip)
    hard, easy = (computed(record) for record in records(model))
    assert len(hard) == len(easy) == STEPS // 3
    turn = range(5, 20)
    assert sum(step in turn for step in hard) > sum(step in turn for step in easy)


@pytest.mark.parametrize("device", ["model", "cpu"])
def test_a_second_run_of_the_same_clip_is_the_same(host, wan, patch, records, device):
    model = patch(wan, table=TABLE, speed_up=WISH, cache_device=device)
    first, second = (sampled(host, model, HARD) for _ in range(2))
    assert torch.equal(first, second)
    assert computed(records(model)[0]) == computed(records(model)[1])
