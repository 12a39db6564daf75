"""Every code that the pack says has a sentence, in each language, with the same gaps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sencache.caching.notes import Note
from sencache.caching.policy import Reason
from sencache.caching.sentences import NotedError, reason_text, sentence, texts
from sencache.caching.visibility import Visibility
from sencache.calibration.recording import Obstacle
from sencache.nodes.refusals import NotedTableError, problem, refusal

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
COMMENT = re.compile(r"(?m)^\s*(?://|\*|/\*\*).*$|/\*\*.*?\*/")
ASKED = re.compile(r"(?<![\w.])(text|button)\(\s*")
OF_ANY_BUTTON = ("name", "`${name}_tip`")  # how `button` in lib/view.js asks for what it is given


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
    """Read the names of the panels' texts off every script: each call must tell its names."""
    found = set()
    for path in SCRIPTS:
        code = COMMENT.sub("", path.read_text(encoding="utf-8"))
        for call in ASKED.finditer(code):
            (asked, *_) = parts(code[call.end() :], ",")
            if path.name == "view.js" and asked in OF_ANY_BUTTON:
                continue
            names = names_of(asked, code)
            assert names, f"{path.name}: what text does {call.group()}{asked} ask for?"
            found |= names | ({f"{name}_tip" for name in names} if call.group(1) == "button" else set())
    return found


def parts(code: str, separator: str) -> list[str]:
    """Split an expression, up to the end of what holds it, where a separator is not inside anything."""
    found, depth, quote = [""], 0, ""
    for place, sign in enumerate(code):
        if not quote and depth == 0 and sign in ")]};":
            break
        quote = "" if sign == quote else quote or (sign if sign in "\"'`" else "")
        if not quote:
            depth += (sign in "([{") - (sign in ")]}")
        other = code[place + 1 : place + 2] in (".", "?") or code[place - 1 : place] == "?"  # ?. and ??
        if sign == separator and not quote and depth == 0 and not (sign == "?" and other):
            found.append("")
        else:
            found[-1] += sign
    return [part.strip() for part in found]


def names_of(asked: str, code: str) -> set[str]:
    """Return the names that an expression may be: a text, one of two, or what a constant holds."""
    if literal := re.fullmatch(r'"(\w+)"', asked):
        return {literal.group(1)}
    if len(branches := parts(asked, "?")) == 2:
        both = [names_of(branch, code) for branch in parts(branches[1], ":")]
        return set().union(*both) if all(both) else set()
    if held := re.search(rf"\bconst {re.escape(asked)} = ", code):
        return names_of(parts(code[held.end() :], "\n")[0], code)
    if looped := re.search(rf"Object\.entries\((\w+)\)\.map\(\(\[{re.escape(asked)}, ", code):
        held = re.search(rf"(?ms)^const {looped.group(1)} = {{\n(.*?)^}};", code)
        return set(re.findall(r"(?m)^  (\w+):", held.group(1))) if held else set()
    return set()


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
    assert reason_text(Reason.FIRST) == "first step"


def test_every_word_for_an_error_has_its_text_and_no_text_is_left_over():
    assert set(texts()["en"]["visibility"]) == {one.value for one in Visibility}


def test_every_note_in_the_source_has_a_sentence_with_its_gaps():
    said = notes_said()
    assert len(said) > 10
    for code, given in said.items():
        text = texts()["en"]["notes"][code]
        assert given is None or given == set(gaps(text)), code


def test_no_note_is_left_over():
    obstacles = {f"unmeasurable_{one.value}" for one in Obstacle}
    told = {code for code in texts()["en"]["notes"] if code.startswith("unmeasurable_")}
    assert told == obstacles
    assert set(texts()["en"]["notes"]) - told == set(notes_said())


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ('say(text("saved"))', {"saved"}),
        ('text(answer.there ? "there" : "saved", answer)', {"there", "saved"}),
        ('text(valueOf(this.node, "n") === 0 ? "zero" : "one")', {"zero", "one"}),
        ('text((a?.b ?? "?") ? "one" : "two", {})', {"one", "two"}),
        ('const calls = a === b ? "one" : "two";\ntext(calls, { n: 1 })', {"one", "two"}),
        ("const P = {\n  a: 1,\n  b: 2,\n};\nObject.entries(P).map(([name, of]) => text(name", {"a", "b"}),
        ("text(`${name}_more`)", set()),
        ("text(name)", set()),
    ],
)
def test_the_names_that_a_script_asks_for_are_read_as_it_means_them(script, names):
    call = list(ASKED.finditer(script))[-1]
    assert names_of(parts(script[call.end() :], ",")[0], script) == names


@pytest.mark.parametrize("locale", sorted(texts()))
def test_every_text_that_a_panel_asks_for_is_there_and_none_is_left_over(locale):
    asked, there = panel_texts_asked(), set(texts()[locale]["panel"])
    assert len(asked) > 60
    assert (sorted(asked - there), sorted(there - asked)) == ([], [])


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
