"""SenCache Model Patch and Cache Stats for raylight, whose models live in one worker process per card."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context
from PIL import Image

from ...calibration.table import SensitivityTable, TableError
from ..cache_stats import outputs
from ..host.api import aliases, as_image
from ..host.queued_graph import settings_before
from ..panel.live import Listener
from ..panel.wire import NoteTold, RunAbout
from ..patch_inputs import folded_inputs, main_inputs
from ..patching import Order
from ..refusals import refusal
from ..tables import files as table_files
from ..tables.choice import AUTOMATIC, file_choice
from ..tables.embedded import to_text
from .sent import Sent

NODE = "SenCache Model Patch (Ray)"
STATS_NODE = "Cache Stats (Ray)"
RayActors = io.Custom("RAY_ACTORS")
Sensitivity = io.Custom("SENSITIVITY")


def is_installed() -> bool:
    """Tell whether raylight is there, loaded yet or not."""
    if importlib.util.find_spec("ray") is None:
        return False
    folders = [Path(folder) for folder in folder_paths.get_folder_paths("custom_nodes")]
    return any(any(folder.glob("*/src/raylight/__init__.py")) for folder in folders)


class SenCacheModelPatchRay(io.ComfyNode):
    """Patches the model in every worker."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        inputs = [one for one in folded_inputs() if one.id != "embedded_table"]
        return io.Schema(
            node_id="SenCacheModelPatchRay",
            display_name=NODE,
            category="advanced/sencache",
            description="SenCache Model Patch for raylight: makes sampling on several cards faster. Put it "
            "between the Ray model loader (and its LoRAs) and the Ray sampler, and queue twice: the first "
            "run of a model measures it. The workers keep their model, so to go back to plain sampling "
            "choose 'final (exact)' here; removing the node is not enough.",
            inputs=[
                RayActors.Input("ray_actors", tooltip="The workers, with their model loaded."),
                Sensitivity.Input(
                    "sensitivity",
                    optional=True,
                    tooltip="A table straight from SenCache Calibrate; it wins over 'table'.",
                ),
                *main_inputs(),
                *inputs,
            ],
            outputs=[
                RayActors.Output(display_name="RAY_ACTORS", tooltip="The same workers, for the sampler.")
            ],
            **aliases("sencache", "faster", "speed up", "raylight", "Ray", "multi GPU"),
        )

    @classmethod
    def fingerprint_inputs(cls, table: str = AUTOMATIC, **kwargs: Any) -> str:
        """Run again when the chosen table file was replaced; 'automatic' is looked up in every run."""
        if "sensitivity" in kwargs or table in (None, AUTOMATIC):
            return ""
        try:
            return table_files.stamp([str(table)])
        except (TableError, OSError) as error:
            return str(error)

    @classmethod
    def validate_inputs(cls, table: str | None = AUTOMATIC) -> bool:
        """Let any name through the host's list check: the node itself refuses one that is gone."""
        return True

    @classmethod
    def execute(
        cls,
        ray_actors: dict[str, Any],
        sensitivity: SensitivityTable | None = None,
        exact: bool = False,
        **inputs: Any,
    ) -> io.NodeOutput:
        """Check the settings, and patch in every worker; raises ValueError in one sentence."""
        order = Order.of(NODE, exact=exact, **inputs)
        try:
            connected = _table_text(order, sensitivity)
        except (TableError, ValueError) as error:
            raise ValueError(refusal(NODE, error)) from None
        plain = dataclasses.asdict(dataclasses.replace(order, table=AUTOMATIC))
        folders = folder_paths.get_folder_paths(table_files.FOLDER)
        values = (NODE, plain, folders, connected)
        _answers(
            [
                worker.model_function_runner.remote(Sent("patch"), *values)
                for worker in _workers(NODE, ray_actors)
            ],
            NODE,
        )
        return io.NodeOutput(ray_actors)


class SenCacheStatsRay(io.ComfyNode):
    """Shows what the workers' last run did."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SenCacheStatsRay",
            display_name=STATS_NODE,
            category="advanced/sencache",
            description="Cache Stats for raylight: shows which steps of the last run were computed and which "
            "reused, on the first card; the others did the same.",
            inputs=[
                RayActors.Input("ray_actors", tooltip="The workers, from the Ray sampler."),
                io.Latent.Input("samples", tooltip="The sampler's result; this node waits for it."),
            ],
            outputs=outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
            **aliases("SenCache stats", "raylight", "Ray"),
        )

    @classmethod
    def execute(cls, ray_actors: dict[str, Any], samples: dict[str, Any]) -> io.NodeOutput:
        """Report the last run of the first worker, or say why there is none."""
        first = _workers(STATS_NODE, ray_actors)[0]
        (told,) = _answers([first.model_function_runner_get_values.remote(Sent("report"))], STATS_NODE)
        image, text, run, note = (told[name] for name in ("picture", "text", "run", "note"))
        context = get_executing_context()
        browser, node = Listener.find(), cls.hidden.unique_id
        about = RunAbout(
            node=node,
            workflow=browser.workflow if browser else None,
            settings=settings_before(cls.hidden.prompt or {}, node),
            thumbnail=None,
        )
        named = {} if context is None else {"node_id": str(context.node_id), "prompt": str(context.prompt_id)}
        shown = {
            "text": [text],
            "sencache": [] if run is None else [{**run, **named}],
            "sencache_notes": [] if note is None else [NoteTold(code=note, values={}).plain()],
            "sencache_run": [about.plain()],
        }
        return io.NodeOutput(samples, as_image(Image.fromarray(image)), text, ui=shown)


def _table_text(order: Order, sensitivity: SensitivityTable | None) -> str | None:
    """Return the table as the workers get it, None where they look for the model's own."""
    if not order.config.reuses or sensitivity is None and order.table == AUTOMATIC:
        return None
    if sensitivity is not None:
        return to_text(sensitivity)
    choice = file_choice(order.table)
    return to_text(choice.table, choice.name)


def _workers(node: str, ray_actors: Any) -> list[Any]:
    """Return raylight's workers; raises ValueError for anything else."""
    workers = ray_actors.get("workers") if isinstance(ray_actors, dict) else None
    if not workers:
        raise ValueError(f"{node}: there are no Ray workers; connect the Ray model loader.")
    return list(workers)


def _answers(futures: list[Any], node: str) -> list[Any]:
    """Wait for what the workers answer; raises ValueError in one sentence where one could not."""
    import ray

    try:
        return list(ray.get(futures))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ValueError) and str(cause).startswith("SenCache"):
            raise ValueError(str(cause)) from None
        if isinstance(cause, FileNotFoundError):
            raise ValueError(
                f"{node}: a worker can't read this pack; on another machine it has to lie at the same path."
            ) from None
        raise
