"""Two calibrations under one table name at once, as two servers that share a folder of models run them."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from comfy_host import ROOT
from host_inputs import conditioning

NAME = "measured twice at once"
LATENT = (1, 16, 2, 8, 8)
STEPS = 3
EACH = STEPS + 2 * (STEPS - 1) + 1  # evaluations of one sample, the last at the smallest sigma
PATIENCE = 120  # seconds


class Writer:
    """One of the two: a loaded model of its own, measured from a seed, that waits where it is told to."""

    def __init__(self, nodes, seed):
        model = nodes.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]
        self.model, self.seed = model.clone(), seed
        self.seen, self.stop_at = 0, 0
        self.there, self.go_on = threading.Event(), threading.Event()
        self.table, self.error = None, None

        import comfy.patcher_extension

        wrapper_type = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(wrapper_type, "test_wait", self.network)

    def network(self, executor, *args, **kwargs):
        """Count an evaluation; at `stop_at` wait for `go_on`, and then be cancelled."""
        import comfy.model_management

        self.seen += 1
        if self.seen == self.stop_at:
            self.there.set()
            assert self.go_on.wait(PATIENCE)
            raise comfy.model_management.InterruptProcessingException
        return executor(*args, **kwargs)

    def calibrate(self, samples=2):
        """Run the node and return its table."""
        from sencache.nodes.calibrate import SenCacheCalibrate

        self.seen = 0
        return SenCacheCalibrate.execute(
            self.model, conditioning(2), {"samples": torch.zeros(LATENT)}, STEPS, "euler", "simple", samples,
            5.0, self.seed, NAME, conditioning(0),
        ).args[0]  # fmt: skip

    def started(self, samples=2):
        """Calibrate in a thread; what comes of it is `table` or `error`."""

        def run():
            try:
                self.table = self.calibrate(samples)
            except BaseException as error:  # for the test's own thread
                self.error = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def target(host, monkeypatch):
    """Where both write; nothing else is there in the end. Few evaluations are measured."""
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.host import calibration, coverage
    from sencache.nodes.tables import files as table_files

    monkeypatch.setattr(calibration, "LEAST_STEPS", 2)
    monkeypatch.setattr(coverage, "PARTS", 3)
    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    place = table_files.save_target(NAME)
    yield place
    for path in files(place):
        path.unlink()


def files(target):
    """Return every file of the name, and what is left of any save."""
    folder = target.path.parent
    return sorted([*folder.glob(f"{NAME}*"), *folder.glob(".*.saving")])


def alone(writer, target, samples=2):
    """Return what a writer measures with nobody else there."""
    table = writer.calibrate(samples)
    target.path.unlink()
    assert not files(target)
    return table


def same_but_for_rounding(resumed, whole):
    """Hold a table to another whose samples were summed up in another order: modes may round otherwise."""
    assert resumed.metadata == whole.metadata and resumed.num_samples == whole.num_samples
    assert all(torch.equal(resumed.rows[name], whole.rows[name]) for name in whole.rows)
    apart = (resumed.modes.values - whole.modes.values).abs().max()
    assert apart <= 2**-12 * whole.modes.values.abs().max()


@pytest.mark.parametrize(("seed", "samples"), [(50, 3), (50, 1), (3, 1), (3, 2)])
def test_what_one_has_finished_outlasts_the_other(host, target, seed, samples):
    """Cancelled after the other has run from start to end, it goes on as if it had been alone.

    The other one measures more or fewer samples, from other seeds or from the same.
    """
    from sencache.calibration import table as tables

    slow, quick = Writer(host, 3), Writer(host, seed)
    whole, expected = alone(slow, target, 3), alone(quick, target, samples)
    slow.stop_at = 2 * EACH + 1  # two of its three samples are finished
    thread = slow.started(3)
    assert slow.there.wait(PATIENCE)
    quick_has = quick.calibrate(samples)
    assert tables.load(target.path) == quick_has
    assert quick_has == expected or seed == slow.seed and quick_has.num_samples == 2
    slow.go_on.set()
    thread.join(PATIENCE)
    assert type(slow.error).__name__ == "InterruptProcessingException"
    slow.stop_at = 0
    resumed = slow.calibrate(3)
    assert resumed == tables.load(target.path)
    same_but_for_rounding(resumed, whole)
    assert slow.seen == EACH
    assert files(target) == [target.path]


def test_two_processes_at_once_both_measure_what_they_would_alone(tmp_path):
    """Their metadata hold the name, which is all that may tell both tables of a process apart."""
    from sencache.calibration import table as tables

    seeds, command = (3, 50), [sys.executable, str(ROOT / "tests" / "support" / "measure_twice.py")]
    both = [
        subprocess.Popen(
            [*command, str(tmp_path), str(seed), "6", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for seed in seeds
    ]
    try:
        for process in both:
            assert any(line == b"ready\n" for line in process.stdout)
        for process in both:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        assert [process.wait(PATIENCE) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    for seed in seeds:
        one, other = (tables.load(tmp_path / f"{how} {seed}.safetensors") for how in ("alone", "together"))
        assert one.rows.keys() == other.rows.keys() and one.num_samples == other.num_samples == 6
        assert all(torch.equal(row, other.rows[name]) for name, row in one.rows.items())
    folder = tmp_path / "models" / "sencache"
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.safetensors"]
    written = (folder / f"{NAME}.safetensors").read_bytes()
    assert written in [(tmp_path / f"together {seed}.safetensors").read_bytes() for seed in seeds]
