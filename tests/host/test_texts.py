"""What a person reads about the nodes agrees with the nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = ("SenCacheCalibrate", "SenCacheModelPatch", "SenCacheStats", "SenCacheCompare", "SenCacheDemo",
         "SenCacheDemoFrames", "SenCacheModelPatchRay", "SenCacheStatsRay")  # fmt: skip


@pytest.fixture
def schemas(host):
    """The schemas of the pack's nodes, by node id."""
    from sencache.nodes.cache_stats import SenCacheStats
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.compare import SenCacheCompare
    from sencache.nodes.demo import SenCacheDemo, SenCacheDemoFrames
    from sencache.nodes.model_patch import SenCacheModelPatch
    from sencache.nodes.ray.nodes import SenCacheModelPatchRay, SenCacheStatsRay

    own = (SenCacheCalibrate, SenCacheModelPatch, SenCacheStats, SenCacheCompare)
    nodes = (*own, SenCacheDemo, SenCacheDemoFrames, SenCacheModelPatchRay, SenCacheStatsRay)
    return {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in nodes)}


def test_every_node_input_and_output_is_explained(schemas):
    assert set(schemas) == set(NODES)
    for schema in schemas.values():
        assert schema.description
        for slot in (*schema.inputs, *schema.outputs):
            assert slot.tooltip, (schema.node_id, slot.id)


def test_the_english_texts_are_those_of_the_nodes(schemas):
    texts = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(texts) == set(schemas)
    for node_id, schema in schemas.items():
        text = texts[node_id]
        assert (text["display_name"], text["description"]) == (schema.display_name, schema.description)
        assert {name: entry["tooltip"] for name, entry in text["inputs"].items()} == {
            slot.id: slot.tooltip for slot in schema.inputs
        }
        tooltips = [entry["tooltip"] for entry in text["outputs"].values()]
        assert tooltips == [slot.tooltip for slot in schema.outputs]


def test_the_chinese_texts_explain_the_same_inputs_and_outputs():
    english, chinese = (
        json.loads((ROOT / "locales" / locale / "nodeDefs.json").read_text(encoding="utf-8"))
        for locale in ("en", "zh")
    )
    assert set(english) == set(chinese)
    for node_id, text in english.items():
        for kind in ("inputs", "outputs"):
            assert set(text[kind]) == set(chinese[node_id][kind]), (node_id, kind)
            for name, entry in chinese[node_id][kind].items():
                assert entry["tooltip"] and entry["tooltip"] != text[kind][name]["tooltip"], (node_id, name)


@pytest.mark.parametrize("node_id", NODES)
def test_the_help_page_names_every_input(schemas, node_id):
    page = (ROOT / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    missing = [slot.id for slot in schemas[node_id].inputs if slot.id not in page]
    assert not missing
