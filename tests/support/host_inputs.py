"""What host tests feed the nodes with."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from sencache.caching.config import SenCacheConfig
from sencache.demo.clip import prompt_embedding

LATENT_SHAPE = (1, 16, 8, 12, 12)


def conditioning(prompt: int) -> list:
    """Return ComfyUI's conditioning for one of the tiny model's prompts."""
    return [[prompt_embedding(prompt), {}]]


def empty_latent(batch: int = 1) -> dict[str, torch.Tensor]:
    """Return an empty latent of the tiny model's own size."""
    return {"samples": torch.zeros(batch, *LATENT_SHAPE[1:])}


def patch_inputs(**changed: Any) -> dict[str, Any]:
    """Return the Model Patch node's inputs: its defaults but for those named."""
    inputs: dict[str, Any] = dataclasses.asdict(SenCacheConfig())
    inputs["n"] = inputs.pop("max_reuse")
    return {"table": "automatic", "any_model": False, "exact": False, **inputs, **changed}


def panel_answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer a panel's question about a run as the server does; raises QuestionError."""
    from sencache.nodes.panel.preview import answer
    from sencache.nodes.panel.wire import PlanQuestion, read

    return answer(read(PlanQuestion, question)).plain()


def windowed(model: Any, schedule: str = "standard_static") -> Any:
    """Return a model that is sampled in windows of four latent frames, two of them shared with the next."""
    import comfy.context_windows as windows

    model = model.clone()
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule(schedule),
        fuse_method=windows.get_matching_fuse_method("pyramid"),
        context_length=4,
        context_overlap=2,
        dim=2,
    )
    return model


@dataclasses.dataclass(slots=True)
class Kept:
    """A place of tables that knows none of any model, and keeps in memory what a run measures."""

    table: Any = None
    measures: bool = True

    def find(self, guider: Any, timesteps: Any) -> None:
        """Find nothing."""

    def next_of(self, guider: Any, timesteps: Any, saved: Any) -> None:
        """Find nothing."""

    def save(self, table: Any) -> tuple[str, Any]:
        """Keep the table as it would be written."""
        from sencache.calibration.rounding import rounded

        self.table = rounded(table)
        return "measured", self.table
