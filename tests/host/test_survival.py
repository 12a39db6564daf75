"""A run or a calibration stopped anywhere leaves nothing, and the next one is as if nothing had been."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch
from host_inputs import conditioning
from watched_calls import stopping

LATENT = (1, 16, 2, 8, 8)
NUMEL = torch.Size(LATENT).numel()
STEPS = 8
KINDS = ("interrupt", "error", "memory")


def error_of(kind):
    """Return what the host raises at Cancel, what a node raises, or what a full card raises."""
    import comfy.model_management as management

    kinds = {"interrupt": management.InterruptProcessingException, "memory": management.OOM_EXCEPTION}
    return kinds[kind]("full") if kind == "memory" else kinds.get(kind, RuntimeError)()


@pytest.fixture
def held():
    """Count the tensors of an output's size or more that have come to life since and are still there."""
    gc.collect()
    gc.freeze()  # what was there before is left out, which makes counting fast

    def count():
        gc.collect()
        return sum(type(thing) is torch.Tensor and thing.numel() >= NUMEL for thing in gc.get_objects())

    yield count
    gc.unfreeze()


def sampled(sample, model):
    return sample(model, steps=STEPS, latent={"samples": torch.zeros(LATENT)})


@pytest.mark.parametrize("where", ["network", "step"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_at_any_evaluation_leaves_nothing(wan, sample, patch, records, held, kind, where):
    """`network` stops inside a computed evaluation, `step` after any, also where it was reused."""
    fresh = sampled(sample, patch(wan, epsilon=0.1))
    model, stop = stopping(wan, where)
    patched = patch(model, epsilon=0.1)
    assert torch.equal(sampled(sample, patched), fresh)
    evaluations, before = stop.seen, held()
    assert evaluations == (records(patched)[-1].nfe if where == "network" else STEPS)
    assert 0 < records(patched)[-1].reused < STEPS
    for evaluation in range(1, evaluations + 1):
        error = stop.at(evaluation, error_of(kind))
        with pytest.raises(type(error)):
            sampled(sample, patched)
        error.__traceback__ = None  # it holds the host's own frames, tensors and all
        stop.never()
        assert held() <= before, f"at evaluation {evaluation}"
        assert not records(patched)[-1].complete
        assert "sencache" not in patched.model_options["transformer_options"]
        assert torch.equal(sampled(sample, patched), fresh), f"after evaluation {evaluation}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_stopped_at_any_evaluation_keeps_its_finished_samples(
    host, wan, held, kind, monkeypatch
):
    """An error and a full card go on as Cancel does, tried where a sample begins and where one ends."""
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.host import calibration, coverage
    from sencache.nodes.tables import files as table_files

    monkeypatch.setattr(calibration, "LEAST_STEPS", 2)  # few evaluations, to stop at every one of them
    monkeypatch.setattr(coverage, "PARTS", 3)
    SenCacheCalibrate.hidden = SimpleNamespace(extra_pnginfo=None, prompt=None)
    model, stop = stopping(wan, "network")
    name = "calibration to survive"
    target = table_files.save_target(name)

    def calibrate():
        return SenCacheCalibrate.execute(
            model, conditioning(2), {"samples": torch.zeros(LATENT)}, 3, "euler", "simple", 2, 5.0, 3, name,
            conditioning(0),
        ).args[0]  # fmt: skip

    whole = calibrate()
    evaluations, before = stop.seen, held()
    half = evaluations // 2
    for evaluation in range(1, evaluations + 1):
        target.path.unlink(missing_ok=True)
        target.partial.unlink(missing_ok=True)
        error = stop.at(evaluation, error_of(kind))
        with pytest.raises(type(error)):
            calibrate()
        error.__traceback__ = None
        stop.never()
        assert held() <= before, f"at evaluation {evaluation}"
        finished = evaluation > half
        assert target.partial.exists() == finished and not target.path.exists()
        # going on takes as long as the calibration itself
        if kind == "interrupt" or evaluation in (1, half, half + 1, evaluations):
            assert calibrate() == whole
            assert stop.seen == (half if finished else evaluations)
            assert target.path.exists() and not target.partial.exists()
    target.path.unlink(missing_ok=True)
    target.partial.unlink(missing_ok=True)


def test_a_run_in_which_nothing_could_be_reused_says_so_and_why(wan, sample, patch, records):
    from sencache.caching.report import as_text

    patched = patch(wan, epsilon=1e-6)
    sampled(sample, patched)
    text = as_text(records(patched)[-1])
    assert f"{STEPS} of {STEPS} steps computed, 0 reused" in text
    assert "No step was skipped: skipping a single one would leave an error of" in text
    assert "Raise the allowed error (epsilon) above" in text
