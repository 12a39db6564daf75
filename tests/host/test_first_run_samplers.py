"""Every sampler that the host offers, on a model without a table: the first run, and the one after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from host_inputs import conditioning

STEPS = 6
LATENT = (1, 16, 2, 8, 8)
EXPLAINED = {"nothing_planned", "nothing_within", "more_than_planned", "wish_raised", "wish_limited"}


@pytest.fixture
def folder(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave out every table that there is; return the folder that measured ones go to."""
    import folder_paths

    places = ([str(tmp_path)], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sencache", places)
    return tmp_path / "measured"


def sampled(model: Any, sampler: str, seed: int = 5) -> torch.Tensor:
    """Sample from always the same first noise; `seed` is that of what the sampler adds."""
    import comfy.sample
    import comfy.samplers

    sampling = model.get_model_object("model_sampling")
    steps = STEPS + (sampler in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS)
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    noise = torch.randn(LATENT, generator=torch.Generator().manual_seed(1))
    return comfy.sample.sample_custom(
        model, noise, 3.0, comfy.samplers.sampler_object(sampler), sigmas, conditioning(2), conditioning(0),
        torch.zeros(LATENT), disable_pbar=True, seed=seed,
    )  # fmt: skip


def told(patched: Any) -> tuple[Any, set[str]]:
    """Return the last run, and the codes of everything that Cache Stats says of it."""
    from sencache.caching.report import advice

    record = patched.get_attachment("sencache").records[-1]
    return record, {note.code for note in advice(record)}


def test_the_first_run_of_every_sampler_is_exact_and_what_it_says_is_true(host, wan, patch, folder):
    import comfy.samplers

    for sampler in comfy.samplers.KSampler.SAMPLERS:
        plain = sampled(wan, sampler)
        adds_noise = not torch.equal(plain, sampled(wan, sampler, seed=6))
        patched = patch(wan, speed_up=2.0)
        assert torch.equal(sampled(patched, sampler), plain), sampler
        first, said = told(patched)
        saved = list(folder.glob("*.safetensors"))
        assert first.reused == 0, sampler
        assert ("measured" in said) == (len(saved) == 1) == (not adds_noise), (sampler, said)
        assert ("unmeasurable_noise_added" in said) == adds_noise, (sampler, said)
        second_is_whole = torch.equal(sampled(patched, sampler), plain)
        second, said = told(patched)
        assert (second.reused == 0) == second_is_whole, sampler
        denied = {code for code in said if code.startswith("unmeasurable")}
        if second.reused:
            assert not denied, (sampler, said)
        else:
            assert denied == {"unmeasurable_noise_added"} if adds_noise else said & EXPLAINED, (sampler, said)
        for path in saved:
            path.unlink()
