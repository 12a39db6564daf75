"""SenCache Model Patch and Cache Stats for raylight, whose models live in one worker process per card."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context
from PIL import Image

from ...calibration import table as tables
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
from .sent import BOOTSTRAP, Sent

NODE = "SenCache Model Patch (Ray)"
STATS_NODE = "Cache Stats (Ray)"
RayActors = io.Custom("RAY_ACTORS")
Sensitivity = io.Custom("SENSITIVITY")


def is_installed() -> bool:
    """Tell whether raylight is there, loaded yet or not."""
    if importlib.util.find_spec("ray") is None:
        return False
    folders = [Path(folder) for folder in folder_paths.get_folder_paths("custom_nodes")]
    found = [path for folder in folders for path in folder.glob("*/src/raylight/__init__.py")]
    return any(not path.parents[2].name.endswith(".disabled") for path in found)


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
            description="SenCache Model Patch for raylight: makes sampling on several GPUs faster. Put it "
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
        """Run again when the chosen table file was replaced, or where 'automatic' may find another one.

        The sampler after it then runs again too, as it must where the first run has measured.
        """
        if "sensitivity" in kwargs or table is None or kwargs.get("exact"):
            return ""
        try:
            return table_files.stamp(None if table == AUTOMATIC else [str(table)])
        except (TableError, OSError) as error:
            return hashlib.sha256(str(error).encode("utf-8", "surrogatepass")).hexdigest()

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
        order, workers = Order.of(NODE, exact=exact, **inputs), _workers(NODE, ray_actors)
        try:
            connected = _table_bytes(order, sensitivity)
        except (TableError, ValueError) as error:
            raise ValueError(refusal(NODE, error)) from None
        plain = dataclasses.asdict(dataclasses.replace(order, table=AUTOMATIC))
        folders = folder_paths.get_folder_paths(table_files.FOLDER)
        values = (NODE, plain, folders, connected, _sample_together(workers[0]))
        try:
            _answers([one.model_function_runner.remote(Sent("patch"), *values) for one in workers], NODE)
        except ValueError:
            _take_off(workers)  # one without the patch would keep the others waiting
            raise
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
            "reused, on the first GPU.",
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


def _table_bytes(order: Order, sensitivity: SensitivityTable | None) -> bytes | None:
    """Return the table as the workers get it, None where they look for the model's own."""
    if not order.config.reuses or sensitivity is None and order.table == AUTOMATIC:
        return None
    if sensitivity is not None:
        return tables.to_bytes(sensitivity)
    choice = file_choice(order.table)
    named = {**choice.table.metadata, "name": choice.name}
    return tables.to_bytes(dataclasses.replace(choice.table, metadata=named))


def _sample_together(worker: Any) -> bool:
    """Tell whether raylight's workers share a video, or its weights: else each samples one of its own."""
    (parallel,) = _answers([worker.get_parallel_dict.remote()], NODE)
    return bool(parallel.get("is_xdit") or parallel.get("is_fsdp") or parallel.get("pipefusion_enabled"))


def _take_off(workers: list[Any]) -> None:
    """Take the patch off every worker that can still do so."""
    import ray

    for one in [worker.model_function_runner.remote(Sent("unpatch")) for worker in workers]:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(one)


def _workers(node: str, ray_actors: Any) -> list[Any]:
    """Return raylight's workers; raises ValueError for anything else."""
    workers = ray_actors.get("workers") if isinstance(ray_actors, dict) else None
    if not workers:
        raise ValueError(f"{node}: there are no Ray workers; connect the Ray model loader.")
    return list(workers)


def _answers(futures: list[Any], node: str) -> list[Any]:
    """Wait for what all workers answer; raises ValueError in one sentence where one could not."""
    import ray

    answers, failed = [], []
    for future in futures:
        try:
            answers.append(ray.get(future))
        except ray.exceptions.RayError as error:
            failed.append(error)
    for error in failed:
        cause = getattr(error, "cause", None) or error  # a worker that is gone has none
        if isinstance(cause, ValueError) and str(cause).startswith("SenCache"):
            raise ValueError(str(cause)) from None
        if isinstance(cause, ray.exceptions.RaySystemError) and BOOTSTRAP.name in str(error):
            where = "it must be installed at the same path on every machine"
            raise ValueError(f"{node}: a worker can't load this pack; {where}.") from None
        told = (str(cause).splitlines() or [type(cause).__name__])[0][:200].rstrip(".")
        raise ValueError(f"{node}: a worker has failed: {told}.") from error
    return answers
