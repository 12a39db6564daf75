"""Strange things in the folder of measured tables: the run goes on, and nothing of anybody is lost.

`python tests/survival/fuzz.py` tries two thousand such folders.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_store
import pytest
import torch
from forged_tables import forged
from host_inputs import patch_inputs

STEPS = 6
SEED = 20261124


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


def test_whatever_lies_there_a_run_succeeds_and_nothing_is_lost(host, wan, tmp_path):
    rng, answer = random.Random(SEED), hostile_store.answers(host, wan, tmp_path / "store")
    told = Counter(answer(rng) for _ in range(150))
    assert told["accepted"] > 75 and told["refused"] > 15, told


def test_a_table_of_somebody_else_under_our_name_stays(wan, patch, sample, measured):
    kept = rewritten(measured, measured, weights="0" * 16)
    patched = patch(wan, speed_up=2.0)
    for _ in range(2):
        sample(patched, steps=STEPS)
    assert measured.read_bytes() == kept
    assert [one.nfe for one in patched.get_attachment("sencache").records] == [STEPS, STEPS // 2]


def test_a_damaged_table_is_measured_anew_in_its_place(wan, patch, sample, measured):
    whole = measured.read_bytes()
    measured.write_bytes(whole[:-1])
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured" and measured.read_bytes() == whole


def test_a_measured_table_that_says_odd_things_is_passed_over(wan, patch, sample, measured):
    rewritten(measured, measured, cfg="nan")
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured" and len(list(measured.parent.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("kept", [slice(0, 3), slice(2, None)])
def test_a_measured_table_whose_rows_and_modes_disagree_is_measured_anew(kept, wan, patch, sample, measured):
    """Each run used to find what its modes lack, and then could not join the rows to it."""
    from sencache.calibration.table import load

    whole, table = measured.read_bytes(), load(measured)
    times, values = table.modes.timestep[kept], table.modes.values[:, :, kept]
    measured.write_bytes(forged(table, modes_timestep=times, output_modes=values))
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured" and measured.read_bytes() == whole
    sample(patched, steps=STEPS)
    assert not [code for code in codes(patched) if code.startswith(("measur", "unmeasur"))]


def test_a_measured_table_whose_rows_and_modes_disagree_is_refused_by_name(wan, patch, measured):
    from sencache.calibration.table import load

    table = load(measured)
    measured.write_bytes(forged(table, modes_timestep=table.modes.timestep - 3))
    sentence = "^SenCache Model Patch: .*rows and its output modes are of different timesteps"
    with pytest.raises(ValueError, match=sentence):
        patch(wan, table=f"measured/{measured.name}")


def test_a_measured_table_without_its_rows_is_passed_over(wan, patch, sample, measured):
    from sencache.calibration.table import load

    table = load(measured)
    rows = {"output_rms": None, "latent_drift": None, "alignment": torch.ones(1, len(table.timestep))}
    measured.write_bytes(forged(table, **rows))
    patched = patch(wan)
    sample(patched, steps=2 * STEPS)
    assert codes(patched)[-1] == "measured" and len(list(measured.parent.glob("*.safetensors"))) == 2


def test_the_tables_deleted_with_their_folder_while_the_server_runs(wan, patch, sample, measured):
    from sencache.nodes.tables import files as table_files

    assert len(table_files.names()) == 1
    shutil.rmtree(measured.parent.parent)
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured" and measured.exists()


def test_a_folder_that_leads_elsewhere_is_not_written_to(wan, patch, sample, folder, tmp_path):
    """Its tables would never be found: what lies outside the table folders is not read."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured_not_saved" and "a link" in whys(patched)[-1]
    assert list(elsewhere.iterdir()) == []


def test_a_lock_that_leads_elsewhere_is_not_followed(wan, patch, sample, folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("of somebody")
    folder.mkdir(parents=True)
    (folder / ".lock").symlink_to(text)
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert codes(patched)[-1] == "measured_not_saved" and "a link" in whys(patched)[-1]
    assert text.read_text() == "of somebody"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_file_whose_name_is_no_text_changes_nothing(wan, patch, sample, measured):
    from sencache.nodes.model_patch import SenCacheModelPatch

    before = SenCacheModelPatch.fingerprint_inputs(**patch_inputs())
    shutil.copy(measured, os.fsencode(measured.parent) + b"/\xff.safetensors")
    assert SenCacheModelPatch.fingerprint_inputs(**patch_inputs()) != before


def test_the_table_that_is_used_outlives_newer_ones(wan, patch, sample, measured, monkeypatch):
    """As of a base model beside many fine-tunes, each sampled once."""
    from sencache.nodes.tables import own

    monkeypatch.setattr(own, "MOST_FILES", 3)
    os.utime(measured, (1e9, 1e9))
    written = measured.stat().st_mtime_ns
    sample(patch(wan), steps=STEPS)  # uses it
    for number in range(4):
        other = measured.with_name(f"other {number}.safetensors")
        rewritten(measured, other, weights=f"{number:016}")
        os.utime(other, (2e9, 1e9 + 1 + number))  # read later, as at every start, but never used
    table = own.tables.load(measured)
    own.save(replace(table, metadata={**table.metadata, "weights": "f" * 16}))
    assert measured.exists() and measured.stat().st_mtime_ns == written
    assert len(list(measured.parent.glob("*.safetensors"))) == 3


STRANGE = (b"", b"[1]", b"{", b'{"x": "y"}', b'{"../x": 1e999}', b'{"x": 1%s}' % (b"0" * 400), b"[" * 100_000)


@pytest.mark.parametrize("notes", STRANGE)
def test_strange_notes_of_what_was_used_change_nothing(wan, patch, sample, measured, notes):
    from sencache.nodes.tables.usage import NOTES, last_used

    (measured.parent / NOTES).write_bytes(notes)
    sample(patch(wan), steps=STEPS)
    assert last_used(measured.parent)[measured] > measured.stat().st_mtime
    assert measured.name in (measured.parent / NOTES).read_text()


def test_a_dangling_link_does_not_keep_the_store_from_its_bound(wan, patch, sample, measured, monkeypatch):
    from sencache.nodes.tables import own

    monkeypatch.setattr(own, "MOST_FILES", 3)
    for number in range(6):
        rewritten(measured, measured.with_name(f"other {number}.safetensors"), weights=f"{number:016}")
    (measured.parent / "gone.safetensors").symlink_to(measured.parent / "nothing")
    measured.unlink()
    sample(patch(wan), steps=STEPS)
    assert len([path for path in measured.parent.glob("*.safetensors") if path.exists()]) == 3


def test_files_of_others_do_not_crowd_out_what_was_measured(wan, patch, sample, measured, monkeypatch):
    from sencache.nodes.tables import own

    monkeypatch.setattr(own, "MOST_FILES", 3)
    kept = measured.with_name("kept.safetensors")
    rewritten(measured, kept, weights="0" * 16)
    for number in range(4):
        (measured.parent / f"note {number}.safetensors").write_text("no table")
    measured.unlink()
    sample(patch(wan), steps=STEPS)
    assert kept.exists() and measured.exists() and len(list(measured.parent.glob("note *"))) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_a_full_store_does_not_hold_a_run_up(wan, patch, sample, measured, monkeypatch):
    from sencache.nodes.tables import own

    monkeypatch.setattr(own, "MOST_FILES", 1)
    pipe, read = measured.parent / "pipe.safetensors", []

    def wait_for_a_reader() -> None:
        with pipe.open("wb"):
            read.append(time.monotonic())

    os.mkfifo(pipe)
    measured.unlink()
    writer = threading.Thread(target=wait_for_a_reader)
    writer.start()
    sample(patch(wan), steps=STEPS)
    ended = time.monotonic()
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    writer.join()
    assert read[0] >= ended and measured.exists()
