"""A model of 7 MB that any machine samples in seconds, to try the pack with before measuring one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.sd
import torch
from comfy_api.latest import io

from ..demo.clip import PROMPTS, frames_of, prompt_embedding
from .host.api import aliases, out_of_search

WEIGHTS = Path(__file__).resolve().parent.parent / "demo" / "tiny_wan.safetensors"
LATENT_SHAPE = (1, 16, 8, 12, 12)
ENLARGED = 4
CATEGORY = "advanced/sencache/demo"
NODE = "SenCache Demo Model"


class SenCacheDemo(io.ComfyNode):
    """Loads the tiny Wan model, with one of the prompts it knows and an empty latent of its size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheDemo",
            display_name=NODE,
            category=CATEGORY,
            description="A tiny Wan 2.1 model that comes with the pack, its prompts and its latent: to try "
            "SenCache without a graphics card or a download. It draws 8 small grey frames.",
            inputs=[
                io.Combo.Input(
                    "prompt", options=list(PROMPTS[1:]), default=PROMPTS[3], tooltip="What to draw."
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The tiny model."),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The empty prompt."),
                io.Latent.Output(display_name="LATENT", tooltip="An empty latent of the model's size."),
            ],
            is_experimental=True,
            **out_of_search(),
            **aliases("tiny Wan", "SenCache example"),
        )

    @classmethod
    def execute(cls, prompt: str) -> io.NodeOutput:
        """Load the model; raises ValueError in one sentence where the pack came without it."""
        if not WEIGHTS.is_file():
            raise ValueError(f"{NODE}: this copy of the pack came without the tiny model; install it anew.")
        model: Any = comfy.sd.load_diffusion_model(str(WEIGHTS))
        positive, negative = ([[prompt_embedding(one), {}]] for one in (PROMPTS.index(prompt), 0))
        return io.NodeOutput(model, positive, negative, {"samples": torch.zeros(LATENT_SHAPE)})


class SenCacheDemoFrames(io.ComfyNode):
    """Decodes the tiny model's latents, which no VAE knows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheDemoFrames",
            display_name="SenCache Demo Frames",
            category=CATEGORY,
            description="Turns a latent of SenCache Demo Model into its frames, four times as large.",
            inputs=[io.Latent.Input("samples", tooltip="A latent that SenCache Demo Model's model drew.")],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The frames.")],
            is_experimental=True,
            **out_of_search(),
            **aliases("decode tiny Wan"),
        )

    @classmethod
    def execute(cls, samples: dict[str, Any]) -> io.NodeOutput:
        """Decode; raises ValueError in one sentence for another model's latent."""
        latent = samples["samples"]
        if latent.ndim != 5 or latent.shape[1] != LATENT_SHAPE[1]:
            raise ValueError("SenCache Demo Frames: this latent is not one of SenCache Demo Model's.")
        frames = frames_of(comfy.latent_formats.Wan21().process_in(latent))
        large = frames.repeat_interleave(ENLARGED, dim=1).repeat_interleave(ENLARGED, dim=2)
        return io.NodeOutput(large[..., None].repeat(1, 1, 1, 3))
