"""Cache Stats: what the sampler before it reused, why, and what that saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comfy_api.latest import io, ui

from ..caching.record import RunRecord
from ..caching.report import as_text
from ..pictures.strip import draw_runs
from .host_api import aliases, as_image
from .live import upstream
from .shown import as_shown
from .wrappers import KEY

NODE = "Cache Stats"


class SenCacheStats(io.ComfyNode):
    """Shows the record of a patched model's sampling run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheStats",
            display_name="Cache Stats",
            category="advanced/sencache",
            description="Shows which sampling steps were computed and which reused, why, and the time saved. "
            "Connect the patched model and the sampler's latent; the latent passes through unchanged.",
            inputs=[
                io.Model.Input("model", tooltip="The model from SenCache Model Patch."),
                io.Latent.Input(
                    "samples", tooltip="The sampler's result; it tells this node to wait for the sampler."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The sampler's result, unchanged."),
                io.Image.Output(
                    display_name="IMAGE", tooltip="One cell per evaluation, and its predicted change."
                ),
                io.String.Output(display_name="STRING", tooltip="The same in words."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
            **aliases("SenCache report", "cache report"),
        )

    @classmethod
    def execute(cls, model: Any, samples: dict[str, Any]) -> io.NodeOutput:
        """Report the latest run of each sampler that leads to the latent; raises ValueError without any."""
        sink = model.get_attachment(KEY)
        if sink is None:
            raise ValueError(
                f"{NODE}: this model was not patched; connect the model that SenCache Model Patch gives."
            )
        before = upstream(cls.hidden.prompt or {}, cls.hidden.unique_id, "samples")
        records = relevant(list(sink.records), before)
        if not records:
            raise ValueError(
                f"{NODE}: no sampler has run with this patched model; "
                "connect its MODEL to the sampler as well."
            )
        text = "\n\n".join(as_text(record) for record in records)
        image = as_image(draw_runs(records))
        shown = {**ui.PreviewImage(image, cls=cls).as_dict(), "text": [text]}
        shown["sencache"] = [as_shown(record) for record in records]
        return io.NodeOutput(samples, image, text, ui=shown)


def relevant(records: Iterable[RunRecord], samplers: set[str]) -> list[RunRecord]:
    """Keep the latest record of each sampler among `samplers`, in the order they ran.

    Where the graph does not tell (a sampler inside an expanded node), the latest run of the patched model
    counts.
    """
    everything = list(records)
    latest = {record.node_id: record for record in everything if record.node_id in samplers}
    return [record for record in everything if latest.get(record.node_id) is record] or everything[-1:]
