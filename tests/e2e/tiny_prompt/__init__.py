"""A node for the tests alone: the tiny model's prompts, which no text encoder knows."""

import sys
from pathlib import Path
from types import ModuleType

from comfy_api.latest import ComfyExtension, io

package = ModuleType("sencache")
package.__path__ = [str(Path(__file__).resolve().parents[3])]
sys.modules.setdefault("sencache", package)


class TinyPrompt(io.ComfyNode):
    """Gives the conditioning of one of the tiny model's prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TinyPrompt",
            display_name="Tiny Prompt",
            category="testing",
            inputs=[
                io.Int.Input("prompt", default=1, min=0, max=99),
                io.Boolean.Input("masked", default=False, optional=True),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompt: int, masked: bool = False) -> io.NodeOutput:
        """Return the prompt; LTX-Video's text encoder gives a mask of the tokens too."""
        import torch
        from sencache.demo.clip import prompt_embedding

        embedding = prompt_embedding(prompt)
        mask = {"attention_mask": torch.ones(embedding.shape[:2], dtype=torch.int64)} if masked else {}
        return io.NodeOutput([[embedding, mask]])


class TinyPromptExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TinyPrompt]


async def comfy_entrypoint() -> ComfyExtension:
    return TinyPromptExtension()
