"""A model without a table: its first run measures it exactly and for nothing, the next one is planned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from host_inputs import conditioning, empty_latent, panel_answer, patch_inputs, windowed
from random_models import ARCHITECTURES
from tiny_models import sample as sample_clip
from tiny_models import sampler_object

STEPS = 20


pytestmark = pytest.mark.usefixtures("unknown")


@pytest.fixture
def half_step(host: Any) -> Callable[..., torch.Tensor]:
    """Sample a part of the steps as KSamplerAdvanced does."""

    def run(
        model: Any, latent: dict, start: int, end: int, noise: bool, leftover: bool, cfg: float = 5.0
    ) -> dict:
        node = host.NODE_CLASS_MAPPINGS["KSamplerAdvanced"]()
        on_off = ("disable", "enable")
        return node.sample(
            model, on_off[noise], 1, STEPS, cfg, "euler", "simple", conditioning(2), conditioning(0), latent,
            start, end, on_off[leftover],
        )[0]  # fmt: skip

    return run


def records(model: Any) -> list[Any]:
    return list(model.get_attachment("sencache").records)


def codes(model: Any) -> list[str]:
    return [note.code for note in records(model)[-1].notes]


def tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


@pytest.fixture
def tuned(host: Any) -> Callable[[float], Any]:
    """Load the model as a fine-tune would be: a network of its own with other weights."""

    def load(by: float) -> Any:
        model = host.NODE_CLASS_MAPPINGS["UNETLoader"]().load_unet("tiny_wan.safetensors", "default")[0]
        for weight in model.model.diffusion_model.parameters():
            weight.data = weight.data * (1 + by)
        return model

    return load


@pytest.mark.parametrize("name", ["wan", "ltxv", "cogvideox"])
def test_the_first_run_is_exact_and_the_second_is_faster(name, host, required, patch, unknown):
    tiny = required(name)
    model = tiny.load(host)
    patched = patch(model, speed_up=2.0)
    setting = {"prompt": 5, "seed": 4, "sampler": tiny.samplers[0], "steps": STEPS, "cfg": 5.0}
    plain, first, second = (sample_clip(host, one, tiny, **setting) for one in (model, patched, patched))
    assert torch.equal(plain, first)
    measuring, planned = records(patched)
    assert (measuring.nfe, planned.nfe) == (STEPS, STEPS // 2)
    assert [note.values["nfe"] for note in measuring.notes] == [STEPS // 2]
    assert len(tables(unknown)) == 1
    assert float((second - plain).square().mean().sqrt()) < 0.15


def test_it_is_watched_at_no_further_evaluation(wan, patch, sample, unknown):
    calls = []

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return executor(*args, **kwargs)

    patched = patch(wan)
    import comfy.patcher_extension

    kind = comfy.patcher_extension.WrappersMP.CALC_COND_BATCH
    patched.add_wrapper_with_key(kind, "count", count)
    sample(patched, steps=8)
    assert len(calls) == 8 and codes(patched) == ["measured"]


def test_other_settings_go_on_using_the_table(wan, patch, sample, unknown):
    patched = patch(wan, speed_up=2.0)
    sample(patched, steps=STEPS)
    sample(patched, steps=12)
    sample(patched, steps=30, scheduler="sgm_uniform")
    sample(patched, steps=STEPS, sampler="dpmpp_2m")
    sample(patched, steps=STEPS, cfg=2.0)
    sample(patched, steps=STEPS, latent={"samples": torch.zeros(1, 16, 4, 16, 16)})
    sample(patched, steps=STEPS, latent=empty_latent(2))
    assert all(one.speed_up > 1.6 for one in records(patched)[1:])
    assert len(tables(unknown)) == 1


@pytest.mark.parametrize("sampler", ["exp_heun_2_x0", "heun", "dpm_2", "res_multistep"])
def test_a_sampler_that_looks_twice_measures_each_place_once(sampler, wan, patch, sample, unknown):
    from sencache.calibration.table import load

    sample(patch(wan), steps=12, sampler=sampler)
    (path,) = unknown.glob("*.safetensors")
    knots = load(path).modes.timestep
    assert float(-knots.diff().max()) > 1e-5 * float(knots[0])
    patched = patch(wan, speed_up=2.0)
    sample(patched, steps=30)
    assert records(patched)[-1].predicted_error < 0.3


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_a_sampler_that_leaves_its_schedule_is_measured_then_planned(sampler, wan, patch, sample, unknown):
    """It never evaluates at the schedule's last sigma, which counts as nothing that its table lacks."""
    patched = patch(wan, speed_up=2.0)
    for _ in range(2):
        sample(patched, steps=STEPS, sampler=sampler)
    first, second = records(patched)
    assert [note.code for note in first.notes] == ["measured"] and first.reused == 0
    assert second.notes == () and second.reused > 0


def test_few_steps_of_a_high_order_are_not_taken_for_noise(wan, patch, sample, unknown):
    patched = patch(wan)
    sample(patched, steps=8, sampler="dpm_fast")
    assert codes(patched) == ["measured"]


def test_two_experts_and_a_fine_tune_each_find_their_own(wan, tuned, patch, sample, unknown):
    models = [patch(model, speed_up=2.0) for model in (wan, tuned(0.001), tuned(0.002))]
    for _ in range(2):
        for model in models:
            sample(model, steps=STEPS)
    assert [[one.nfe for one in records(model)] for model in models] == [[STEPS, STEPS // 2]] * 3
    names = {records(model)[-1].table_name for model in models}
    assert len(names) == len(tables(unknown)) == 3


def test_a_lora_needs_no_new_measurement_and_is_named(wan, patch, sample):
    sample(patch(wan), steps=STEPS)
    tinted = wan.clone()
    weights = dict(list(wan.model.diffusion_model.state_dict().items())[:8])
    tinted.add_patches({f"diffusion_model.{name}": (one * 0.01,) for name, one in weights.items()}, 0.5)
    patched = patch(tinted, speed_up=2.0)
    sample(patched, steps=STEPS)
    sample(patched, steps=STEPS)
    assert records(patched)[-1].nfe == STEPS // 2 and "other_loras" in codes(patched)


def test_a_part_of_the_sampling_measures_that_part(wan, patch, half_step, sample, unknown):
    patched = patch(wan, speed_up=2.0)
    half = half_step(patched, empty_latent(), 0, 10, noise=True, leftover=True)
    assert records(patched)[-1].nfe == 10
    half_step(patched, half, 10, STEPS, noise=False, leftover=False)
    assert records(patched)[-1].nfe == 10 and "measured_rest" in codes(patched)
    half = half_step(patched, empty_latent(), 0, 10, noise=True, leftover=True)
    half_step(patched, half, 10, STEPS, noise=False, leftover=False)
    assert [one.nfe for one in records(patched)[-2:]] == [5, 5]
    sample(patched, steps=STEPS)
    assert records(patched)[-1].nfe == STEPS // 2 and codes(patched) == []
    assert len(tables(unknown)) == 1


def test_an_unguided_table_does_not_serve_guided_runs(wan, patch, sample, unknown):
    patched = patch(wan, speed_up=2.0)
    sample(patched, steps=STEPS, cfg=1.0)
    sample(patched, steps=STEPS, cfg=5.0)
    assert [one.nfe for one in records(patched)] == [STEPS, STEPS] and len(tables(unknown)) == 2
    for cfg in (1.0, 5.0):
        sample(patched, steps=STEPS, cfg=cfg)
        assert records(patched)[-1].nfe == STEPS // 2


def test_the_panel_of_a_guided_stage_keeps_to_the_guided_table(wan, patch, sample, unknown):
    """Its node is told of every table that its samplers measure, a second stage's at cfg 1 too."""
    def shown(name: str, cfg: float | None) -> str:
        told = {"sampling": {"cfg": cfg}, "settings": patch_inputs(), "tables": ["automatic", name]}
        found = panel_answer(told)
        return found["problem"]["code"] if "problem" in found else found["table"]["name"]

    sample(patch(wan), steps=6, cfg=1.0)
    unguided = f"measured/{tables(unknown)[0]}"
    assert shown(unguided, 1.0) == shown(unguided, None) == unguided
    assert shown(unguided, 5.0) == "no_table"  # the next run measures
    sample(patch(wan), steps=6)
    (guided,) = {f"measured/{name}" for name in tables(unknown)} - {unguided}
    assert shown(unguided, 5.0) == shown(guided, 5.0) == guided


def test_the_panel_at_cfg_1_takes_the_table_that_covers_more(wan, patch, half_step, sample, unknown):
    """As the run does, which knows its steps."""
    patched = patch(wan, speed_up=2.0)
    half_step(patched, empty_latent(), 0, STEPS // 2, noise=True, leftover=True)
    (guided,) = tables(unknown)
    sample(patched, steps=STEPS, cfg=1.0)
    (unguided,) = set(tables(unknown)) - {guided}
    sample(patched, steps=STEPS, cfg=1.0)
    sampling = {"cfg": 1.0, "steps": STEPS, "sampler": "euler", "scheduler": "simple"}
    names = ["automatic", f"measured/{guided}"]
    found = panel_answer({"sampling": sampling, "settings": patch_inputs(speed_up=2.0), "tables": names})
    assert found["table"]["name"] == records(patched)[-1].table_name == f"measured/{unguided}"
    assert found["nfe"] == records(patched)[-1].nfe == STEPS // 2


def test_a_second_stage_without_guidance_has_a_table_of_its_own(wan, patch, half_step, unknown):
    """As of LTX-2: a part with guidance, then one at cfg 1 of sigmas that the first has not measured."""
    patched = patch(wan, speed_up=2.0)
    for _ in range(2):
        half = half_step(patched, empty_latent(), 0, 10, noise=True, leftover=True)
        half_step(patched, half, 10, STEPS, noise=False, leftover=False, cfg=1.0)
    assert [one.nfe for one in records(patched)] == [10, 10, 5, 5] and len(tables(unknown)) == 2


def test_noise_at_every_step_is_no_measurement(wan, patch, sample, unknown):
    patched = patch(wan)
    for sampler in ("euler_ancestral", "dpmpp_2m_sde"):
        assert torch.equal(sample(patched, sampler=sampler, steps=8), sample(wan, sampler=sampler, steps=8))
        assert codes(patched) == ["unmeasurable_noise_added"]
    assert tables(unknown) == []


def test_a_part_that_noise_keeps_from_being_measured_is_said_alike_before_and_after(
    wan, patch, half_step, sample, unknown
):
    half_step(patch(wan), empty_latent(), 0, 10, noise=True, leftover=True)
    (measured,) = tables(unknown)
    question = {"settings": patch_inputs(), "tables": ["automatic", f"measured/{measured}"], "embedded": ""}

    def foretold(sampler: str, **changed: Any) -> list[str]:
        sampling = {"steps": STEPS, "sampler": sampler, "scheduler": "simple", "cfg": 5.0}
        asked = {**question, "sampling": sampling, **changed}
        return [note["code"] for note in panel_answer(asked)["notes"]]

    noisy = ["unmeasured", "adds_noise"]
    assert foretold("euler") == ["measuring_rest"] and foretold("euler_ancestral") == noisy
    assert foretold("euler", settings=patch_inputs(measure=False)) == ["unmeasured"]
    assert foretold("euler", tables=[f"measured/{measured}"]) == ["unmeasured"]
    patched = patch(wan)
    sample(patched, steps=STEPS, sampler="euler_ancestral")
    assert sorted(codes(patched)) == sorted([*noisy, "unmeasurable_noise_added"])
    sample(patched, steps=STEPS)
    assert codes(patched) == ["measured_rest"]


def test_a_stopped_run_promises_no_measurement_that_noise_forbids(wan, patch, sample, unknown):
    import comfy.model_management
    import comfy.patcher_extension

    def stop(executor: Any, *args: Any, **kwargs: Any) -> Any:
        raise comfy.model_management.InterruptProcessingException

    patched = patch(wan)
    kind = comfy.patcher_extension.WrappersMP.CALC_COND_BATCH
    patched.add_wrapper_with_key(kind, "stop", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(patched, steps=6, sampler="euler_ancestral")
    assert codes(patched) == ["unmeasurable_noise_added"]


def test_prompts_that_change_on_the_way_are_no_measurement(host, wan, patch, unknown):
    ranged = host.NODE_CLASS_MAPPINGS["ConditioningSetTimestepRange"]()
    early, late = (ranged.set_range(conditioning(n), *part)[0] for n, part in ((2, (0, 0.5)), (5, (0.5, 1))))
    patched = patch(wan)
    node = host.NODE_CLASS_MAPPINGS["KSampler"]()
    asked = (1, 8, 5.0, "euler", "simple", early + late, conditioning(0), empty_latent())
    assert torch.equal(node.sample(patched, *asked)[0]["samples"], node.sample(wan, *asked)[0]["samples"])
    assert codes(patched) == ["unmeasurable_conds_changed"] and tables(unknown) == []


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_an_interrupt_saves_nothing_and_the_next_run_measures(wan, patch, sample, unknown, stop_at):
    import comfy.model_management
    import comfy.patcher_extension

    seen = []

    def stop(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        if len(seen) == stop_at:
            raise comfy.model_management.InterruptProcessingException
        return executor(*args, **kwargs)

    patched = patch(wan)
    kind = comfy.patcher_extension.WrappersMP.CALC_COND_BATCH
    patched.add_wrapper_with_key(kind, "stop", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(patched, steps=6)
    assert codes(patched)[-1:] == ["measuring_stopped"] and tables(unknown) == []
    sample(patched, steps=6)
    assert codes(patched) == ["measured"] and len(tables(unknown)) == 1


def test_nothing_of_a_measuring_run_stays_in_memory(wan, patch, sample, unknown):
    import gc

    patched = patch(wan)
    sample(patched, steps=6)
    gc.collect()
    before = sum(isinstance(one, torch.Tensor) for one in gc.get_objects())
    for path in unknown.glob("*.safetensors"):
        path.unlink()
    sample(patched, steps=6)
    gc.collect()
    assert sum(isinstance(one, torch.Tensor) for one in gc.get_objects()) <= before + 8  # the table's own


def test_the_rules_with_sensitivities_say_what_they_need(wan, patch, sample):
    sample(patch(wan), steps=6)
    for rule in ("paper", "joint"):
        with pytest.raises(ValueError, match=f"^SenCache Model Patch: The rule '{rule}' needs sensitivities"):
            patch(wan, rule=rule)


def test_without_measuring_a_model_without_a_table_is_refused(wan, patch):
    with pytest.raises(ValueError, match="^SenCache Model Patch: There is no sensitivity table of WAN21"):
        patch(wan, measure=False)


def test_epsilon_0_neither_measures_nor_needs_a_table(wan, patch, sample, unknown):
    patched = patch(wan, epsilon=0.0)
    assert torch.equal(sample(patched, steps=4), sample(wan, steps=4)) and tables(unknown) == []


def test_a_disk_that_refuses_costs_the_table_alone(wan, patch, sample, unknown, monkeypatch):
    from sencache.calibration import table as table_module

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table_module, "write_whole", refuse)
    patched = patch(wan)
    assert torch.equal(sample(patched, steps=6), sample(wan, steps=6))
    assert codes(patched)[0] == "measured_not_saved" and tables(unknown) == []


def test_runs_that_measure_at_once_lose_nothing(wan, patch, sample, unknown):
    """As two servers on one folder: each part is there in the end, and the file is whole."""
    from sencache.calibration.table import load
    from sencache.nodes.tables import own

    sample(patch(wan), steps=STEPS)
    (path,) = unknown.glob("*.safetensors")
    whole = load(path)
    path.unlink()
    parts = [part_of(whole, *ends) for ends in ((0, 7), (6, 14), (13, STEPS))]
    threads = [threading.Thread(target=own.save, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = unknown.glob("*.safetensors")
    assert load(path).modes.covers(whole.timestep.tolist()).all()
    assert not list(unknown.glob("*.saving"))


def part_of(table: Any, start: int, end: int) -> Any:
    from sencache.calibration.modes import OutputModes
    from sencache.calibration.table import SensitivityTable

    rows = {name: row[:, start:end] for name, row in table.rows.items()}
    modes = OutputModes(table.modes.timestep[start:end], table.modes.values[:, :, start:end])
    return SensitivityTable(table.timestep[start:end], table.sigma[start:end], rows, table.metadata, modes)


def test_the_store_keeps_the_newest(wan, tuned, patch, sample, unknown, monkeypatch):
    import os

    from sencache.nodes.tables import own

    monkeypatch.setattr(own, "MOST_FILES", 3)
    unknown.mkdir()
    for age, by in enumerate((0.001, 0.002, 0.003, 0.004)):
        sample(patch(tuned(by)), steps=6)
        for path in unknown.glob("*.safetensors"):
            os.utime(path, (path.stat().st_mtime - 100, path.stat().st_mtime - 100))
    sample(patch(wan), steps=6)
    assert len(tables(unknown)) == 3


def test_a_calibrated_table_of_the_same_weights_comes_first(wan, patch, sample, unknown):
    import shutil

    from sencache.nodes.tables.files import SHIPPED

    sample(patch(wan), steps=6)
    shutil.copy(SHIPPED / "tiny_wan.safetensors", unknown.parent)
    patched = patch(wan)
    sample(patched, steps=6)
    assert records(patched)[-1].table_name == "tiny_wan.safetensors"


def test_guided_runs_prefer_their_own_table_to_a_calibrated_one_without_guidance(wan, patch, sample, unknown):
    from sencache.calibration.table import load, save

    sample(patch(wan), steps=6)
    sample(patch(wan), steps=6, cfg=1.0)
    (measured,) = tables(unknown)
    table = load(unknown / measured)
    modes = replace(table.modes, values=table.modes.values[:, :1].contiguous())
    metadata = {key: value for key, value in table.metadata.items() if key != "source"}
    save(replace(table, modes=modes, metadata=metadata), unknown.parent / "calibrated.safetensors")
    for cfg, name in ((5.0, f"measured/{measured}"), (1.0, "calibrated.safetensors")):
        patched = patch(wan)
        sample(patched, steps=6, cfg=cfg)
        assert records(patched)[-1].table_name == name


def test_a_copy_elsewhere_is_left_alone_when_the_rest_is_measured(wan, patch, half_step, sample, unknown):
    half_step(patch(wan), empty_latent(), 0, 12, True, True)
    (measured,) = tables(unknown)
    copy = unknown.parent / "mine.safetensors"
    (unknown / measured).rename(copy)
    kept = copy.read_bytes()
    patched = patch(wan)
    sample(patched, steps=STEPS)
    assert copy.read_bytes() == kept
    (note,) = [note for note in records(patched)[-1].notes if note.code == "measured_rest"]
    assert (unknown.parent / note.values["table"]).is_file()


FEATURED = (
    "Wan 2.2 5B, image to video", "LTX-Video, image to video", "LTX-2 audio and video",
    "LTX-2 audio and video, image to video", "CogVideoX 1.5 I2V", "HunyuanVideo", "Mochi", "Kandinsky 5",
    "MiniMax H3", "Stable Video Diffusion", "Flux",
)  # fmt: skip


@pytest.mark.parametrize("name", FEATURED)
def test_every_kind_of_latent_is_measured_exactly_and_then_planned(name, host, patch, unknown):
    """Packed sound and video, start frames that a mask keeps, eps and v predictions."""
    architecture = next(one for one in ARCHITECTURES if one.name == name)
    if not architecture.available():
        pytest.skip(f"this host has no {architecture.config_class}")
    model = architecture.build()
    patched = patch(model, speed_up=2.0)
    plain, first, second = (scene(host, architecture, one) for one in (model, patched, patched))
    assert all(torch.equal(*pair) for pair in zip(streams(plain), streams(first), strict=True))
    measuring, planned = records(patched)
    assert [note.code for note in measuring.notes] == ["measured"]
    assert (measuring.nfe, planned.nfe) == (STEPS, STEPS // 2)
    assert all(bool(torch.isfinite(one).all()) for one in streams(second)) and len(tables(unknown)) == 1


def scene(host: Any, architecture: Any, model: Any) -> Any:
    """Sample one clip as SamplerCustomAdvanced does; nested where the latent is."""
    import comfy.sample
    import comfy.samplers

    latent = architecture.latent()
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(architecture.conditioning(2), architecture.conditioning(0))
    guider.set_cfg(3.0)
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", STEPS)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    chosen, mask = sampler_object(host, architecture.sampler), latent.get("noise_mask")
    return guider.sample(noise, latent["samples"], chosen, sigmas, mask, disable_pbar=True, seed=5)


def streams(samples: Any) -> list[torch.Tensor]:
    return list(samples.unbind()) if samples.is_nested else [samples]


@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_only_context_windows_that_stay_are_measured(wan, patch, sample, unknown, schedule):
    model = windowed(wan, schedule)
    patched = patch(model)
    assert torch.equal(sample(patched, steps=8), sample(model, steps=8))
    stays = schedule == "standard_static"
    assert codes(patched) == ["measured" if stays else "unmeasurable_conds_changed"]
    assert len(tables(unknown)) == stays


def test_inpainting_measures_where_it_samples(wan, patch, sample, unknown):
    from sencache.calibration.table import load

    mask = torch.zeros(1, 1, 8, 12, 12)
    mask[:, :, 2:] = 1
    latent = {"samples": torch.randn(1, 16, 8, 12, 12), "noise_mask": mask}
    patched = patch(wan, speed_up=2.0)
    assert torch.equal(sample(patched, steps=STEPS, latent=latent), sample(wan, steps=STEPS, latent=latent))
    (path,) = unknown.glob("*.safetensors")
    assert load(path).modes is not None
    sample(patched, steps=STEPS, latent=latent)
    assert records(patched)[-1].nfe == STEPS // 2


def test_the_node_runs_again_once_the_table_is_there(wan, patch, sample):
    """Else the host's output cache would leave a workflow on its measuring run."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    inputs = patch_inputs()
    before = SenCacheModelPatch.fingerprint_inputs(**inputs)
    patched = patch(wan)
    sample(patched, steps=6)
    after = SenCacheModelPatch.fingerprint_inputs(**inputs)
    sample(patched, steps=6)
    assert before != after == SenCacheModelPatch.fingerprint_inputs(**inputs)
