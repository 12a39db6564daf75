"""The authors' `.npz` tables, put into models/sencache: listed, used by the paper's rule, or refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from host_inputs import panel_answer

KNOTS = 20
ELEMENTS = 16 * 21 * 60 * 104


@pytest.fixture
def folder(host: Any) -> Iterator[Path]:
    """The user's table folder; what a test puts there is taken away again."""
    import folder_paths

    place = Path(folder_paths.get_folder_paths("sencache")[0])
    place.mkdir(parents=True, exist_ok=True)
    yield place
    for file in place.glob("*.npz"):
        file.unlink()


def write(path: Path, latent: float = 1.0, time: float = 0.0005) -> None:
    """Write what the authors' script writes: the same sensitivities everywhere, the time's as an L2 norm."""
    norms = {"J_x_norm": np.full(KNOTS, latent), "J_t_norm": np.full(KNOTS, time * math.sqrt(ELEMENTS))}
    np.savez(path, timesteps=np.linspace(1000, 20, KNOTS), **norms)


def refusal(patch: Any, model: Any, name: str) -> str:
    with pytest.raises(ValueError) as raised:
        patch(model, table=name, rule="paper", forecast="hold")
    said = str(raised.value)
    assert said.startswith("SenCache Model Patch: ") and "\n" not in said and said.endswith(".")
    return said


def test_it_stands_in_the_list_and_serves_the_papers_rule(wan, patch, sample, records, folder):
    from sencache.nodes.model_patch import SenCacheModelPatch

    write(folder / "SenCache_Wan_1.3B.npz")
    (table,) = (one for one in SenCacheModelPatch.define_schema().inputs if one.id == "table")
    assert "SenCache_Wan_1.3B.npz" in table.options
    settings = {"table": "SenCache_Wan_1.3B.npz", "rule": "paper", "forecast": "hold"}
    patched = patch(wan, epsilon=0.4, n=3, **settings)
    sample(patched, steps=20)
    record = records(patched)[-1]
    assert 0 < record.reused < 20 and record.config.rule == "paper" and record.complete
    scores = [one.decision.score for one in record.evaluations if one.decision.score is not None]
    assert max(scores) > 0
    assert torch.equal(sample(patch(wan, epsilon=0.0, **settings), steps=4), sample(wan, steps=4))


def test_model_time_is_the_hosts(folder):
    from sencache.calibration.research_npz import load_by_name

    for name, unit in (("wan.npz", 1000.0), ("cogvideox_2b.npz", 1000.0), ("ltx_video.npz", 1.0)):
        write(folder / name)
        table = load_by_name(folder / name)
        assert float(table.timestep[0]) == pytest.approx(unit)
        change = table.at(unit).time_sensitivity * unit  # over the whole of time: the same in either unit
        wanted = 0.5 * math.sqrt(ELEMENTS / math.prod({"w": (16, 21, 60, 104), "c": (16, 14, 60, 90),
                                                       "l": (128, 21, 16, 24)}[name[0]]))  # fmt: skip
        assert change == pytest.approx(wanted, rel=1e-4)


def test_automatic_leaves_it_alone(wan, patch, folder):
    write(folder / "wan.npz")
    patched = patch(wan)
    from sencache.nodes.host.wrappers import KEY, WRAPPER_TYPES

    own = patched.wrappers[WRAPPER_TYPES[0]][KEY][0].__self__
    assert own.source.of_model(wan).name == "tiny_wan.safetensors"


def test_one_of_another_family_or_of_none_is_refused(wan, patch, folder):
    write(folder / "ltx.npz")
    assert "LTX-Video, as the authors measured it" in refusal(patch, wan, "ltx.npz")
    patch(wan, table="ltx.npz", rule="paper", any_model=True)
    write(folder / "mine.npz")
    assert "its name has to say which model it is of: wan, cogvideo, ltx" in refusal(patch, wan, "mine.npz")


def test_what_is_no_table_is_refused(wan, patch, folder):
    (folder / "wan pickle.npz").write_bytes(pickle.dumps({"timesteps": [1]}))
    write(folder / "wan.npz")
    whole = (folder / "wan.npz").read_bytes()
    (folder / "wan half.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "wan other.npz", weights=np.ones(3))
    np.savez(folder / "wan objects.npz", timesteps=np.array([{}]), J_x_norm=np.ones(1), J_t_norm=np.ones(1))
    for name in ("wan pickle.npz", "wan half.npz", "wan other.npz", "wan objects.npz"):
        assert f"'{name}'" in refusal(patch, wan, name)


def test_the_panel_answers_in_a_sentence(folder):
    write(folder / "wan.npz")
    said = panel_answer({"settings": {"rule": "paper"}, "tables": ["wan.npz"]})
    assert said["problem"]["text"].endswith(".")
