"""A table folder on a full or read-only disk: one sentence of Calibrate, and Model Patch reads on."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from comfy_host import ROOT
from host_inputs import conditioning, empty_latent
from small_disks import small_disk

REASONS = {"full": "No space left on device", "read-only": "Read-only file system"}


@pytest.fixture(params=REASONS)
def disk(host, request, tmp_path, monkeypatch):
    """A disk that takes nothing more, as the user's table folder; it holds the shipped table's copy."""
    import folder_paths

    with small_disk(tmp_path / "disk", pages=24) as mounted:
        shutil.copy(ROOT / "tables" / "tiny_wan.safetensors", mounted.path / "mine.safetensors")
        mounted.fill()
        if request.param == "read-only":
            mounted.make_read_only()
        folders, extensions = folder_paths.folder_names_and_paths["sencache"]
        places = ([str(mounted.path), *folders], extensions)
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "sencache", places)
        yield SimpleNamespace(path=mounted.path, reason=REASONS[request.param])


def test_a_calibration_that_can_not_be_saved_says_so_and_leaves_no_file(disk, wan):
    from sencache.nodes.calibrate import SenCacheCalibrate

    before = sorted(path.name for path in disk.path.iterdir())
    with pytest.raises(ValueError) as caught:
        SenCacheCalibrate.execute(
            model=wan, positive=conditioning(2), negative=conditioning(0), latent=empty_latent(), steps=3,
            sampler="euler", scheduler="simple", samples=1, cfg=5.0, seed=3, table_name="new",
        )  # fmt: skip
    assert str(caught.value) == f"SenCache Calibrate: the table 'new' can't be saved: {disk.reason}."
    assert sorted(path.name for path in disk.path.iterdir()) == before


def test_a_table_on_that_disk_is_used_like_any_other(disk, wan, patch, sample, records):
    patched = patch(wan, table="mine.safetensors", epsilon=0.1)
    sample(patched, steps=10)
    assert 0 < records(patched)[0].nfe < 10
