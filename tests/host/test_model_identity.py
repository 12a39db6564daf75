"""A table finds its model again whatever the host's version, and never another model."""

from __future__ import annotations

import pytest
from sencache.calibration import table as tables
from tiny_models import MODELS


def changed(model, **entries):
    """Return the fingerprint with other entries in the network's settings, as another host lists them."""
    from sencache.nodes.host.model_identity import fingerprint

    config = model.model.model_config.unet_config
    earlier = dict(config)
    config.update(entries)
    try:
        return fingerprint(model)
    finally:
        config.clear()
        config.update(earlier)


@pytest.mark.parametrize("off", [False, None, [], ""])
def test_a_setting_that_only_a_newer_host_lists_as_off_changes_nothing(wan, off):
    assert changed(wan, listed_by_a_newer_host=off) == changed(wan)


@pytest.mark.parametrize("entries", [{"listed_by_a_newer_host": True}, {"dim": 256}, {"num_layers": 0}])
def test_a_setting_that_is_on_or_another_size_is_another_model(wan, entries):
    assert changed(wan, **entries) != changed(wan)


@pytest.mark.parametrize("name", ["wan", "ltxv"])
def test_the_shipped_table_fits_on_every_host(host, name):
    from sencache.nodes.host.model_identity import fingerprint
    from sencache.nodes.tables import files as table_files

    table = tables.load(table_files.SHIPPED / f"tiny_{name}.safetensors")
    assert table.metadata["fingerprint"] == fingerprint(MODELS[name].load(host))


def test_a_block_that_is_compiled_while_loaded_keeps_the_models_digest(host):
    import comfy.model_management
    import torch
    from sencache.nodes.host.model_identity import weights_digest

    model = MODELS["wan"].load(host).clone()
    before = weights_digest(model)
    block = model.get_model_object("diffusion_model.blocks.0")
    model.add_object_patch("diffusion_model.blocks.0", torch.compile(block))
    comfy.model_management.load_models_gpu([model])
    try:
        names = [name for name, _ in model.model.diffusion_model.named_parameters()]
        assert any("_orig_mod" in name for name in names)
        assert weights_digest(model) == before
    finally:
        comfy.model_management.unload_all_models()
