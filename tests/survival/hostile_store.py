"""What may lie in `models/sencache/measured`, and that a run of a model without a table survives it all."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile
import torch
from forged_tables import forged
from host_inputs import conditioning, patch_inputs
from kept_tables import check_kept, held

STEPS = 5
LATENT = (1, 16, 2, 8, 8)
HERE, THERE = "tables", "elsewhere"  # the table folder of a case, and what no run may touch
TOLD = {"measured", "measured_rest", "measuring_rest", "measured_not_saved"}


class Store:
    """A table folder of its own, that cases fill and runs measure into."""

    def __init__(self, nodes: Any, model: Any, folder: Path) -> None:
        self.base, self.model, self._nodes = folder, model, nodes
        self.tables = folder / HERE
        self.measured, self.elsewhere = self.tables / "measured", folder / THERE
        with self.alone():
            self.plain = self.sample(model)
            self.sample(self.patched())
            (path,) = self.measured.glob("*.safetensors")
            self.name, self.data = path.name, path.read_bytes()
            path.unlink()
            self.sample(self.patched(), cfg=1.0)
            (path,) = self.measured.glob("*.safetensors")
            self.unguided = path.read_bytes()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let the host know this table folder and no other one, and leave nothing of it behind."""
        import folder_paths

        kept = folder_paths.folder_names_and_paths["sencache"]
        folder_paths.folder_names_and_paths["sencache"] = ([str(self.tables)], kept[1])
        folder_paths.filename_list_cache.pop("sencache", None)
        self.measured.mkdir(parents=True)
        self.elsewhere.mkdir()
        try:
            yield
        finally:
            folder_paths.folder_names_and_paths["sencache"] = kept
            folder_paths.filename_list_cache.pop("sencache", None)
            shutil.rmtree(self.base)

    def patched(self, **inputs: Any) -> Any:
        """Patch the model through the node, as it is dropped in but for a wished speed."""
        from sencache.nodes.model_patch import SenCacheModelPatch

        SenCacheModelPatch.fingerprint_inputs(**patch_inputs())
        return SenCacheModelPatch.execute(self.model, **patch_inputs(speed_up=1.5, **inputs)).args[0]

    def sample(self, model: Any, cfg: float = 5.0) -> torch.Tensor:
        """Sample a few steps of a small latent with the host's own node."""
        node = self._nodes.NODE_CLASS_MAPPINGS["KSampler"]()
        given = (conditioning(2), conditioning(0), {"samples": torch.zeros(LATENT)})
        return node.sample(model, 1, STEPS, cfg, "euler", "simple", *given)[0]["samples"]


def damaged(rng: random.Random, store: Store) -> None:
    """Our own table, damaged in any way, under its own name or another."""
    from sencache.tests.unit.test_table_fuzz import MUTATIONS

    put(store.measured / own_or_other(rng, store), rng.choice(MUTATIONS)(rng, store.data))


def foreign(rng: random.Random, store: Store) -> None:
    """A whole table that is not of a run of this model, under this one's name or another."""
    other = rng.choice([{"weights": "0" * 16}, {"fingerprint": "0" * 16}, {"source": ""}, {"source": "x"}])
    put(store.measured / own_or_other(rng, store), retold(store.data, other))


def odd_metadata(rng: random.Random, store: Store) -> None:
    """A table of this model that says odd things of itself."""
    keys = ("cfg", "steps", "sampler", "file", "model", "name", "shift", "multiplier", "sampling_settings",
            "latent_shape", "schedule", "prediction", "loras")  # fmt: skip
    words = [text for text in map(str, (hostile.value(rng) for _ in range(3))) if text.isprintable()]
    changed = {rng.choice(keys): word[:4000] for word in words if not set(word) & {"\ud800"}}
    put(store.measured / own_or_other(rng, store), retold(store.data, changed))


def odd_numbers(rng: random.Random, store: Store) -> None:
    """A table of this model with numbers that no run of it gives, or of another part of the sampling."""
    from sencache.calibration.modes import OutputModes
    from sencache.calibration.table import SensitivityTable, from_bytes, to_bytes

    table = from_bytes(rng.choice([store.data, store.unguided]))
    modes, rows, times = table.modes, dict(table.rows), table.modes.timestep
    kind = rng.randrange(7)
    start = rng.randrange(len(times) - 1)
    kept = slice(start, rng.randrange(start + 2, len(times) + 1))
    moved = times + rng.choice([-1e5, -300.0, 300.0, 1e5])
    if kind == 0:
        table = replace(table, modes=OutputModes(times, modes.values * rng.choice([0.0, 1e-30, 1e5])))
    elif kind == 1:
        modes = OutputModes(times[kept], modes.values[:, :, kept])
        rows = {name: row[:, kept] for name, row in rows.items()}
        table = SensitivityTable(times[kept], table.sigma[kept], rows, table.metadata, modes)
    elif kind == 2:
        rows = {name: rows["output_rms"] for name in ("latent_sensitivity", "time_sensitivity")}
        table = replace(table, rows=rows, modes=None)
    elif kind == 3:
        table = replace(table, timestep=moved, modes=OutputModes(moved, modes.values))
    elif kind == 4:
        table = replace(table, rows={rng.choice(["output_rms", "alignment"]): rows["output_rms"].clamp(0, 1)})
    elif kind == 5:
        table = replace(table, modes=OutputModes(times, modes.values[:1, :1]))
    put(store.measured / own_or_other(rng, store), to_bytes(table) if kind < 6 else disagreeing(rng, table))


def disagreeing(rng: random.Random, table: Any) -> bytes:
    """Return a table whose rows and modes are not of the same model times, under a checksum that fits."""
    times, values = table.modes.timestep, table.modes.values
    start = rng.randrange(1, len(times) - 1)
    return rng.choice(
        [
            lambda: forged(table, modes_timestep=times[start:], output_modes=values[:, :, start:]),
            lambda: forged(table, modes_timestep=times + rng.choice([-300.0, 300.0])),
            lambda: forged(table, timestep=times + rng.choice([-300.0, 300.0])),
        ]
    )()


def linked(rng: random.Random, store: Store) -> None:
    """A link where a table or the lock is expected: to a table, a text, a folder, nothing, itself."""
    name = rng.choice([own_or_other(rng, store), ".lock"])
    targets = ("table.safetensors", "text.txt", ".", "nothing", "/dev/zero", store.measured / name)
    link(store.measured / name, store.elsewhere / rng.choice(targets))


def no_file(rng: random.Random, store: Store) -> None:
    """A folder or a pipe where a file is expected."""
    path = store.measured / rng.choice([own_or_other(rng, store), ".lock"])
    os.mkfifo(path) if hasattr(os, "mkfifo") and rng.random() < 0.5 else path.mkdir()
    if rng.random() < 0.5:
        put(store.measured / other_name(rng), retold(store.data, {"weights": "1" * 16}))


def huge(rng: random.Random, store: Store) -> None:
    """A file far larger than a table: of nothing, or a whole table with something after it."""
    path = store.measured / own_or_other(rng, store)
    put(path, rng.choice([b"", store.data]))
    os.truncate(path, rng.choice([(1 << 20) + 1, 1 << 24, 1 << 33]))


def crowd(rng: random.Random, store: Store) -> None:
    """More files than are kept, ours or not, older or from the future, beside what can't be read."""
    ours = rng.random() < 0.5
    when = rng.choice([1e9, 4e9])
    for number in range(66):
        data = retold(store.data, {"weights": f"{number:016}"}) if ours else b"no table"
        path = store.measured / f"{'ours' if ours else 'not'} {number}.safetensors"
        put(path, data)
        os.utime(path, (when + number, when + number))
    if rng.random() < 0.7:
        rng.choice([linked, no_file, damaged])(rng, store)


def folder_itself(rng: random.Random, store: Store) -> None:
    """The folder gone, or a file or a link in its place; or all of the tables gone after they were listed."""
    from sencache.nodes.tables import files as table_files

    table_files.names()
    kind = rng.randrange(4)
    shutil.rmtree(store.tables if kind == 0 else store.measured)
    if kind == 1:
        put(store.measured, rng.choice([b"", store.data]))
    elif kind == 2:
        link(store.measured, store.elsewhere / rng.choice([".", "nothing", "text.txt"]))


FILLED = (damaged, foreign, odd_metadata, odd_numbers, linked, no_file, huge, crowd, folder_itself)
WEIGHTS = (8, 3, 4, 4, 4, 2, 1, 1, 1)


def put(path: Path, data: bytes) -> None:
    """Write a file, where its name is one that the disk takes."""
    try:
        path.write_bytes(data)
    except OSError as error:
        assert error.strerror in ("File name too long", "Is a directory"), error


def link(path: Path, target: Path) -> None:
    """Make a link in place of whatever is there."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def other_name(rng: random.Random) -> str:
    """Return a table's name that a disk may hold, a hostile one or bytes that are no text."""
    stem = hostile.name(rng).replace("/", "").replace("\x00", "").replace("\ud800", "\udcff")
    return f"{stem[:200]}.safetensors"


def own_or_other(rng: random.Random, store: Store) -> str:
    """Return the name that the model's own table has, or another."""
    return store.name if rng.random() < 0.5 else other_name(rng)


def retold(data: bytes, changed: dict[str, str]) -> bytes:
    """Return a whole table with other metadata."""
    from sencache.calibration.table import from_bytes, to_bytes

    table = from_bytes(data)
    return to_bytes(replace(table, metadata={**table.metadata, **changed}))


def answers(nodes: Any, model: Any, folder: Path) -> Callable[[random.Random], str]:
    """Return a function that fills the folder in one way, runs, and checks what was promised."""
    store = Store(nodes, model, folder)

    def answer(rng: random.Random) -> str:
        with store.alone():
            put(store.elsewhere / "table.safetensors", retold(store.data, {"steps": "7"}))
            put(store.elsewhere / "text.txt", b"a text of somebody")
            fill = rng.choices(FILLED, WEIGHTS)[0]
            fill(rng, store)
            measure = rng.choice([True, True, True, False, hostile.value(rng)])
            before = held(store.base)
            told = outcome(store, measure)
            check_kept(store, before, crowded=fill is crowd)
            return told

    return answer


def outcome(store: Store, measure: Any) -> str:
    """Run once; return `accepted` where it was measured or planned, `refused` where a note says why not."""
    from sencache.caching.report import as_text

    try:
        patched = store.patched(measure=measure)
        result = store.sample(patched)
    except ValueError as error:
        assert not measure and hostile.sentence(str(error), "SenCache Model Patch"), (measure, str(error))
        return "refused"
    (record,) = patched.get_attachment("sencache").records
    codes = {note.code for note in record.notes}
    assert record.complete and torch.isfinite(result).all(), codes
    assert record.reused or torch.equal(result, store.plain), codes
    assert "Traceback" not in as_text(record)
    unmeasured = {code for code in codes if code.startswith("unmeasurable")}
    assert record.reused or codes & TOLD or unmeasured or record.planned is not None, (codes, as_text(record))
    return "refused" if unmeasured or "measured_not_saved" in codes else "accepted"
