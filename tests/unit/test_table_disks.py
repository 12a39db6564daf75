"""Saving on real disks that are full or read-only, and two processes that save one table at the same time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sencache.calibration.table import load, save, to_bytes
from sencache.tests.toy_tables import build, parts
from small_disks import small_disk

SAVES = 60
SAVE_OFTEN = """
import sys, types
package = sys.modules["sencache"] = types.ModuleType("sencache")
package.__path__ = [sys.argv[1]]
from sencache.calibration.table import load, save
table = load(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[4])):
    save(table, sys.argv[3])
"""


def old_and_new():
    return build(parts()), build(parts() | {"sigma": torch.tensor([1.0, 0.75, 0.5])})


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_disk_that_takes_nothing_keeps_the_old_table(tmp_path, kind):
    old, new = old_and_new()
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "wan.safetensors"
        save(old, path)
        disk.fill()
        if kind == "read-only":
            disk.make_read_only()
        before = sorted(os.listdir(disk.path))
        with pytest.raises(OSError) as caught:
            save(new, path)
        assert caught.value.errno == (errno.ENOSPC if kind == "full" else errno.EROFS)
        assert sorted(os.listdir(disk.path)) == before
        assert load(path) == old


def test_two_processes_that_save_one_table_leave_a_whole_one_at_every_moment(tmp_path):
    root, target = Path(__file__).resolve().parents[2], tmp_path / "target.safetensors"
    tables = old_and_new()
    whole, savers = {to_bytes(table) for table in tables}, []
    for number, table in enumerate(tables):
        save(table, tmp_path / str(number))
        command = [sys.executable, "-c", SAVE_OFTEN, root, tmp_path / str(number), target, SAVES]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        savers.append(subprocess.Popen(list(map(str, command)), **pipes))
    try:
        assert [saver.stdout.readline() for saver in savers] == ["ready\n"] * 2
        for saver in savers:
            saver.stdin.write("go\n")
            saver.stdin.flush()
        seen = set()
        while any(saver.poll() is None for saver in savers):
            if target.exists():
                seen.add(target.read_bytes())
    finally:
        for saver in savers:
            saver.kill()
            saver.communicate()
    assert [saver.returncode for saver in savers] == [0, 0]
    assert seen <= whole and load(target) in tables
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "target.safetensors"]
