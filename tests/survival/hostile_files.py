"""What strangers may send as a table: damaged files, embedded texts, archives, and questions about them."""

from __future__ import annotations

import base64
import io
import json
import lzma
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import numpy as np
from host_inputs import panel_answer

Answer = Callable[[random.Random], str]
LATENT = (4, 1, 2, 2)


def refused(text: str, start: str) -> str:
    """Check a refusal's sentence, and return how it is counted."""
    assert text.startswith(start) and text.endswith(".") and text.isprintable(), text
    assert len(text) < hostile.SENTENCE, text
    return "refused"


def damaged_tables(folder: Path) -> Answer:
    """Return a function that loads one damaged table file: refused, or exactly the table that it was."""
    from sencache.calibration.table import TableError, load, to_bytes
    from sencache.tests.unit import test_table_fuzz as files

    expected, path = files.original(), folder / "damaged.safetensors"
    data = to_bytes(expected)

    def answer(rng: random.Random) -> str:
        changed = rng.choice(files.MUTATIONS)(rng, data)
        path.write_bytes(changed)
        try:
            table = load(path)
        except TableError as error:
            return refused(str(error), "The sensitivity table 'damaged.safetensors' can't be used: ")
        assert changed == data or files.holds_the_same(table, expected), changed
        return "accepted"

    return answer


def embedded_texts() -> Answer:
    """Return a function that reads one text as the table of a workflow, damaged outside or inside."""
    from sencache.calibration.table import TableError, from_bytes, to_bytes
    from sencache.nodes.tables import embedded as embedded_table
    from sencache.tests.unit import test_table_fuzz as files

    data = to_bytes(embedded_table.condensed(files.original()))
    text = embedded_table.to_text(files.original())
    expected = embedded_table.from_text(text)

    def answer(rng: random.Random) -> str:
        kind, given = rng.randrange(3), text
        if kind == 0:
            given = files.PLAIN[rng.randrange(5)](rng, text.encode()).decode("latin-1")
        elif kind == 1:
            inner = rng.choice([*files.PLAIN, *files.HEADER])(rng, data)
            packed = lzma.compress(inner, filters=embedded_table.FILTERS)
            given = embedded_table.PREFIX + base64.b85encode(packed).decode()
        else:
            given = rng.choice([embedded_table.PREFIX, ""]) + str(hostile.value(rng))
        try:
            table = embedded_table.from_text(given)
        except TableError as error:
            return refused(f"{error}.", "The ")
        assert from_bytes(to_bytes(table)) == table and files.holds_the_same(table, expected), given
        return "accepted"

    return answer


def archives(folder: Path) -> Answer:
    """Return a function that reads one damaged research archive, some with a pickle or a bomb inside."""
    from sencache.calibration.research_npz import load_research_npz
    from sencache.calibration.table import TableError
    from sencache.tests.unit import test_table_fuzz as files

    path = folder / "damaged.npz"
    plain, objects = io.BytesIO(), np.array([{"a": 1}], dtype=object)
    steps = np.array([1000.0, 500.0, 250.0])
    np.savez(plain, timesteps=steps, J_x_norm=steps / 500, J_t_norm=steps / 250)
    path.write_bytes(plain.getvalue())
    expected = load_research_npz(path, LATENT)
    bombed = io.BytesIO()
    with zipfile.ZipFile(bombed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("timesteps.npy", bytes(20 << 20))
    pickled = io.BytesIO()
    np.savez(pickled, timesteps=objects, J_x_norm=steps, J_t_norm=steps)
    sources = [plain.getvalue()] * 6 + [pickled.getvalue(), bombed.getvalue(), pickle.dumps({"timesteps": 1})]

    def answer(rng: random.Random) -> str:
        source = rng.choice(sources)
        path.write_bytes(rng.choice(files.PLAIN)(rng, source))
        try:
            table = load_research_npz(path, LATENT)
        except TableError as error:
            return refused(str(error), "The research table 'damaged.npz' can't be used: ")
        assert files.holds_the_same(table, expected), source
        return "accepted"

    return answer


def question(rng: random.Random) -> dict[str, Any]:
    """Return what a page might ask the planner, with hostile values."""
    settings = {
        "epsilon": 0.05, "speed_up": rng.choice([0.0, 0.0, 1.0, 2.5, 6.0]), "n": 4, "rule": "plan",
        "forecast": "linear", "exact": False, "any_model": rng.random() < 0.5,
    }  # fmt: skip
    sampling = {"steps": 20, "scheduler": "simple", "sampler": "euler", "cfg": 5.0, "denoise": 1.0}
    asked: dict[str, Any] = {
        "settings": settings, "sampling": sampling, "tables": ["tiny_wan.safetensors"], "embedded": "",
        "model": rng.choice([None, None, {"fingerprint": "0" * 16, "weights": "0" * 16}]),
    }  # fmt: skip
    for _ in range(rng.randrange(1, 4)):
        part = rng.choice([settings, sampling, asked])
        part[hostile.name(rng) if rng.random() < 0.05 else rng.choice(sorted(part))] = hostile.value(rng)
    return asked


def answer_to_question(rng: random.Random) -> str:
    """Ask the planner as the panel does; return how it answered."""
    from sencache.nodes.panel.wire import QuestionError

    asked = json.loads(json.dumps(question(rng)))
    try:
        told = panel_answer(asked)
    except QuestionError as error:
        assert len(str(error)) < hostile.SENTENCE, asked
        return "refused"
    json.dumps(told, allow_nan=False)
    return refused(told["problem"]["text"], "") if "problem" in told else "accepted"
