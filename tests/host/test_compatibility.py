"""The everyday part of `tests/compatibility`: exact with reuse off, finite and honestly counted otherwise.

`python tests/compatibility/run.py` walks all of it; here every sampler meets one scheduler, every scheduler
some sampler, and what takes long is left out.
"""

from __future__ import annotations

from dataclasses import replace

import architectures
import conditioning
import every_sampler
import guidance
import handling
import pytest
from judge import HOST_LACKS, OK, Case, judge

SLOW = (
    "inductor", ", Stable Video", "standard_uniform", "looped_uniform", "relative", "freenoise",
    "split_conds",
)  # fmt: skip
REUSED_LITTLE = ("restarts", "one step", "four steps", "KarrasScheduler", "SamplerLCMUpscale")


def everyday(module) -> list:
    """Return a module's cases but for the slow ones, as parameters."""
    kept = [case for case in module.cases() if not any(part in case.name for part in SLOW)]
    return [pytest.param(case, id=case.name) for case in kept]


def row_of(case: Case, host) -> dict:
    """Judge a case without the doubled speed; what this host lacks is left out by name."""
    row = judge(replace(case, settings=("zero", "watched", "by_error")), host)
    if row["outcome"] == HOST_LACKS:
        pytest.skip(f"this host has {row['text']}")
    assert row["outcome"] == OK, row
    return row


def reused_well(row: dict) -> None:
    """Hold a row to a speed-up and to a result that is still the same picture."""
    assert row["by_error"]["nfe"] < row["by_error"]["evaluations"] and row["by_error"]["psnr"] > 30


@pytest.mark.parametrize("case", everyday(architectures))
def test_every_architecture_is_calibrated_patched_and_sampled(host, case):
    reused_well(row_of(case, host))


@pytest.mark.parametrize("case", everyday(guidance))
def test_every_guidance_and_way_of_sampling(host, case):
    row = row_of(case, host)
    if not case.name.startswith(REUSED_LITTLE):
        reused_well(row)


@pytest.mark.parametrize("case", everyday(conditioning))
def test_every_kind_of_conditioning(host, case):
    reused_well(row_of(case, host))


@pytest.mark.parametrize("case", everyday(handling))
def test_every_handling_of_the_model(host, case):
    reused_well(row_of(case, host))


def test_every_sampler_and_every_scheduler(host):
    import comfy.samplers

    names = comfy.samplers.KSampler
    count = len(names.SCHEDULERS)
    pairs = [(name, names.SCHEDULERS[index % count]) for index, name in enumerate(names.SAMPLERS)]
    assert {scheduler for _, scheduler in pairs} == set(names.SCHEDULERS)
    rows = [judge(every_sampler.pair(*pair), host) for pair in pairs]
    assert [row for row in rows if row["outcome"] != OK] == []
    assert sum(row["by_error"]["nfe"] < row["by_error"]["evaluations"] for row in rows) > len(rows) // 2
