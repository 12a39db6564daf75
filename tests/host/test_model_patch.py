"""Model Patch patches a clone, replaces itself, and refuses what can't work in one sentence."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from host_inputs import patch_inputs


def refusal(model, **inputs):
    """Return the one sentence with which the node refuses."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    with pytest.raises(ValueError) as caught:
        SenCacheModelPatch.execute(model, **patch_inputs(**inputs))
    message = str(caught.value)
    assert message.startswith("SenCache Model Patch: ") and message.endswith(".") and "\n" not in message
    return message


@pytest.fixture
def table(host):
    """The shipped table of the tiny model."""
    from sencache.calibration import table as tables
    from sencache.nodes.tables import files as table_files

    return tables.load(table_files.SHIPPED / "tiny_wan.safetensors")


def changed(table, **metadata):
    """Return a table with other metadata."""
    from sencache.calibration.table import SensitivityTable

    return SensitivityTable(table.timestep, table.sigma, table.rows, {**table.metadata, **metadata})


@pytest.fixture
def saved(host):
    """Save bytes as a user's table file, and take it away again."""
    from sencache.nodes.tables import files as table_files

    paths = []

    def save(name, data):
        target = table_files.save_target(name)
        target.path.parent.mkdir(parents=True, exist_ok=True)
        target.path.write_bytes(data)
        paths.append(target.path)
        return target.name

    yield save
    for path in paths:
        path.unlink(missing_ok=True)


def test_the_given_model_and_the_shared_network_stay_as_they_were(wan, sample, patch):
    before = sample(wan)
    attributes = set(vars(wan.model)) | set(vars(wan.model.diffusion_model))
    forward = wan.model.diffusion_model.forward.__func__
    patched = patch(wan, epsilon=0.3)
    sample(patched)
    assert patched is not wan and patched.model is wan.model
    assert set(vars(wan.model)) | set(vars(wan.model.diffusion_model)) == attributes
    assert wan.model.diffusion_model.forward.__func__ is forward
    assert not any("sencache" in by_key for by_key in wan.wrappers.values())
    assert torch.equal(sample(wan), before)


def test_patching_a_patched_model_replaces_the_settings(wan, sample, patch, records):
    twice = patch(patch(wan, epsilon=2.0, n=20), epsilon=0.0)
    assert all(len(by_key["sencache"]) == 1 for by_key in twice.wrappers.values() if "sencache" in by_key)
    assert torch.equal(sample(twice), sample(wan))
    assert [record.config.epsilon for record in records(twice)] == [0.0]


def test_a_clone_of_the_patched_model_reuses_and_reports_to_the_same_place(wan, sample, patch, records):
    patched = patch(wan, epsilon=0.3)
    sample(patched.clone(), steps=12)
    assert records(patched)[-1].reused > 0


def test_another_models_table_is_refused_with_both_names_unless_overridden(wan, table, patch):
    other = changed(table, fingerprint="0123456789abcdef", model="OtherVideoModel (1.30 B parameters)")
    message = refusal(wan, sensitivity=other)
    assert "OtherVideoModel (1.30 B parameters)" in message and "WAN21_T2V (3.36 M parameters)" in message
    assert "any_model" in message
    patch(wan, sensitivity=other, any_model=True)


def foreign_to_wan(table):
    """Return the same table, told to be another model's."""
    other = {"fingerprint": "0123456789abcdef", "model": "OtherVideoModel (1.30 B parameters)"}
    return replace(table, metadata={**table.metadata, **other})


@pytest.mark.parametrize("settings", [{"speed_up": 2.0}, {"epsilon": 0.03}, {"epsilon": 1e-6}], ids=str)
def test_with_another_models_table_nothing_is_predicted_and_a_note_names_it(
    wan, table, sample, patch, records, settings
):
    from sencache.caching.report import as_dict, as_text

    own, other = (
        patch(wan, sensitivity=one, any_model=True, **settings) for one in (table, foreign_to_wan(table))
    )
    assert torch.equal(sample(own, steps=14), sample(other, steps=14))
    predicted, record = records(own)[-1], records(other)[-1]
    assert predicted.predicted_error is not None and record.predicted_error is None
    assert record.planned == predicted.planned
    (note,) = [one for one in record.notes if one.code == "foreign"]
    assert note.values == {"table": record.table_name, "model": "OtherVideoModel (1.30 B parameters)"}
    assert not [one for one in predicted.notes if one.code == "foreign"]
    told, text = as_dict(record), as_text(record)
    assert told["predicted_error"] is told["visibility"] is None
    assert "redicted error of" not in text and "OtherVideoModel" in text


@pytest.mark.parametrize("settings", [{"speed_up": 2.0}, {"epsilon": 1e-6}], ids=str)
def test_with_another_models_table_no_step_and_no_note_tells_an_error_of_it(
    wan, table, sample, patch, records, settings
):
    from sencache.caching.report import as_dict

    patched = patch(wan, sensitivity=foreign_to_wan(table), any_model=True, **settings)
    sample(patched, steps=14)
    told = as_dict(records(patched)[-1])
    codes = {one["code"] for one in told["notes"]}
    assert not codes & {"nothing_planned", "nothing_within", "less_predictable"}
    assert {step["score"] for step in told["steps"]} == {None}


def test_another_models_table_from_a_file_is_named_too(wan, sample, patch, records):
    patched = patch(wan, table="tiny_ltxv.safetensors", any_model=True, speed_up=2.0)
    sample(patched, steps=14)
    record = records(patched)[-1]
    (note,) = [one for one in record.notes if one.code == "foreign"]
    assert note.values["table"] == record.table_name == "tiny_ltxv.safetensors"
    assert note.values["model"].startswith("LTXV") and record.predicted_error is None


def test_the_node_has_one_knob_and_one_switch_and_folds_the_rest(host):
    from sencache.caching.config import SenCacheConfig
    from sencache.nodes.model_patch import SenCacheModelPatch

    inputs = SenCacheModelPatch.GET_SCHEMA().inputs
    assert [one.id for one in inputs[:4]] == ["model", "sensitivity", "speed_up", "exact"]
    assert [one.default for one in inputs[2:4]] == [2.0, False] and SenCacheConfig().speed_up == 0
    folded = [
        bool(getattr(one, "advanced", None) or (one.extra_dict or {}).get("advanced")) for one in inputs
    ]
    assert folded == [False] * 4 + [True] * (len(inputs) - 4)


def test_as_it_is_dropped_in_the_second_run_computes_half_of_the_steps(wan, sample, records, unknown):
    from sencache.nodes.model_patch import SenCacheModelPatch

    inputs = SenCacheModelPatch.GET_SCHEMA().inputs[2:]
    dropped_in = {one.id: one.default for one in inputs}
    patched = SenCacheModelPatch.execute(wan, **dropped_in).args[0]
    assert torch.equal(sample(patched, steps=14), sample(wan, steps=14))
    sample(patched, steps=14)
    assert [one.nfe for one in records(patched)] == [14, 7]


@pytest.mark.parametrize("off", [{"exact": True}, {"speed_up": 1.0}, {"epsilon": 0.0}, {"n": 0}], ids=str)
def test_where_every_step_is_computed_no_table_is_needed_and_none_is_measured(
    wan, sample, patch, records, unknown, off
):
    from sencache.nodes.model_patch import SenCacheModelPatch

    patched = patch(wan, **{"speed_up": 3.0, "measure": False, **off})
    assert torch.equal(sample(patched), sample(wan))
    assert not unknown.exists() and records(patched)[-1].table_name == ""
    assert SenCacheModelPatch.fingerprint_inputs(**patch_inputs(**off)) == ""


@pytest.mark.parametrize("exact", [True, False])
def test_a_workflow_of_before_the_switch_is_a_draft(wan, patch, sample, records, exact):
    from sencache.nodes.model_patch import SenCacheModelPatch

    inputs = patch_inputs(speed_up=2.0)
    del inputs["exact"]
    patched = SenCacheModelPatch.execute(wan, **inputs, **({"exact": True} if exact else {})).args[0]
    sample(patched, steps=14)
    assert records(patched)[-1].nfe == (14 if exact else 7)


def test_the_automatic_table_is_found_whatever_the_shift(host, wan, sample, patch, records):
    shifted = host.NODE_CLASS_MAPPINGS["ModelSamplingSD3"]().patch(wan, 3.0)[0]
    patched = patch(shifted, epsilon=0.3)
    sample(patched, steps=12)
    assert records(patched)[-1].table_name == "tiny_wan.safetensors" and records(patched)[-1].reused > 0


def test_a_linked_table_name_is_not_judged_before_it_is_known():
    from sencache.nodes.model_patch import SenCacheModelPatch

    assert SenCacheModelPatch.validate_inputs(table=None) is True
    assert SenCacheModelPatch.fingerprint_inputs(table=None) == ""


def test_a_connected_table_makes_the_files_irrelevant(wan, table, sample, patch, records):
    from sencache.nodes.model_patch import SenCacheModelPatch

    assert SenCacheModelPatch.validate_inputs(table="gone.safetensors") is True
    patched = patch(wan, table="gone.safetensors", sensitivity=table, speed_up=2.0)
    sample(patched, steps=14)
    assert records(patched)[-1].nfe == 7
    assert SenCacheModelPatch.fingerprint_inputs(table="gone.safetensors", sensitivity=None) == ""


def test_a_missing_table_is_refused(wan):
    assert "'gone.safetensors'" in refusal(wan, table="gone.safetensors")


def test_no_table_of_this_model_is_refused_with_the_way_out(wan, monkeypatch):
    from sencache.nodes.tables import files as table_files

    monkeypatch.setattr(table_files, "names", list)
    message = refusal(wan, measure=False)
    assert "WAN21_T2V" in message and "SenCache Calibrate" in message


def test_a_damaged_table_is_refused(wan, table, saved):
    from sencache.calibration.table import to_bytes

    data = bytearray(to_bytes(table))
    data[-3] ^= 0x40
    assert "'damaged.safetensors'" in refusal(wan, table=saved("damaged", bytes(data)))


def test_a_damaged_file_does_not_stop_the_automatic_choice(wan, sample, patch, records, saved):
    saved("aaa broken", b"not a table")
    patched = patch(wan)
    sample(patched)
    assert records(patched)[-1].table_name == "tiny_wan.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "../../secret.safetensors",
        "../tiny_wan.safetensors",
        "/etc/passwd",
        "a\0b.safetensors",
        "x" * 10_000_000,
    ],
)
def test_names_never_leave_the_table_folders(wan, name):
    """The host's own check lets every name through; the node itself refuses before anything is read."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    assert SenCacheModelPatch.validate_inputs(table=name) is True
    assert len(refusal(wan, table=name)) < 400


def test_a_link_out_of_the_table_folders_is_refused(wan, host, tmp_path, table):
    from sencache.calibration import table as tables
    from sencache.nodes.tables import files as table_files

    tables.save(table, tmp_path / "outside.safetensors")
    link = table_files.save_target("link").path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "outside.safetensors")
    try:
        assert "out of the table folders" in refusal(wan, table="link.safetensors")
    finally:
        link.unlink()


@pytest.mark.parametrize("node, inputs", [
    ("EasyCache", {"reuse_threshold": 0.2, "start_percent": 0.1, "end_percent": 0.9, "verbose": False}),
    ("LazyCache", {"reuse_threshold": 0.2, "start_percent": 0.1, "end_percent": 0.9, "verbose": False}),
])  # fmt: skip
def test_the_hosts_own_accelerators_are_refused_before_and_after(host, wan, sample, patch, node, inputs):
    accelerate = host.NODE_CLASS_MAPPINGS[node].execute
    assert node in refusal(accelerate(wan, **inputs).args[0])
    with pytest.raises(ValueError, match=f"SenCache Model Patch: {node} is already on this model"):
        sample(accelerate(patch(wan), **inputs).args[0])


@pytest.mark.parametrize("name, key", [("TeaCache", "rel_l1_thresh"), ("MagCache", "magcache_thresh")])
def test_other_packs_accelerators_are_refused_by_the_options_they_set(wan, name, key):
    accelerated = wan.clone()
    accelerated.model_options["transformer_options"][key] = 0.2
    assert name in refusal(accelerated)


def test_settings_out_of_range_are_refused(wan):
    assert "epsilon" in refusal(wan, epsilon=float("nan"))
    assert "rule" in refusal(wan, rule="magic")


def test_a_replaced_table_file_runs_the_node_again(table, saved):
    from sencache.calibration.table import to_bytes
    from sencache.nodes.model_patch import SenCacheModelPatch

    name = saved("mine", to_bytes(table))
    first = SenCacheModelPatch.fingerprint_inputs(table=name)
    assert SenCacheModelPatch.fingerprint_inputs(table=name) == first
    saved("mine", to_bytes(changed(table, name="newer")))
    assert SenCacheModelPatch.fingerprint_inputs(table=name) != first


@pytest.mark.parametrize("cfg", ["high", "nan", "1e999", "-1"])
def test_a_table_whose_cfg_is_no_number_is_refused_before_anything_is_sampled(wan, table, cfg):
    said = refusal(wan, sensitivity=changed(table, cfg=cfg))
    assert "can't be used: its metadata 'cfg' is not a number" in said


def test_a_model_that_starts_without_noise_is_not_planned_and_that_is_told(wan, patch, records, sample):
    """As an inversion or FlowEdit leaves the noise out: what an error does to the result can't be told."""
    sampling = wan.get_model_object("model_sampling")

    class Inverted(*type(sampling).__bases__):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return latent_image

    inverted = copy.copy(sampling)
    inverted.__class__ = Inverted
    model = wan.clone()
    model.add_object_patch("model_sampling", inverted)
    patched = patch(model, table="tiny_wan.safetensors", speed_up=2.0)
    result = sample(patched, steps=6)
    (record,) = records(patched)
    told = {note.code for note in record.notes}
    assert torch.isfinite(result).all() and told & {"unplanned", "not_planned"}
