"""Puts SenCache on a model: what its settings ask for, checked before anything is patched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..caching.config import SenCacheConfig
from ..caching.notes import Note
from ..calibration.files import naming
from ..calibration.table import SensitivityTable, TableError
from .automatic import Automatic, Chosen, of_this_model
from .host.accelerators import refuse_other_accelerator
from .host.audience import Audience
from .host.model_identity import readable_name
from .host.source import TableSource
from .host.table_sampling import number_of
from .host.wrappers import Patch
from .refusals import refusal
from .tables.choice import AUTOMATIC, CONNECTED, Choice, embedded_choice, file_choice


def target_speed(speed_up: Any) -> Any:
    """Return the target speed that an input asks for: nothing is slower than computing every step.

    What is no number is left to the settings, which refuse it.
    """
    number = isinstance(speed_up, int | float)
    return 1.0 if number and 0 < speed_up < 1 else speed_up


@dataclass(frozen=True, slots=True)
class Order:
    """What an artist has set: how to decide, and with which table.

    `table` is a listed file's name or 'automatic', `embedded` a table as text, which wins over it.
    """

    config: SenCacheConfig
    table: str = AUTOMATIC
    embedded: str = ""
    measure: bool = True
    any_model: bool = False

    @classmethod
    def of(
        cls,
        node: str,
        *,
        speed_up: float,
        epsilon: float,
        n: int,
        exact: bool,
        table: str = AUTOMATIC,
        embedded_table: str = "",
        measure: bool = True,
        any_model: bool = False,
        **settings: Any,
    ) -> Order:
        """Read a node's inputs; raises ValueError in one sentence of the node."""
        try:
            config = SenCacheConfig(
                epsilon=0.0 if exact else epsilon,
                speed_up=target_speed(speed_up),
                max_reuse=n,
                **settings,
            )
        except ValueError as error:
            raise ValueError(refusal(node, error)) from None
        return cls(config, str(table), str(embedded_table), measure, any_model)


def patched(
    node: str,
    model: Any,
    order: Order,
    automatic: Automatic,
    audience: Audience,
    connected: SensitivityTable | None = None,
    together: bool = True,
) -> Any:
    """Return a patched clone of a ModelPatcher; raises ValueError in one sentence of the `node`.

    `automatic` finds the model's own table, where the order names none; a `connected` table wins over both.
    The ranks of a process group sample `together`, or each for itself.
    """
    refuse_other_accelerator(node, model.model_options, model.wrappers)
    try:
        source, chosen = _source(model, order, automatic, connected)
        if chosen is not None:
            with naming(chosen.name, "sensitivity table"):
                number_of(chosen.table, "cfg", 1.0, low=0.0)  # refused here, not by the sampler
    except (TableError, ValueError) as error:
        raise ValueError(refusal(node, error)) from None
    if chosen is not None and not order.any_model:
        _refuse_another_model(node, model, chosen)
    notes = () if chosen is None else tuple(_notes(chosen.table, order.config.rule))
    return Patch(order.config, source, notes, audience=audience, together=together).apply(model)


def _source(
    model: Any, order: Order, automatic: Automatic, connected: SensitivityTable | None
) -> tuple[TableSource, Choice | None]:
    """Return where runs find their table, and the table as far as it is known now.

    The connected one, the workflow's own, the chosen file, or the model's, which its first run may measure.
    Where every step is computed no table is needed, and none is missed.
    """
    if not order.config.reuses:
        return automatic, None
    if connected is not None:
        name = connected.metadata.get("name", "from SenCache Calibrate")
        return _chosen(Choice(connected, name, CONNECTED))
    brought = embedded_choice(order.embedded, order.table) if order.embedded.strip() else None
    if brought is not None:
        return _chosen(brought)
    if order.table != AUTOMATIC:
        return _chosen(file_choice(order.table))
    return automatic, automatic.known(model)


def _chosen(choice: Choice) -> tuple[TableSource, Choice]:
    return Chosen(choice), choice


def _refuse_another_model(node: str, model: Any, chosen: Choice) -> None:
    if not of_this_model(model, chosen.table):
        other, this = chosen.table.metadata.get("model", "an unnamed model"), readable_name(model)
        raise ValueError(
            f"{node}: the table '{chosen.name}' was measured on {other}, and this model is {this}; "
            "choose its own table, or switch any_model on to use this one all the same."
        )


def _notes(table: SensitivityTable, rule: str) -> Iterator[Note]:
    if rule == "joint" and table.mean("alignment") is None:
        yield Note("no_alignment")
