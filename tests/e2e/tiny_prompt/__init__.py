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
            inputs=[io.Int.Input("prompt", default=1, min=0, max=99)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompt: int) -> io.NodeOutput:
        from sencache.demo.clip import prompt_embedding

        return io.NodeOutput([[prompt_embedding(prompt), {}]])


class TinyPromptExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TinyPrompt]


async def comfy_entrypoint() -> ComfyExtension:
    return TinyPromptExtension()
