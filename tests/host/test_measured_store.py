"""Strange things in the folder of measured tables: the run goes on, and nothing of anybody is lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from host_inputs import patch_inputs

STEPS = 6


@pytest.fixture
def folder(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only table folder there is, below one that tests may put other things into; it is made by a run."""
    import folder_paths

    places = ([str(tmp_path / "tables")], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sencache", places)
    return tmp_path / "tables" / "measured"


@pytest.fixture
def measured(wan: Any, patch: Any, sample: Any, folder: Path) -> Path:
    """The model's own table, as a run has just measured it."""
    sample(patch(wan), steps=STEPS)
    (path,) = folder.glob("*.safetensors")
    return path


def rewritten(path: Path, target: Path, **metadata: str) -> bytes:
    """Write a table under another name with other metadata; return its bytes."""
    from sencache.calibration.table import load, save

    table = load(path)
    save(replace(table, metadata={**table.metadata, **metadata}), target)
    return target.read_bytes()


def codes(model: Any) -> list[str]:
    return [note.code for note in model.get_attachment("sencache").records[-1].notes]


def whys(model: Any) -> list[str]:
    return [note.values.get("why", "") for note in model.get_attachment("sencache").records[-1].notes]


def test_the_tables_deleted_with_their_folder_while_the_server_runs(wan, patch, sample, measured):
    from sencache.nodes.tables import files as table_files

    assert len(table_files.names()) == 1
    shutil.rmtree(measured.parent.parent)
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured" and measured.exists()


def test_a_file_whose_name_is_no_text_changes_nothing(wan, patch, sample, measured):
    from sencache.nodes.model_patch import SenCacheModelPatch

    before = SenCacheModelPatch.fingerprint_inputs(**patch_inputs())
    shutil.copy(measured, os.fsencode(measured.parent) + b"/\xff.safetensors")
    assert SenCacheModelPatch.fingerprint_inputs(**patch_inputs()) != before
