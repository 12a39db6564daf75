"""SenCache Model Patch: each sampling step of the patched model computes or reuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from comfy_api.latest import io

from ..caching.config import SenCacheConfig
from ..caching.notes import Note
from ..calibration.files import naming
from ..calibration.table import SensitivityTable, TableError
from .automatic import Automatic, Chosen, of_this_model, own_identity
from .host.accelerators import refuse_other_accelerator
from .host.api import aliases
from .host.model_identity import readable_name
from .host.queued_graph import model_of_executing_node
from .host.source import TableSource
from .host.table_sampling import number_of
from .host.wrappers import NODE, Patch
from .panel.live import Pages, tell_model
from .patch_inputs import folded_inputs, main_inputs, target_speed
from .refusals import refusal
from .tables import files as table_files
from .tables.choice import AUTOMATIC, CONNECTED, Choice, embedded_choice, file_choice
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
        cls,
        model: Any,
        table: str,
        speed_up: float,
        epsilon: float,
        n: int,
        rule: str,
        forecast: str,
        start_percent: float,
        end_percent: float,
        strict_percent: float,
        strict_epsilon: float,
        cache_device: str,
        any_model: bool,
        sensitivity: SensitivityTable | None = None,
        embedded_table: str = "",
        measure: bool = True,
        exact: bool = False,
    ) -> io.NodeOutput:
        """Check everything before anything is patched; raises ValueError in one sentence."""
        refuse_other_accelerator(NODE, model.model_options, model.wrappers)
        try:
            config = SenCacheConfig(
                rule=rule,
                forecast=forecast,
                epsilon=0.0 if exact else epsilon,
                speed_up=target_speed(speed_up),
                max_reuse=n,
                start_percent=start_percent,
                end_percent=end_percent,
                strict_percent=strict_percent,
                strict_epsilon=strict_epsilon,
                cache_device=cache_device,
            )
            source, chosen = _source(config, model, str(table), sensitivity, str(embedded_table), measure)
            if chosen is not None:
                with naming(chosen.name, "sensitivity table"):
                    number_of(chosen.table, "cfg", 1.0, low=0.0)  # refused here, not by the sampler
        except (TableError, ValueError) as error:
            raise ValueError(refusal(NODE, error)) from None
        tell_model(lambda: own_identity(model))
        if chosen is not None and not any_model:
            _refuse_another_model(model, chosen.table, chosen.name)
        notes = () if chosen is None else tuple(_notes(chosen.table, rule))
        patch = Patch(config, source, notes, audience=Pages())
        return io.NodeOutput(patch.apply(model))


def _source(
    config: SenCacheConfig,
    model: Any,
    name: str,
    sensitivity: SensitivityTable | None,
    embedded: str,
    measure: bool,
) -> tuple[TableSource, Choice | None]:
    """Return where runs find their table, and the table as far as it is known now.

    The connected one, the workflow's own, the chosen file, or the model's, which its first run may measure.
    Where every step is computed no table is needed, and none is missed.
    """
    if not config.reuses:
        return Automatic(config, measure, None), None
    if sensitivity is not None:
        connected = sensitivity.metadata.get("name", "from SenCache Calibrate")
        return _chosen(Choice(sensitivity, connected, CONNECTED))
    brought = embedded_choice(embedded, name) if embedded.strip() else None
    if brought is not None:
        return _chosen(brought)
    if name != AUTOMATIC:
        return _chosen(file_choice(name))
    source = Automatic(config, measure, model_of_executing_node())
    return source, source.of_model(model) if config.reuses else None


def _chosen(choice: Choice) -> tuple[TableSource, Choice]:
    return Chosen(choice), choice


def _refuse_another_model(model: Any, table: SensitivityTable, name: str) -> None:
    if not of_this_model(model, table):
        other = table.metadata.get("model", "an unnamed model")
        raise ValueError(
            f"{NODE}: the table '{name}' was measured on {other}, and this model is {readable_name(model)}; "
            "choose its own table, or switch any_model on to use this one all the same."
        )


def _notes(table: SensitivityTable, rule: str) -> Iterator[Note]:
    if rule == "joint" and table.mean("alignment") is None:
        yield Note("no_alignment")
