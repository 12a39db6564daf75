"""A node for the tests alone: the tiny model's prompts, which no text encoder knows."""

import sys
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tiny"))


class TinyPrompt(io.ComfyNode):
    """Gives the conditioning of one of the tiny model's prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TinyPrompt",
            display_name="Tiny Prompt",
            category="testing",
            inputs=[io.Int.Input("prompt", default=1, min=0, max=99)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompt: int) -> io.NodeOutput:
        from latents import prompt_embedding
        from wan_model import TEXT_DIM

        return io.NodeOutput([[prompt_embedding(prompt, TEXT_DIM), {}]])


class TinyPromptExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TinyPrompt]


async def comfy_entrypoint() -> ComfyExtension:
    return TinyPromptExtension()
