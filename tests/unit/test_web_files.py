"""The browser's half stays small, and finds what it asks for."""

from __future__ import annotations

import re
from pathlib import Path

from sencache.caching.config import SenCacheConfig

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))


def test_the_panels_are_under_100_kb_in_all():
    assert SCRIPTS and sum(path.stat().st_size for path in SCRIPTS) < 100_000


def test_the_panels_import_only_the_hosts_scripts_and_their_own_files():
    for path in SCRIPTS:
        for imported in re.findall(r'from "(.+?)"', path.read_text(encoding="utf-8")):
            own = (path.parent / imported).resolve()
            assert own.is_file() or imported.endswith(("/scripts/app.js", "/scripts/api.js")), imported


def test_every_route_that_a_panel_asks_is_there():
    routes = (ROOT / "nodes" / "panel" / "routes.py").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    asked = set(re.findall(r'\bask\("(\w+)"', scripts)) | set(re.findall(r'"/sencache/(\w+)"', scripts))
    known = set(re.findall(r'"/sencache/(\w+)"\)\(', routes))
    assert asked == known == {"panels", "plan", "cost", "embed", "save", "take", "news"}


def test_what_the_slider_switches_on_again_is_what_the_settings_are_without_it():
    """Who moves it while epsilon or n is 0 gets the plan that the panel's offers were made of."""
    panel = (ROOT / "web" / "panels" / "model_patch.js").read_text(encoding="utf-8")
    usual = re.search(r"const USUAL = \{ epsilon: ([\d.]+), n: (\d+) \};", panel)
    settings = SenCacheConfig()
    assert usual and (float(usual[1]), int(usual[2])) == (settings.epsilon, settings.max_reuse)


def test_no_sentence_is_written_in_a_script():
    """All of them are in locales/, in every language."""
    for path in SCRIPTS:
        code = re.sub(r"(?m)^\s*(//|\*|/\*\*).*$|//.*$|/\*\*.*?\*/", "", path.read_text(encoding="utf-8"))
        assert not re.search(r'"[A-Z][a-z]+ [a-z]+[^"]*"', code), path.name
        assert code.isascii() or set(filter(lambda one: not one.isascii(), code)) <= set("×·–ε"), path.name


def test_every_template_has_a_thumbnail_and_a_table_only_where_one_is_shipped():
    templates = sorted((ROOT / "example_workflows").glob("*.json"))
    assert len(templates) >= 6
    shipped = {path.name for path in (ROOT / "tables").glob("*.safetensors")}
    for path in templates:
        assert path.with_suffix(".jpg").is_file()
        named = re.findall(r'"([\w.-]+\.safetensors)"', path.read_text(encoding="utf-8"))
        if "tiny" in path.name or "comparison" in path.name:
            assert set(named) <= shipped and named
