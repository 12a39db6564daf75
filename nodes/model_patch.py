"""SenCache Model Patch: each sampling step of the patched model computes or reuses."""

from __future__ import annotations

import hashlib
from typing import Any

from comfy_api.latest import io

from ..calibration.table import SensitivityTable, TableError
from .automatic import Automatic, own_identity
from .host.api import aliases
from .host.queued_graph import model_of_executing_node
from .host.wrappers import NODE
from .panel.live import Pages, tell_model
from .patch_inputs import folded_inputs, main_inputs
from .patching import Order, patched
from .tables import files as table_files
from .tables.choice import AUTOMATIC
from .tables.lookups import LOOKUPS

SEARCHED = (
    "sencache", "speed", "speed up", "faster", "fast", "skip steps", "skip", "cache", "accelerate", "turbo",
    "lightning", "lazy", "TeaCache", "EasyCache", "LazyCache", "MagCache", "FBCache",
)  # fmt: skip
Sensitivity = io.Custom("SENSITIVITY")


class SenCacheModelPatch(io.ComfyNode):
    """Patches a model so that evaluations with a small predicted change are served instead of computed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node; runs again whenever the list of tables is asked for."""
        return io.Schema(
            node_id="SenCacheModelPatch",
            display_name="SenCache Model Patch",
            category="advanced/sencache",
            description="Makes sampling faster: steps whose output can be predicted are not computed. Put it "
            "between the model loader (and its LoRAs) and the sampler, and queue twice: the first run of a "
            "model measures it and is not faster, the next ones are.",
            inputs=[
                io.Model.Input("model", tooltip="The model to make faster."),
                Sensitivity.Input(
                    "sensitivity",
                    optional=True,
                    tooltip="A table straight from SenCache Calibrate; it wins over 'table'.",
                ),
                *main_inputs(),
                *folded_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The patched model, for the sampler.")],
            **aliases(*SEARCHED),
        )

    @classmethod
    def fingerprint_inputs(cls, table: str = AUTOMATIC, **kwargs: Any) -> str:
        """Run again when the chosen table file was replaced, or 'automatic' would find another one.

        A connected table needs neither, and an embedded one or a node that is off no 'automatic' one. The
        host passes None for what is linked.
        """
        if "sensitivity" in kwargs or table is None:
            return ""
        off = bool(kwargs.get("exact")) or 0 in (kwargs.get("epsilon"), kwargs.get("n"))
        off = off or kwargs.get("speed_up") == 1
        if table == AUTOMATIC and (off or str(kwargs.get("embedded_table") or "").strip()):
            return ""
        try:
            if table != AUTOMATIC:
                return table_files.stamp([str(table)])
            workflow = model_of_executing_node()
            return table_files.stamp() if workflow is None else LOOKUPS.state(workflow)
        except (TableError, OSError) as error:
            return hashlib.sha256(str(error).encode("utf-8", "surrogatepass")).hexdigest()

    @classmethod
    def validate_inputs(cls, table: str | None = AUTOMATIC) -> bool:
        """Let any name through the host's list check: a workflow that brings its table along needs no file.

        The node itself refuses one that is gone, in one sentence. The host would repeat a sentence from here
        at every input that the decision needs.
        """
        return True

    @classmethod
    def execute(
        cls, model: Any, sensitivity: SensitivityTable | None = None, exact: bool = False, **inputs: Any
    ) -> io.NodeOutput:
        """Check everything before anything is patched; raises ValueError in one sentence."""
        order = Order.of(NODE, exact=exact, **inputs)
        tell_model(lambda: own_identity(model))
        automatic = Automatic(order.config, order.measure, model_of_executing_node())
        return io.NodeOutput(patched(NODE, model, order, automatic, Pages(), sensitivity))
