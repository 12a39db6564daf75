"""Several ranks sample together: two real processes in a gloo group, some with one sequence split over both.

The second rank rounds its outputs once more, as another card would: its scores then differ from the first's
by some 1e-9 to 1e-7, and an epsilon in such a gap makes one rank reuse where the other computes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RANK = Path(__file__).resolve().parent.parent / "distributed" / "rank.py"
TABLE = {"table": "tiny_wan.safetensors"}
RULES = {
    "joint": {**TABLE, "rule": "joint", "epsilon": 0.2},
    "paper": {**TABLE, "rule": "paper", "epsilon": 0.6},
    "plan": {**TABLE, "speed_up": 2.0},
}
SPLIT = {"split": True, "another_card": True}
# What two ranks decide differently when each has a latent of its own, and nobody asks.
APART = {
    "joint": ({**TABLE, "rule": "joint", "epsilon": 0.12}, "euler"),
    "joint, noise": ({**TABLE, "rule": "joint", "epsilon": 1.2}, "euler_ancestral"),
    "paper, noise": ({**TABLE, "rule": "paper", "epsilon": 0.6}, "euler_ancestral"),
    "plan": ({**TABLE, "epsilon": 0.02}, "euler"),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Do jobs in a group of processes; return what each rank did, by the job's name."""

    def run(jobs, count=2):
        folder = tmp_path_factory.mktemp("ranks")
        (folder / "jobs.json").write_text(json.dumps(jobs))
        names = [folder / f"{rank}.log" for rank in range(count)]
        logs = [name.open("w") for name in names]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                [sys.executable, str(RANK), str(rank), str(count), str(folder)],
                stdout=log, stderr=subprocess.STDOUT, env=environment,
            )
            for rank, log in enumerate(logs)
        ]  # fmt: skip
        try:
            for process in started:
                process.wait(timeout=300)
        finally:
            for process in started:
                process.kill()
            for log in logs:
                log.close()
        for rank, name in enumerate(names):
            assert (folder / f"{rank}.json").exists(), name.read_text()[-3000:]
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]

    return run


def named(name, patch, **more):
    return {"name": name, "patch": patch, **more}


def apart(rule, agree=True):
    patch, sampler = APART[rule]
    name = f"{rule}, apart" if agree else f"{rule}, apart, nobody asks"
    return named(name, patch, sampler=sampler, agree=agree, own_latents=True, steps=24)


@pytest.fixture(scope="module")
def together(host, ranks):
    """Every job that no rank can hang in, done in one group of two."""
    jobs = [
        *(named(f"{rule}, split", patch, **SPLIT) for rule, patch in RULES.items()),
        *(apart(rule) for rule in APART),
        *(apart(rule, agree=False) for rule in APART),
        named("undisturbed", RULES["plan"]),
        named("epsilon 0", {**TABLE, "epsilon": 0.0}),
        named("adaptive", RULES["joint"], sampler="dpm_adaptive", own_latents=True),
        named("refused", {**TABLE, "rule": "joint", "epsilon": 0.2}, unable=1),
        named("afterwards", RULES["joint"]),
    ]
    return ranks(jobs)


def agree(done, name):
    """Tell whether all ranks did the same at every evaluation of a job."""
    return len({rank[name]["decisions"] for rank in done}) == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_split_sequence_is_reused_by_all_ranks_at_once(together, rule):
    name = f"{rule}, split"
    assert agree(together, name) and "r" in together[0][name]["decisions"]
    assert all(rank[name]["finite"] for rank in together)


@pytest.mark.parametrize("rule", ["joint", "paper"])
def test_an_epsilon_between_two_ranks_scores_makes_neither_hang_nor_mix(together, ranks, rule):
    first, second = (rank[f"{rule}, split"] for rank in together)
    told = zip(first["scores"], second["scores"], first["limits"], first["decisions"], strict=True)
    gaps = [((one + other) / 2 / limit) for one, other, limit, what in told if what == "r" and one != other]
    assert gaps, "the second rank's rounding left no trace"
    patches = [{**RULES[rule], "epsilon": RULES[rule]["epsilon"] * gap} for gap in gaps]
    jobs = [named(str(index), patch, **SPLIT) for index, patch in enumerate(patches)]
    done = ranks(jobs)
    assert all(agree(done, str(index)) for index in range(len(jobs)))
    overruled = [rank[job]["reasons"].count("other_rank") for rank in done for job in rank]
    assert sum(overruled) >= len(gaps)
    alone = ranks([{**jobs[0], "agree": False}])
    assert any("error" in rank["0"] for rank in alone) or not agree(alone, "0")


@pytest.mark.parametrize("rule", APART)
def test_ranks_with_latents_of_their_own_agree_which_they_did_not_alone(together, rule):
    assert not agree(together, f"{rule}, apart, nobody asks")
    assert agree(together, f"{rule}, apart") and "r" in together[0][f"{rule}, apart"]["decisions"]
    assert len({rank[f"{rule}, apart"]["latent"] for rank in together}) == 2


def test_undisturbed_ranks_end_with_the_bits_of_one_process_that_asks_nobody(together, ranks):
    (one,) = ranks([named("undisturbed", RULES["plan"])], count=1)
    assert {rank["undisturbed"]["latent"] for rank in together} == {one["undisturbed"]["latent"]}
    assert one["undisturbed"]["asked"] == 0
    asked = {rank["undisturbed"]["asked"] for rank in together}
    assert asked == {1 + len(one["undisturbed"]["decisions"])}  # at the beginning, and once a call


def test_nothing_is_asked_where_nothing_is_reused(together):
    assert all(rank["epsilon 0"]["asked"] == 0 for rank in together)


def test_a_sampler_that_takes_other_steps_on_each_rank_computes_them_all_and_says_why(together):
    for rank in together:
        job = rank["adaptive"]
        assert set(job["decisions"]) == {"c"} and job["asked"] == 1 and job["notes"] == ["adaptive_ranks"]


def test_a_rank_that_cannot_begin_keeps_no_other_waiting_and_the_next_run_goes_on(together):
    told = [rank["refused"]["error"] for rank in together]
    assert "another rank can't begin this run" in told[0] and "no table here" in told[1]
    assert agree(together, "afterwards") and "r" in together[0]["afterwards"]["decisions"]
