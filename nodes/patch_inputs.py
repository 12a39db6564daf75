"""The advanced inputs of SenCache Model Patch."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..caching.config import CACHE_DEVICES, FORECASTS, RULES, SenCacheConfig
from .host.api import advanced

DEFAULTS = SenCacheConfig()


def advanced_inputs() -> list[Any]:
    """Return the inputs that are folded away."""
    percent: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.01}
    inputs = [
        io.Combo.Input(
            "rule",
            options=list(RULES),
            default=DEFAULTS.rule,
            tooltip="What decides. 'plan' computes where, as measured, a reused step would leave most error "
            "in the result; 'paper' compares the published score with epsilon; 'joint' does so too, but "
            "knows that the changes by latent and by time partly cancel.",
        ),
        io.Combo.Input(
            "forecast",
            options=list(FORECASTS),
            default=DEFAULTS.forecast,
            tooltip="What a reused step returns. 'linear' follows the line through the last two computed "
            "outputs; 'hold' repeats the last one, as published.",
        ),
        io.Float.Input(
            "start_percent",
            default=DEFAULTS.start_percent,
            tooltip="Always compute before this share of the sampling.",
            **percent,
        ),
        io.Float.Input(
            "end_percent",
            default=DEFAULTS.end_percent,
            tooltip="Always compute from this share of the sampling on.",
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
            tooltip="Accept a table that was measured on another model. Its numbers may not fit.",
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
    return [advanced(widget) for widget in inputs]
