"""Calibrate measures in the real host, saves, counts its evaluations, and resumes after a cancel."""

from __future__ import annotations

import pytest
import torch
from host_inputs import conditioning, empty_latent
from sencache.caching.sentences import visibility_text

STEPS, SAMPLES = 5, 2  # of the fixture `calibrate`
BESIDE = 4 * 5 + 6  # five in each fifth of the progress but the last, which has six with the smallest sigma
EVALUATIONS = STEPS + 2 * (STEPS - 1) + BESIDE


def test_it_saves_a_small_table_that_model_patch_uses_at_once(calibrate, wan, patch, sample, records):
    from sencache.calibration import table as tables
    from sencache.nodes.tables import files as table_files

    table, image, text = calibrate().args
    path = table_files.path_of("calibration under test.safetensors")
    assert tables.load(path) == table and path.stat().st_size < 64 * 1024
    assert table.num_samples == SAMPLES and len(table.timestep) == STEPS - 1
    assert image.ndim == 4 and image.shape[-1] == 3 and 0 <= image.min() < image.max() <= 1
    assert "WAN21_T2V" in text and "calibration under test.safetensors" in text
    patched = patch(wan, table="calibration under test.safetensors", epsilon=0.3)
    sample(patched, steps=20)
    assert records(patched)[-1].reused > 0
    connected = patch(wan, sensitivity=table, epsilon=0.3)
    assert torch.equal(sample(connected, steps=20), sample(patched, steps=20))


def test_it_adds_two_single_branch_evaluations_a_step_to_the_sampling(calibrate, evaluations):
    calibrate(samples=1)
    assert sum(branches == 2 for branches in evaluations.branches) == STEPS + BESIDE
    assert sum(branches == 1 for branches in evaluations.branches) == 2 * (STEPS - 1)


def test_probing_does_not_change_the_trajectory(calibrate, wan, sample):
    """The table's rms and drift are those of a plain sampling with the same seed."""
    import comfy.patcher_extension
    from sencache.nodes.host.sampling import raw_output

    watched, seen = wan.clone(), []

    def watch(executor, model, conds, x_in, sigma, model_options):
        outputs = executor(model, conds, x_in, sigma, model_options)
        output = raw_output(model.model_sampling, sigma, outputs[0], x_in)
        seen.append((x_in.clone(), float(sigma[0]), output))
        return outputs

    watched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, "test", watch)
    sample(watched, steps=STEPS, seed=3)
    table = calibrate(samples=1).args[0]
    pairs = zip(seen, seen[1:], strict=False)
    for index, ((x, sigma, output), (following, next_sigma, _)) in enumerate(pairs):
        rms = float(output.square().mean().sqrt())
        assert table.rows["output_rms"][0, index].item() == pytest.approx(rms, rel=2**-9)  # as rounded
        drift = float((following - x).square().mean().sqrt()) / (1000 * (sigma - next_sigma))
        assert table.rows["latent_drift"][0, index].item() == pytest.approx(drift, rel=2**-9)


def test_a_finished_table_with_the_same_settings_is_not_measured_again(calibrate, evaluations):
    first = calibrate().args[0]
    evaluations.branches.clear()
    again, _, text = calibrate().args
    assert again == first and not evaluations.branches
    assert "2 of the samples were there" in text


def test_asking_for_more_samples_measures_only_those(calibrate, evaluations):
    first = calibrate().args[0]
    evaluations.branches.clear()
    more = calibrate(samples=SAMPLES + 1).args[0]
    assert len(evaluations.branches) == EVALUATIONS
    assert torch.equal(more.rows["alignment"][:SAMPLES], first.rows["alignment"])


@pytest.mark.parametrize("stop_at", [1, 2, 7, EVALUATIONS, EVALUATIONS + 1, EVALUATIONS + 4, 2 * EVALUATIONS])
def test_a_cancelled_calibration_keeps_its_finished_samples_and_goes_on(calibrate, evaluations, stop_at):
    import comfy.model_management
    from sencache.nodes.tables import files as table_files

    whole = calibrate().args[0]
    table_files.save_target("calibration under test").path.unlink()
    evaluations.branches.clear()
    evaluations.stop_at = stop_at
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        calibrate()
    finished = 0 if stop_at <= EVALUATIONS else 1
    target = table_files.save_target("calibration under test")
    assert not target.path.exists() and target.partial.exists() == bool(finished)
    evaluations.branches.clear()
    evaluations.stop_at = None
    assert calibrate().args[0] == whole
    assert len(evaluations.branches) == (SAMPLES - finished) * EVALUATIONS
    assert target.path.exists() and not target.partial.exists()


def test_an_unfinished_calibration_with_other_settings_is_not_mixed_in(calibrate, evaluations):
    import comfy.model_management

    evaluations.stop_at = EVALUATIONS + 1
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        calibrate()
    evaluations.stop_at = None
    evaluations.branches.clear()
    assert calibrate(positive=conditioning(5)).args[0].num_samples == SAMPLES
    assert len(evaluations.branches) == SAMPLES * EVALUATIONS


def test_other_weights_are_measured_anew_under_the_same_name(calibrate, evaluations, wan):
    first = calibrate().args[0]
    evaluations.branches.clear()
    other = wan.clone()
    key = "diffusion_model.head.head.weight"
    other.add_patches({key: (torch.full_like(wan.model.state_dict()[key], 0.01),)})
    assert calibrate(model=other).args[0] != first
    assert len(evaluations.branches) == SAMPLES * EVALUATIONS


def test_passes_of_other_guidance_are_not_measured(calibrate, wan):
    """A guidance that evaluates the negative prompt once more must not mix into the measurement."""
    import comfy.samplers

    plain = calibrate(samples=1).args[0]
    guided = wan.clone()

    def once_more(arguments):
        options = arguments["model_options"].copy()
        negative, sigma = arguments["uncond"], arguments["sigma"]
        comfy.samplers.calc_cond_batch(arguments["model"], [negative], arguments["input"], sigma, options)
        return arguments["denoised"]

    guided.set_model_sampler_post_cfg_function(once_more)
    measured = calibrate(model=guided, samples=1, table_name="calibration under test", seed=3).args[0]
    for name, row in plain.rows.items():
        assert torch.equal(row, measured.rows[name]), name


def test_outputs_that_are_not_numbers_are_refused_with_the_way_out(calibrate, wan, monkeypatch):
    network = wan.model.diffusion_model

    def broken(x, *args, **kwargs):
        return torch.full_like(x, float("nan"))

    monkeypatch.setattr(network, "forward", broken)
    with pytest.raises(ValueError, match="SenCache Calibrate: the model gives values that are not numbers"):
        calibrate()


def test_a_folder_that_refuses_the_table_is_named_without_its_path(calibrate):
    from sencache.nodes.tables import files as table_files

    target = table_files.save_target("calibration under test")
    target.path.mkdir(parents=True)
    try:
        with pytest.raises(ValueError, match="the table 'calibration under test' can't be saved") as caught:
            calibrate()
        assert str(target.path.parent) not in str(caught.value)
    finally:
        target.path.rmdir()


def test_the_text_says_what_to_expect(calibrate, wan, patch, sample, records):
    import re

    table, _, text = calibrate(steps=20, samples=1).args
    assert ": 1 sample at " in text
    (told,) = re.findall(r"Of 20 steps expect to compute (.+)\.", text)
    offers = re.findall(r"(\d+) \((\d\.\d)x fewer, ([a-z ]+)\)", told)
    for (nfe, fewer, looks), speed_up in zip(offers, (1.5, 2.0, 3.0, 4.0), strict=True):
        patched = patch(wan, sensitivity=table, speed_up=speed_up)
        sample(patched, steps=20, seed=3)
        record = records(patched)[-1]
        assert record.nfe == int(nfe) and f"{record.speed_up:.1f}" == fewer
        assert visibility_text(record.predicted_error) == looks


def test_encoded_videos_are_noised_and_measured_with_their_guidance(calibrate, evaluations):
    videos = {"samples": torch.randn(2, *empty_latent()["samples"].shape[1:])}
    table = calibrate(latent=videos, samples=2).args[0]
    assert table.metadata["source"] == "videos" and table.num_samples == 2 and table.guided
    assert evaluations.branches.count(4) == STEPS + BESIDE  # two videos, both branches
    assert evaluations.branches.count(2) == EVALUATIONS - STEPS - BESIDE


def test_a_patched_model_is_measured_without_its_patch(calibrate, wan, patch):
    from sencache.nodes.tables import files as table_files

    measured = calibrate(model=patch(wan, epsilon=2.0, n=20)).args[0]
    table_files.save_target("calibration under test").path.unlink()
    assert calibrate(model=wan).args[0] == measured


def test_an_accelerated_model_is_refused(calibrate, host, wan):
    accelerated = host.NODE_CLASS_MAPPINGS["EasyCache"].execute(wan, 0.2, 0.1, 0.9, False).args[0]
    with pytest.raises(ValueError, match="SenCache Calibrate: EasyCache is already on this model"):
        calibrate(model=accelerated)


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "con", "x" * 200, ".hidden", "line\nbreak", "trailing."]
)
def test_a_name_that_no_file_should_have_is_refused_before_measuring(calibrate, evaluations, name):
    from sencache.nodes.calibrate import SenCacheCalibrate

    assert SenCacheCalibrate.validate_inputs(table_name=name) is not True
    with pytest.raises(ValueError, match="SenCache Calibrate: .* can't be a table's name"):
        calibrate(table_name=name)
    assert not evaluations.branches


@pytest.fixture
def unnamed(host):
    """The tables that are there after a test and were not before, by name; they are taken away again."""
    from sencache.nodes.tables import files as table_files

    before = set(table_files.names())

    def found():
        return sorted(set(table_files.names()) - before)

    yield found
    for name in found():
        table_files.path_of(name).unlink()


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_without_a_name_the_table_is_named_after_the_model(
    calibrate, wan, patch, sample, records, evaluations, unnamed, name
):
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.host.model_identity import weights_digest

    assert SenCacheCalibrate.validate_inputs(table_name=name) is True
    text = calibrate(table_name=name, samples=1).args[2]
    assert unnamed() == [f"tiny_wan {weights_digest(wan)[:8]}.safetensors"]
    assert f"Saved as {unnamed()[0]} in models/sencache" in text
    patched = patch(wan, table=unnamed()[0], speed_up=2.0)
    sample(patched, steps=14)
    assert records(patched)[-1].nfe == 7
    evaluations.branches.clear()
    assert "was there" in calibrate(table_name="", samples=1).args[2] or not evaluations.branches
    assert not evaluations.branches and len(unnamed()) == 1


def test_an_unnamed_table_deleted_since_runs_the_node_again(calibrate, unnamed):
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables import files as table_files

    calibrate(table_name="", samples=1)
    before = SenCacheCalibrate.fingerprint_inputs(table_name="", steps=STEPS)
    assert SenCacheCalibrate.fingerprint_inputs(table_name="", steps=STEPS) == before
    table_files.path_of(unnamed()[0]).unlink()
    assert SenCacheCalibrate.fingerprint_inputs(table_name="", steps=STEPS) != before


def test_a_name_that_holds_another_models_table_is_refused_and_the_file_stays(calibrate, evaluations):
    from dataclasses import replace

    from sencache.calibration import table as tables
    from sencache.nodes.tables import files as table_files

    shipped = tables.load(table_files.SHIPPED / "tiny_ltxv.safetensors")
    target = table_files.save_target("calibration under test")
    tables.save(replace(shipped, metadata={**shipped.metadata, "name": target.name}), target.path)
    before = target.path.read_bytes()
    with pytest.raises(ValueError) as caught:
        calibrate()
    assert str(caught.value) == (
        "SenCache Calibrate: models/sencache already has a table named 'calibration under test.safetensors' "
        f"of another model ({shipped.metadata['model']}); choose another name, or leave the name empty."
    )
    assert not evaluations.branches and target.path.read_bytes() == before and not target.partial.exists()


def test_replacing_ones_own_table_is_told_and_going_on_with_it_is_not(calibrate):
    words = "It replaced this model's table of that name, which other settings had measured."
    assert words not in calibrate(samples=1).args[2]
    assert words not in calibrate(samples=1).args[2]
    assert words not in calibrate(samples=2).args[2]
    assert words in calibrate(samples=2, positive=conditioning(5)).args[2]
    assert words not in calibrate(samples=2, positive=conditioning(5)).args[2]


def test_the_table_that_a_name_holds_is_what_is_there_and_can_be_read(calibrate):
    from sencache.nodes.tables import files as table_files

    target = table_files.save_target("calibration under test")
    assert table_files.held(target) is None
    table = calibrate(samples=1).args[0]
    assert table_files.held(target) == table
    target.path.write_bytes(target.path.read_bytes()[:-9])
    assert table_files.held(target) is None
    target.path.unlink()
    target.path.mkdir()
    try:
        assert table_files.held(target) is None
    finally:
        target.path.rmdir()


def test_a_disk_that_refuses_an_unnamed_table_is_told_with_the_name_it_would_have(calibrate, monkeypatch):
    from sencache.nodes.tables import files as table_files

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table_files, "save_finished", full)
    told = r"the table 'tiny_wan \w{8}(\.safetensors)?' can't be saved: No space left on device"
    with pytest.raises(ValueError, match=told):
        calibrate(table_name="", samples=1)


@pytest.mark.parametrize("sampler", ["heun", "uni_pc", "dpmpp_2m"])
def test_other_samplers_calibrate(calibrate, sampler):
    table = calibrate(sampler=sampler, samples=1).args[0]
    assert len(table.timestep) == STEPS - 1
    assert all(0 < value < 100 for value in table.mean("latent_sensitivity"))


def test_a_table_deleted_since_runs_the_node_again_and_a_finished_one_does_not(calibrate, monkeypatch):
    from sencache.nodes import calibrate as module
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.tables import files as table_files

    monkeypatch.setattr(module, "_NAMED", {})  # of tables without a name, which other tests measure

    def state():
        return SenCacheCalibrate.fingerprint_inputs(table_name=target.name.split(".")[0], steps=STEPS)

    target = table_files.save_target("calibration under test")
    before = state()
    calibrate(samples=1)
    assert state() == before
    target.path.unlink()
    deleted = state()
    assert deleted != before and state() == deleted
    calibrate(samples=1)
    assert target.path.exists() and state() == deleted
    assert SenCacheCalibrate.fingerprint_inputs(table_name="../x") == 0
    assert SenCacheCalibrate.fingerprint_inputs(table_name=None) == 0
    assert SenCacheCalibrate.fingerprint_inputs(table_name="") == 0


def test_prompts_are_told_apart_whatever_calls_the_guidance_makes(calibrate, host, wan):
    """The host's skip-layer guidance asks for the positive prompt alone first, then for the negative one."""
    from scenes import node
    from sencache.nodes.tables import files as table_files

    layers = {"double_layers": "3, 5", "single_layers": "", "start_percent": 0.0, "end_percent": 1.0}
    skipping = node(host, "SkipLayerGuidanceDiTSimple", model=wan, **layers)
    skipped = calibrate(model=skipping, samples=1).args[0]
    table_files.path_of("calibration under test.safetensors").unlink()  # or the next one would go on from it
    plain = calibrate(samples=1).args[0]
    assert plain.guided and skipped.guided
    positive, negative = (
        [table.modes.at([float(table.modes.timestep[0])])[:, branch, 0] for table in (plain, skipped)]
        for branch in (0, 1)
    )
    assert positive[1].norm() == pytest.approx(float(positive[0].norm()), rel=1e-2)
    assert (positive[1] - negative[1]).norm() != pytest.approx(
        float((positive[0] - negative[0]).norm()), rel=1e-3
    )


def test_a_prompt_with_areas_is_not_taken_for_the_negative_one(calibrate):
    """The host lays the areas of each prompt beside the other's conds."""
    (whole, extras), (other, _) = conditioning(2)[0], conditioning(5)[0]
    areas = [[whole, {**extras, "area": (8, 6, 12, 0, 0, 0), "strength": 1.0}], [other, extras]]
    modes = calibrate(positive=areas, samples=1).args[0].modes
    positive, negative = modes.at([float(modes.timestep[0])])[:, :, 0].T
    assert (positive - negative).norm() > 0.05 * positive.norm()
