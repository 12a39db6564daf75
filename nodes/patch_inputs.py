"""The inputs of SenCache Model Patch: one knob, one switch, and what is folded away."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..caching.config import CACHE_DEVICES, FORECASTS, RULES, SenCacheConfig
from .host.api import advanced
from .tables import files as table_files
from .tables.choice import AUTOMATIC

DEFAULTS = SenCacheConfig()
DEFAULT_SPEED_UP = 2.0
MOST_SPEED_UP = 10.0


def main_inputs() -> list[Any]:
    """Return the two inputs that an artist uses."""
    return [
        io.Float.Input(
            "speed_up",
            default=DEFAULT_SPEED_UP,
            min=0.0,
            max=MOST_SPEED_UP,
            step=0.1,
            round=0.01,
            tooltip="How many times fewer steps to compute: at 2 half of them, those that matter most. It "
            "stays when steps, sampler or model change. 1 computes every step. 0 leaves it to the allowed "
            "error, epsilon.",
        ),
        io.Boolean.Input(
            "exact",
            default=False,
            optional=True,
            label_on="final (exact)",
            label_off="draft (fast)",
            tooltip="Final computes every step, as if this node were not there, and keeps the speed for the "
            "next draft.",
        ),
    ]


def folded_inputs() -> list[Any]:
    """Return the inputs that are folded away where the host can."""
    return [advanced(widget) for widget in (*_table_inputs(), *_paper_inputs(), *_range_inputs(), *_others())]


def _table_inputs() -> list[Any]:
    return [
        io.Combo.Input(
            "table",
            options=[AUTOMATIC, *table_files.names()],
            default=AUTOMATIC,
            tooltip="The model's sensitivity table. 'automatic' takes the one measured on this model, and "
            "lets the model's first run measure one.",
        )
    ]


def _paper_inputs() -> list[Any]:
    return [
        io.Float.Input(
            "epsilon",
            default=DEFAULTS.epsilon,
            min=0.0,
            max=2.0,
            step=0.0005,  # the frontend keeps as many digits as this has
            round=0.0001,
            tooltip="Where the target speed is 0: the predicted error allowed in the finished latent, whose "
            "own size is about 1. Up to 0.03 most clips look the same. At 0 every step is computed, whatever "
            "the target speed. (Under the rules joint and paper: the predicted change of the network's "
            "output.)",
        ),
        io.Int.Input(
            "n",
            default=DEFAULTS.max_reuse,
            min=0,
            max=31,
            tooltip="The most steps skipped in a row before one is computed again. At 0 every step is "
            "computed, whatever the target speed.",
        ),
        io.Combo.Input(
            "rule",
            options=list(RULES),
            default=DEFAULTS.rule,
            tooltip="What decides. 'plan' computes where, as measured, a skipped step would leave most error "
            "in the result; 'paper' compares the published score with epsilon; 'joint' does so too, but "
            "knows that the changes by latent and by time partly cancel.",
        ),
        io.Combo.Input(
            "forecast",
            options=list(FORECASTS),
            default=DEFAULTS.forecast,
            tooltip="What takes a skipped step's place. 'linear' follows the line through the last two "
            "computed outputs; 'hold' repeats the last one, as published.",
        ),
    ]


def _range_inputs() -> list[Any]:
    percent: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.01}
    return [
        io.Float.Input(
            "start_percent",
            default=DEFAULTS.start_percent,
            tooltip="Compute every step before this share of the sampling.",
            **percent,
        ),
        io.Float.Input(
            "end_percent",
            default=DEFAULTS.end_percent,
            tooltip="Compute every step from this share of the sampling on.",
            **percent,
        ),
        io.Float.Input(
            "strict_percent",
            default=DEFAULTS.strict_percent,
            tooltip="Before this share of the sampling strict_epsilon holds instead of epsilon; the paper "
            "uses 0.2. Not for the rule plan.",
            **percent,
        ),
        io.Float.Input(
            "strict_epsilon",
            default=DEFAULTS.strict_epsilon,
            min=0.0,
            max=2.0,
            step=0.005,
            round=0.0001,
            tooltip="Epsilon for the first steps, up to strict_percent.",
        ),
    ]


def _others() -> list[Any]:
    return [
        io.Combo.Input(
            "cache_device",
            options=list(CACHE_DEVICES),
            default=DEFAULTS.cache_device,
            tooltip="Where stored outputs wait: beside the model, or in main memory where graphics memory is "
            "short.",
        ),
        io.Boolean.Input(
            "any_model",
            default=False,
            tooltip="Accept a table that was measured on another model. Nothing can be predicted with it.",
        ),
        io.String.Input(
            "embedded_table",
            default="",
            optional=True,
            tooltip="The table itself as text, so that whoever opens the workflow needs no file. The panel's "
            "button 'Embed table in workflow' fills it in.",
        ),
        io.Boolean.Input(
            "measure",
            default=True,
            optional=True,
            tooltip="Where 'automatic' finds no table of the model, the first run measures one: that run is "
            "exact and not faster, the next ones are. Off: such a model is refused.",
        ),
    ]
