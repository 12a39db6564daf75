"""Whatever the guider, a first run measures the positive and the negative prompt as such, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from host_inputs import conditioning
from scenes import STEPS, guide, ksample, node

PROMPTS = {"positive": conditioning(2), "negative": conditioning(0)}
LAYERS = {"double_layers": "3, 5", "single_layers": ""}
Way = Callable[[Any, Any], torch.Tensor]


pytestmark = pytest.mark.usefixtures("unknown")


def cfg(scale: float) -> Way:
    return lambda host, model: guide(host, node(host, "CFGGuider", model=model, cfg=scale, **PROMPTS), model)


def basic(host: Any, model: Any) -> torch.Tensor:
    return guide(host, node(host, "BasicGuider", model=model, conditioning=conditioning(2)), model)


def dual(style: str, conds: float = 4.0, negative: float = 3.0, middle: int = 5) -> Way:
    def sample(host: Any, model: Any) -> torch.Tensor:
        prompts = {"cond1": conditioning(2), "cond2": conditioning(middle), "negative": conditioning(0)}
        scales = {"cfg_conds": conds, "cfg_cond2_negative": negative, "style": style}
        return guide(host, node(host, "DualCFGGuider", model=model, **prompts, **scales), model)

    return sample


def two_models(second: Any = None, scale: float = 6.0) -> Way:
    def sample(host: Any, model: Any) -> torch.Tensor:
        inputs = {"model_negative": second or model, "cfg": scale, **PROMPTS}
        return guide(host, node(host, "DualModelGuider", model=model, **inputs), model)

    return sample


def perp_neg(neg_scale: float) -> Way:
    def sample(host: Any, model: Any) -> torch.Tensor:
        prompts = {**PROMPTS, "empty_conditioning": conditioning(5)}
        inputs = {"cfg": 4.0, "neg_scale": neg_scale}
        return guide(host, node(host, "PerpNegGuider", model=model, **prompts, **inputs), model)

    return sample


def skipping(name: str, start: float, end: float) -> Way:
    """Sample as a workflow does that has the host's skip-layer guidance behind our patch."""

    def sample(host: Any, model: Any) -> torch.Tensor:
        ends = {"start_percent": start, "end_percent": end, **LAYERS}
        scale = {"scale": 3.0} if name == "SkipLayerGuidanceDiT" else {}
        return ksample(host, node(host, name, model=model, **ends, **scale))

    return sample


MEASURED = {
    "CFGGuider, cfg 6": (cfg(6.0), True),
    "CFGGuider, cfg 1": (cfg(1.0), False),
    "BasicGuider": (basic, False),
    "SkipLayerGuidanceDiTSimple, 0 to 1": (skipping("SkipLayerGuidanceDiTSimple", 0.0, 1.0), True),
    "SkipLayerGuidanceDiT, 0.2 to 0.8": (skipping("SkipLayerGuidanceDiT", 0.2, 0.8), True),
    "DualCFGGuider, regular": (dual("regular"), True),
    "DualCFGGuider, nested": (dual("nested"), True),
    "DualCFGGuider, scales of 1": (dual("regular", 1.0, 1.0), False),
    "DualModelGuider": (two_models(), True),
    "DualModelGuider, cfg 1": (two_models(scale=1.0), False),
    "PerpNegGuider": (perp_neg(1.0), True),
}
REFUSED = {
    "SkipLayerGuidanceDiTSimple, 0.2 to 0.8": (
        skipping("SkipLayerGuidanceDiTSimple", 0.2, 0.8),
        "conds_changed",
    ),
    "DualCFGGuider without its negative": (dual("regular", 4.0, 1.0), "unknown_guider"),
    "PerpNegGuider without its negative": (perp_neg(0.0), "unknown_guider"),
}


def available(host: Any, name: str) -> None:
    if name.split(",")[0].split(" ")[0] not in host.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this host has no {name}")


def records(model: Any) -> list[Any]:
    return list(model.get_attachment("sencache").records)


def codes(model: Any) -> list[str]:
    return [note.code for note in records(model)[-1].notes]


def only_table(folder: Path) -> Any:
    from sencache.calibration.table import load

    (path,) = folder.glob("*.safetensors")
    return load(path)


@pytest.fixture
def measured(host: Any, wan: Any, patch: Any, unknown: Path) -> Callable[[Way], Any]:
    """Measure by one run, and return the table: it is the only one."""

    def run(way: Way) -> Any:
        for path in unknown.glob("*.safetensors"):
            path.unlink()
        way(host, patch(wan))
        return only_table(unknown)

    return run


@pytest.mark.parametrize("name", MEASURED)
def test_a_first_run_measures_and_the_next_one_does_what_it_promised(name, host, wan, patch, unknown):
    available(host, name)
    way, guided = MEASURED[name]
    patched = patch(wan, speed_up=2.0)
    assert torch.equal(way(host, wan), way(host, patched)) and codes(patched) == ["measured"]
    (promised,) = records(patched)[-1].notes
    assert only_table(unknown).guided is guided
    way(host, patched)
    assert records(patched)[-1].planned == promised.values["nfe"] == STEPS // 2
    assert records(patched)[-1].nfe <= STEPS // 2 + 2  # where SLG begins there is no stored output
    assert (unknown.parent / promised.values["table"]).is_file() and "unguided" not in codes(patched)


@pytest.mark.parametrize("name", REFUSED)
def test_a_guider_that_does_not_show_both_prompts_is_not_measured_and_says_so(
    name, host, wan, patch, unknown
):
    available(host, name)
    way, why = REFUSED[name]
    patched = patch(wan, speed_up=2.0)
    assert torch.equal(way(host, wan), way(host, patched))
    assert codes(patched) == [f"unmeasurable_{why}"] and not list(unknown.glob("*.safetensors"))
    ksample(host, patched)
    way(host, patched)
    assert records(patched)[-1].nfe <= STEPS * 3 // 4 and not codes(patched)


def test_another_models_negative_prompt_is_not_measured_as_this_ones(host, wan, patch, unknown):
    available(host, "DualModelGuider")
    load = host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet
    other, twin = (load("tiny_wan.safetensors", "default")[0] for _ in range(2))
    for weight in other.model.diffusion_model.parameters():
        weight.data = weight.data * 1.01
    patched = patch(wan, speed_up=2.0)
    assert torch.equal(two_models(other)(host, wan), two_models(other)(host, patched))
    assert codes(patched) == ["unmeasurable_other_model"] and not list(unknown.glob("*.safetensors"))
    two_models(twin)(host, patched)  # the same file, loaded once more
    assert codes(patched) == ["measured"] and only_table(unknown).guided


def test_a_run_without_a_positive_prompt_promises_nothing(host, wan, patch, unknown, monkeypatch):
    import comfy.samplers

    monkeypatch.setattr(
        comfy.samplers.CFGGuider,
        "predict_noise",
        lambda self, x, timestep, model_options={}, seed=None: comfy.samplers.sampling_function(
            self.inner_model, x, timestep, self.conds["cold"], self.conds["warm"], self.cfg, model_options
        ),
    )
    guider = comfy.samplers.CFGGuider(patch(wan, speed_up=2.0))
    guider.inner_set_conds({"warm": conditioning(2), "cold": conditioning(0)})
    guider.set_cfg(4.0)
    guide(host, guider, guider.model_patcher)
    (record,) = records(guider.model_patcher)
    assert [note.code for note in record.notes] == ["unmeasurable_no_positive"]
    assert record.evaluations[0].decision.reason.value == "no_table"
    assert not list(unknown.glob("*.safetensors"))


def inner(table: Any, branch: int) -> torch.Tensor:
    """Return the inner products of a branch's outputs, `[M, M]`: no choice of directions changes them."""
    values = table.modes.values[:, branch]
    return values.T @ values


@pytest.mark.parametrize("name", ["DualModelGuider", "DualCFGGuider"])
def test_another_guider_on_the_same_way_measures_what_cfg_does(name, host, measured):
    """With the middle prompt like the negative one, DualCFGGuider's result is that of CFG."""
    available(host, name)
    way = two_models() if name == "DualModelGuider" else dual("regular", 6.0, 3.0, middle=0)
    expected, got = measured(cfg(6.0)), measured(way)
    for branch in (0, 1):
        torch.testing.assert_close(inner(got, branch), inner(expected, branch), rtol=0.01, atol=1e-3)
    torch.testing.assert_close(got.rows["output_rms"], expected.rows["output_rms"], rtol=0.01, atol=1e-3)
    assert not torch.allclose(inner(got, 0), inner(got, 1), rtol=0.01, atol=1e-3)


OFF_THE_WAY = ("SkipLayerGuidanceDiTSimple, 0 to 1", "DualCFGGuider, nested", "PerpNegGuider")


@pytest.mark.parametrize("name", OFF_THE_WAY)
def test_the_positive_prompt_is_measured_as_by_cfg_where_both_begin(name, host, measured):
    """Later their latents differ: the first output is that of the same prompt for the same noise."""
    expected, got = measured(cfg(4.0)), measured(MEASURED[name][0])
    sizes = [float(table.rows["output_rms"][0, 0]) for table in (expected, got)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.003)
    assert [float(inner(table, 0)[0, 0]) for table in (expected, got)] == pytest.approx(
        [size**2 for size in sizes], rel=0.02
    )


def test_unguided_guiders_measure_the_same_table(measured):
    expected, got = measured(cfg(1.0)), measured(basic)
    assert torch.equal(got.modes.values, expected.modes.values) and not got.guided


@pytest.mark.parametrize("conds", [None, [1], {"positive": [None, 3], "negative": 4}, {"positive": ["a"]}])
def test_conds_of_another_kind_have_no_prompts(host, conds):
    from types import SimpleNamespace

    from sencache.nodes.host.prompts import Prompts

    assert Prompts.of(SimpleNamespace(conds=conds)) == Prompts(frozenset(), frozenset())
