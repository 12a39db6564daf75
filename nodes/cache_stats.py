"""Cache Stats: what the sampler before it reused, why, and what that saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfy_api.latest import io

from ..caching.notes import Note
from ..caching.record import RunRecord
from ..caching.report import as_text
from ..caching.sentences import sentence
from ..pictures.strip import draw_nothing, draw_runs
from .host.api import aliases, as_image
from .host.queued_graph import origin_of, samplers_before, settings_before
from .host.thumbnail import thumbnail
from .host.wrappers import KEY
from .panel.live import Listener
from .panel.shown import as_shown
from .panel.wire import NoteTold, RunAbout


def outputs() -> list[Any]:
    """Return what both nodes of this kind give."""
    return [
        io.Latent.Output(display_name="LATENT", tooltip="The sampler's result, unchanged."),
        io.Image.Output(display_name="IMAGE", tooltip="One cell per evaluation, and its predicted change."),
        io.String.Output(display_name="STRING", tooltip="The same in words."),
    ]


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
            outputs=outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
            **aliases("SenCache stats", "SenCache report", "cache report", "speed report", "time saved"),
        )

    @classmethod
    def execute(cls, model: Any, samples: dict[str, Any]) -> io.NodeOutput:
        """Report the latest run of each sampler that leads to the latent, or say why there is none.

        A bypassed Model Patch must not stop the workflow: artists compare so.
        """
        sink, prompt = model.get_attachment(KEY), cls.hidden.prompt or {}
        samplers = samplers_before(prompt, cls.hidden.unique_id)
        records = [] if sink is None else relevant(list(sink.records), samplers, prompt)
        notes = [] if records else [Note("not_patched" if sink is None else "not_sampled")]
        text = "\n\n".join([*map(sentence, notes), *map(as_text, records)])
        image = as_image(draw_runs(records) if records else draw_nothing(text))
        browser = Listener.find()
        about = RunAbout(
            node=cls.hidden.unique_id,
            workflow=browser.workflow if browser else None,
            settings=settings_before(prompt, cls.hidden.unique_id),
            thumbnail=thumbnail(model.model.latent_format, samples["samples"]),
        )
        shown = {
            "text": [text],
            "sencache": [as_shown(record).plain() for record in records],
            "sencache_notes": [NoteTold.of(note).plain() for note in notes],
            "sencache_run": [about.plain()],
        }
        return io.NodeOutput(samples, image, text, ui=shown)


def relevant(
    records: Iterable[RunRecord], samplers: set[str] | None, prompt: Mapping[str, Any]
) -> list[RunRecord]:
    """Keep what each of `samplers` ran in the latest prompt that it ran in, in the order of the runs.

    Only runs of the same origin as in `prompt` count: another workflow may have another node of that id. A
    sampler inside a node that expanded counts as that node. Where nothing tells (`samplers` None, or runs
    outside a queue), the latest run of the patched model counts.
    """
    everything = [(_graph_node(record), record) for record in records]
    mine = {node: origin_of(prompt, node) for node, _ in everything if node in (samplers or ())}
    named = [(node, one) for node, one in everything if node in mine and one.origin in (None, mine[node])]
    latest = {node: record.prompt_id for node, record in named}
    kept = [one for node, one in named if one.prompt_id == latest[node]]
    untold = [one for node, one in everything if samplers is None or node is None]
    return kept or untold[-1:]


def _graph_node(record: RunRecord) -> str | None:
    """Return the queued node that a run belongs to; the parts of one that expanded are `node.0.0.n`."""
    return None if record.node_id is None else record.node_id.partition(".")[0]
