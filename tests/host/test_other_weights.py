"""A table of another fine-tune is used where nothing better is there, and each run that does so says so."""

from __future__ import annotations

from typing import Any

import pytest

SHIPPED = "tiny_wan.safetensors"


@pytest.fixture
def tuned(wan: Any) -> Any:
    """A fine-tune: the same architecture with other weights, whose own table nobody has."""
    for weight in wan.model.diffusion_model.parameters():
        weight.data = weight.data * 1.001
    return wan


def connected() -> dict[str, Any]:
    from sencache.calibration.table import load
    from sencache.nodes.tables.files import SHIPPED as FOLDER

    return {"sensitivity": load(FOLDER / SHIPPED)}


def embedded() -> dict[str, Any]:
    from sencache.nodes.tables.embedded import to_text

    return {"embedded_table": to_text(connected()["sensitivity"], SHIPPED)}


WAYS = {
    "automatic, not measuring": lambda: {"measure": False},
    "the rule paper": lambda: {"rule": "paper"},
    "the rule joint": lambda: {"rule": "joint"},
    "the rule joint, not measuring": lambda: {"rule": "joint", "measure": False},
    "by name": lambda: {"table": SHIPPED},
    "by name, the rule paper": lambda: {"table": SHIPPED, "rule": "paper"},
    "connected": connected,
    "embedded": embedded,
}


def codes(model: Any) -> list[str]:
    return [note.code for note in model.get_attachment("sencache").records[-1].notes]


@pytest.mark.parametrize("way", WAYS)
def test_a_table_of_other_weights_is_named_however_it_was_chosen(way, tuned, patch, sample):
    patched = patch(tuned, **WAYS[way]())
    sample(patched, steps=4)
    assert codes(patched).count("other_weights") == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_models_own_table_is_used_without_that_note(way, wan, patch, sample):
    patched = patch(wan, **WAYS[way]())
    sample(patched, steps=4)
    assert "other_weights" not in codes(patched)


def test_a_table_that_does_not_tell_its_weights_may_be_of_these(tuned, patch, sample):
    from dataclasses import replace

    table = connected()["sensitivity"]
    metadata = {key: value for key, value in table.metadata.items() if key != "weights"}
    patched = patch(tuned, sensitivity=replace(table, metadata=metadata))
    sample(patched, steps=4)
    assert "other_weights" not in codes(patched)
