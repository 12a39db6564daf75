"""What the tiny models were trained to show: stretches of three real videos, and synthetic shapes."""

from __future__ import annotations

from dataclasses import dataclass

from sencache.demo.clip import PROMPTS


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of one video that a prompt names; `stride` skips frames so that eight of them show motion."""

    video: str
    first: int
    last: int
    stride: int


# What the prompts from 1 on name, in their order; the rest are the synthetic shapes.
SCENES = (
    Scene("bigbuckbunny", 0, 50, 3),
    Scene("bigbuckbunny", 40, 90, 3),
    Scene("bigbuckbunny", 82, 132, 3),
    Scene("bikes", 0, 30, 2),
    Scene("bikes", 30, 76, 3),
    Scene("bikes", 76, 137, 3),
    Scene("bikes", 137, 187, 3),
    Scene("bikes", 187, 242, 3),
    Scene("carphone_pristine", 0, 60, 2),
    Scene("carphone_pristine", 60, 120, 2),
)
SHAPE_PROMPTS = range(len(SCENES) + 1, len(PROMPTS))
