"""A save that is cut off at any point leaves a whole file, the old or the new, under the final name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sencache.calibration import files
from sencache.calibration.table import load, save, to_bytes
from sencache.tests.toy_tables import build, parts

CUTS = [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
ROUNDS = 25


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wan.safetensors"


def old_and_new():
    return build(parts()), build(parts() | {"sigma": torch.tensor([1.0, 0.75, 0.5])})


@pytest.mark.parametrize("old_exists", [True, False], ids=["replacing", "new"])
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: type(cut).__name__)
@pytest.mark.parametrize("point", ["write", "fsync", "replace"])
def test_a_save_cut_off_leaves_what_was_there_before(monkeypatch, path, point, cut, old_exists):
    old, new = old_and_new()
    if old_exists:
        save(old, path)

    def stop(*_):
        raise cut

    if point == "write":
        monkeypatch.setattr(files, "open", lambda name, mode: HalfWriter(name, mode, cut), raising=False)
    else:
        monkeypatch.setattr(os, point, stop)
    with pytest.raises(type(cut)):
        save(new, path)
    monkeypatch.undo()
    assert os.listdir(path.parent) == (["wan.safetensors"] if old_exists else [])
    if old_exists:
        assert path.read_bytes() == to_bytes(old)
    save(new, path)
    assert load(path) == new


class HalfWriter:
    """A file on a disk that takes half of the first write and then stops."""

    def __init__(self, name, mode, cut):
        self.file, self.cut = open(name, mode), cut

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        raise self.cut


def test_the_final_name_changes_only_after_the_whole_new_file_is_on_the_disk(monkeypatch, path):
    old, new = old_and_new()
    save(old, path)
    seen = []
    replace, fsync = os.replace, os.fsync

    def watched_fsync(handle):
        seen.append(("fsync", path.read_bytes() == to_bytes(old), os.fstat(handle).st_size))
        fsync(handle)

    def watched_replace(source, target):
        source = Path(source)
        seen.append(("replace", source.read_bytes() == to_bytes(new), source.parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    save(new, path)
    assert seen == [("fsync", True, len(to_bytes(new))), ("replace", True, True)]
    assert path.read_bytes() == to_bytes(new)


def test_a_disk_that_refuses_is_an_os_error(path):
    path.mkdir()
    with pytest.raises(OSError):
        save(build(parts()), path)
    assert os.listdir(path.parent) == ["wan.safetensors"] and path.is_dir()


@pytest.mark.skipif(os.name == "nt", reason="Windows files have no such permissions")
def test_a_saved_table_can_be_read_by_whom_the_umask_allows(path):
    before = os.umask(0o022)
    try:
        save(build(parts()), path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("w" * (255 - len(".safetensors")) + ".safetensors")
    save(build(parts()), path)
    assert load(path) == build(parts())


SAVE_FOREVER = """
import itertools, os, sys, types
package = sys.modules["sencache"] = types.ModuleType("sencache")
package.__path__ = [sys.argv[1]]
from sencache.calibration import files
from sencache.calibration.table import load, save
first, second, target = load(sys.argv[2]), load(sys.argv[3]), sys.argv[4]
parent = os.getpid()
while os.getpid() == parent:
    child = os.fork()
    if child:
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)
    else:
        for table in itertools.cycle([first, second]):
            if os.getppid() != parent:
                break
            save(table, target)
"""


def wait_for_another_of(glob, pattern):
    """Wait until there is a file that was not there before, or for a second."""
    known, stop = set(glob(pattern)), time.monotonic() + 1.0
    while set(glob(pattern)) <= known and time.monotonic() < stop:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start savers fast")
def test_a_process_killed_again_and_again_while_saving_never_leaves_a_partial_file(tmp_path):
    root = Path(__file__).resolve().parents[2]
    first, second, target = (tmp_path / name for name in ("first", "second", "target"))
    tables = old_and_new()
    for table, name in zip(tables, (first, second), strict=True):
        save(table, name)
    whole = {to_bytes(table) for table in tables}
    save(tables[0], target)
    command = [sys.executable, "-c", SAVE_FOREVER, str(root), str(first), str(second), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as saver:
        try:
            for round_ in range(ROUNDS):
                child = int(saver.stdout.readline())
                time.sleep(0.004 + 0.0007 * round_)
                if round_ % 2:
                    wait_for_another_of(tmp_path.glob, "*.saving")
                os.kill(child, signal.SIGKILL)
                assert saver.stdout.readline() == "dead\n"
                assert target.read_bytes() in whole
        finally:
            saver.kill()
    assert list(tmp_path.glob("*.saving"))  # some kills came in the middle of a save
    assert load(target) in tables
