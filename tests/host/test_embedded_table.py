"""A workflow that brings its table along, on a server that has no file, the same file, or another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_inputs import patch_inputs
from sencache.calibration import table as tables
from sencache.nodes.tables.embedded import to_text

SHIPPED = Path(__file__).resolve().parent.parent.parent / "tables"


@pytest.fixture
def text():
    """The shipped table as text, under a name that no file has."""
    return to_text(tables.load(SHIPPED / "tiny_wan.safetensors"), "shared.safetensors")


@pytest.fixture
def local(host):
    """Where a local file of that name would be."""
    from sencache.nodes.tables.files import save_target

    path = save_target("shared").path
    yield path
    path.unlink(missing_ok=True)


def choice(text, selected="automatic"):
    """Choose as the node does."""
    from sencache.nodes.tables.choice import embedded_choice

    return embedded_choice(text, selected)


def test_without_a_file_the_embedded_table_gives_the_latent_of_the_file(wan, sample, text):
    from sencache.nodes.model_patch import SenCacheModelPatch

    settings = {"table": "tiny_wan.safetensors", "speed_up": 2.0}
    by_file = SenCacheModelPatch.execute(wan, **patch_inputs(**settings)).args[0]
    gone = {**settings, "table": "shared.safetensors"}
    by_text = SenCacheModelPatch.execute(wan, **patch_inputs(**gone), embedded_table=text).args[0]
    assert SenCacheModelPatch.validate_inputs(table=gone["table"]) is True
    assert sample(by_text, steps=8).equal(sample(by_file, steps=8))


def test_the_same_local_file_is_used_and_another_one_is_not(local, text):
    assert choice(text).source == "embedded"
    tables.save(tables.load(SHIPPED / "tiny_wan.safetensors"), local)
    same = choice(text)
    assert (same.source, same.name, same.notes) == ("file", "shared.safetensors", ())
    tables.save(tables.load(SHIPPED / "tiny_ltxv.safetensors"), local)
    other = choice(text)
    assert other.source == "embedded" and [note.code for note in other.notes] == ["embedded_differs"]
    assert other.table.metadata["model"].startswith("WAN21")


def test_another_file_that_was_chosen_by_name_wins(local, text):
    assert choice(text, "tiny_wan.safetensors") is None
    assert choice(text, "gone.safetensors").source == "embedded"


def test_a_damaged_text_is_refused_before_anything_runs(wan, text):
    from sencache.nodes.model_patch import SenCacheModelPatch

    with pytest.raises(ValueError) as caught:
        SenCacheModelPatch.execute(wan, **patch_inputs(), embedded_table=text[:-8])
    assert str(caught.value) == "SenCache Model Patch: The embedded table is damaged; embed it again."
