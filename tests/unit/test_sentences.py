"""Every code that the pack says has a sentence, in each language, with the same gaps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sencache.caching.notes import Note
from sencache.caching.policy import Reason
from sencache.caching.sentences import NotedError, reason_text, sentence, texts
from sencache.nodes.refusals import NotedTableError, problem, refusal

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
CHOICES = ("quality", "balanced", "fast", "quick", "paper")  # presets
PANEL_TEXT = re.compile(r'\btext\(\s*(?:\w+(?:\.\w+)* \? )?"(\w+)"(?: : "(\w+)")?')


def gaps(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


def notes_said() -> dict[str, set[str] | None]:
    """Read every `Note("code", {...})` off the source: its code, and its values where they are plain."""
    found: dict[str, set[str] | None] = {}
    for folder in ("caching", "nodes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Note") and call.args:
                    found.update(dict.fromkeys(codes(call.args[0]), values(call)))
    return found


def codes(said: ast.expr) -> list[str]:
    """Return the codes of an expression: a text, or one of two."""
    chosen = [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]
    return [one.value for one in chosen if isinstance(one, ast.Constant) and one.value]


def values(call: ast.Call) -> set[str] | None:
    if len(call.args) < 2:
        return set()
    given = call.args[1]
    return {ast.literal_eval(key) for key in given.keys if key} if isinstance(given, ast.Dict) else None


def panel_texts_asked() -> set[str]:
    """Read the names of the panels' texts off their source."""
    pairs = [pair for path in SCRIPTS for pair in PANEL_TEXT.findall(path.read_text(encoding="utf-8"))]
    return {name for pair in pairs for name in pair if name}


@pytest.mark.parametrize("locale", sorted(texts()))
def test_every_language_has_the_same_texts_with_the_same_gaps(locale):
    english, other = texts()["en"], texts()[locale]
    assert {part: set(held) for part, held in other.items()} == {
        part: set(held) for part, held in english.items()
    }
    for part, held in english.items():
        for name, text in held.items():
            assert other[part][name].strip() and gaps(other[part][name]) == gaps(text), (part, name)


def test_english_and_chinese_are_there():
    assert {"en", "zh"} <= set(texts())
    assert all(texts()["zh"]["notes"][code] != text for code, text in texts()["en"]["notes"].items())


def test_every_reason_has_its_text_and_no_text_is_left_over():
    assert set(texts()["en"]["reasons"]) == {reason.value for reason in Reason}
    assert reason_text(Reason.FIRST) == "first evaluation"


def test_every_note_in_the_source_has_a_sentence_with_its_gaps():
    said = notes_said()
    assert len(said) > 10
    for code, given in said.items():
        text = texts()["en"]["notes"][code]
        assert given is None or given == set(gaps(text)), code


def test_every_text_that_a_panel_asks_for_is_there_and_none_is_left_over():
    asked = panel_texts_asked()
    tips = {f"{name}_tip" for name in (*CHOICES, "embed", "unembed", "save")}
    built = tips | set(CHOICES) | {"embed", "unembed", "save"}
    assert asked | built == set(texts()["en"]["panel"])


def test_a_note_is_worded_with_its_values_in_the_gaps():
    note = Note("no_steps_left", {"steps": 20})
    assert sentence(note) == "The sampler's start and end leave nothing of its 20 steps."
    assert sentence(Note("table_gone", {"name": "{why}"})).startswith("There is no sensitivity table '{why}'")


def test_an_error_that_is_a_note_reads_like_any_other_and_keeps_its_code():
    error = NotedTableError(Note("table_exists", {"name": "mine"}))
    assert isinstance(error, NotedError) and isinstance(error, ValueError)
    assert refusal("Node", error) == f"Node: {sentence(error.note)}"
    assert problem(error) == {
        "code": "table_exists",
        "values": {"name": "mine"},
        "text": "models/sencache already has another table named 'mine'; rename that one first.",
    }
    assert problem(error) == problem(error.note)


def test_an_error_without_a_note_is_told_in_its_own_words():
    assert problem(ValueError("epsilon is -1.")) == {"code": "", "values": {}, "text": "epsilon is -1."}
    assert len(problem(ValueError("x" * 5000))["text"]) < 420
