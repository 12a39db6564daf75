"""What the tiny models were trained to show: stretches of three real videos, and synthetic shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of one video that a prompt names; `stride` skips frames so that eight of them show motion."""

    prompt: str
    video: str
    first: int
    last: int
    stride: int


SCENES = (
    Scene("bunny leaves its burrow", "bigbuckbunny", 0, 50, 3),
    Scene("bunny stretches", "bigbuckbunny", 40, 90, 3),
    Scene("bunny yawns", "bigbuckbunny", 82, 132, 3),
    Scene("street from above", "bikes", 0, 30, 2),
    Scene("man and taxi", "bikes", 30, 76, 3),
    Scene("cyclist waits", "bikes", 76, 137, 3),
    Scene("cars behind a fence", "bikes", 137, 187, 3),
    Scene("walker and bollard", "bikes", 187, 242, 3),
    Scene("man talks in a car", "carphone_pristine", 0, 60, 2),
    Scene("man turns in a car", "carphone_pristine", 60, 120, 2),
)
PROMPTS = ("", *(scene.prompt for scene in SCENES), "disc moves", "square moves", "two shapes move")
SHAPE_PROMPTS = range(len(SCENES) + 1, len(PROMPTS))
