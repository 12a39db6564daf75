"""What strangers may send to our nodes: names, inputs and workflows; each gets one clear sentence."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from host_inputs import patch_inputs
from workflows import artist_workflow

SENTENCE = 600
OURS = str(Path(__file__).resolve().parent.parent.parent / "nodes")  # as a traceback shows it
PARTS = (
    "..", "/", "\\", ".", "~", "C:", "con", "NUL",
    "com1", "\x00", "\n", "\r", "\x1b[2J", "\u202e", "%2e%2e", "$HOME",
    "table", ".safetensors", ".npz", ".unfinished", ".pkl", "ä",
    "\U0001f600", "'", '"', "`", ";", "|", "*", " ", "-",
    "\ud800", "etc/passwd", "http://", "file:///", "\\\\server\\share", "a" * 300,
)  # fmt: skip
HARMLESS = ("table", "model", "ä", "-", "_", "7", ".", " ", ".safetensors")
VALUES = (
    None, True, False, 0, 1, -1, 2, 31, 32, 2**31, 2**63, 2**64, -(2**64), 10**400, 0.5, -0.5, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "0.1", "nan", "plan", "euler", "automatic", "x" * 100_000,
    [], [1, 2, 3], {},
    {"a": 1}, ["1", 0], ["1", 99], ["99", 0], ["4", 0], [None, None], [["1", 0]], b"bytes".hex(),
)  # fmt: skip
MILD = (0, 1, 2, 0.5, 1.0, False, "plan", "paper", "hold", "euler", "simple", "automatic")


def name(rng: random.Random) -> str:
    """Return a table's name that nobody should have, or nearly one that somebody may have."""
    parts = HARMLESS if rng.random() < 0.1 else PARTS
    return "".join(rng.choice(parts) for _ in range(rng.randrange(1, 6)))


def value(rng: random.Random) -> Any:
    """Return a value of any JSON type and size."""
    kind = rng.random()
    return name(rng) if kind < 0.2 else rng.choice(MILD if kind < 0.5 else VALUES)


def inputs(rng: random.Random) -> dict[str, Any]:
    """Return Model Patch's inputs, one to four of them hostile."""
    chosen = patch_inputs(table="tiny_wan.safetensors", measure=True)
    for key in rng.sample(sorted(chosen), rng.randrange(1, 5)):
        chosen[key] = value(rng)
    return chosen


def comparison(rng: random.Random) -> tuple[Any, Any, Any]:
    """Return Compare's inputs: two videos of any shape, type and value, often alike, and a speed."""

    def video() -> Any:
        if rng.random() < 0.1:
            return value(rng)
        shape = [rng.choice((0, 1, 2, 3, 4, 7, 12)) for _ in range(rng.choice((3, 4, 4, 4, 5)))]
        if rng.random() < 0.7:
            shape[-1] = 3
        filled = torch.full(shape, rng.choice((0.0, 0.5, 1.0, -3.0, 1e30, math.inf, math.nan)))
        return filled.to(rng.choice((torch.float32, torch.float16, torch.bfloat16, torch.uint8)))

    one = other = video()
    if rng.random() < 0.6:
        other = torch.rand(one.shape) if torch.is_tensor(one) else video()
    return one, other, rng.choice((16.0, 0.0, -1.0, math.nan, math.inf, 1e-30))


def workflow(rng: random.Random) -> dict[str, Any]:
    """Return a workflow in API format with hostile values at our nodes."""
    patch, calibrate = inputs(rng), {
        "steps": 4, "sampler": "euler", "scheduler": "simple", "samples": 1, "cfg": 3.0, "seed": 1,
        "table_name": "hostile", "model": ["1", 0], "positive": ["2", 0],
        "negative": ["3", 0], "latent": ["4", 0],
    }  # fmt: skip
    for key in rng.sample(sorted(calibrate), rng.randrange(3)):
        calibrate[key] = value(rng)
    if rng.random() < 0.2:
        calibrate[name(rng)] = value(rng)
    patch["model"] = ["1", 0] if rng.random() < 0.8 else value(rng)
    prompt = artist_workflow(4, 4, 1, "hostile")
    prompt["5"]["inputs"], prompt["6"]["inputs"] = calibrate, patch
    if rng.random() < 0.2:
        node = prompt[rng.choice(["5", "6", "8"])]["inputs"]
        node[rng.choice(sorted(node))] = value(rng)
    return prompt


def sentence(text: str, node: str) -> bool:
    """Tell whether a text is one clear sentence of a node: short, printable, without a path."""
    shaped = text.startswith(f"{node}: ") and text.endswith(".") and len(text) <= SENTENCE
    return shaped and text.isprintable() and str(Path.home()) not in text and "Traceback" not in text


def answer_to_name(given: str) -> str:
    """Give a name to everything that takes one; return how it was answered."""
    from sencache.calibration.table import TableError
    from sencache.nodes.calibrate import SenCacheCalibrate
    from sencache.nodes.model_patch import SenCacheModelPatch
    from sencache.nodes.refusals import refusal
    from sencache.nodes.tables import files as table_files
    from sencache.nodes.tables.choice import file_choice

    told = SenCacheCalibrate.validate_inputs(table_name=given)
    assert told is True or sentence(told, "SenCache Calibrate"), (given, told)
    assert SenCacheModelPatch.validate_inputs(table=given) is True  # the node itself refuses
    try:
        file_choice(given)
    except TableError as error:
        told = refusal("SenCache Model Patch", error)
        assert sentence(told, "SenCache Model Patch"), (given, told)
    assert len(SenCacheModelPatch.fingerprint_inputs(table=given)) in (0, 64)
    try:
        target = table_files.save_target(given)
    except TableError:
        return "refused"
    folder = target.path.parent.resolve()
    assert all(path.resolve().parent == folder for path in (target.path, target.partial)), given
    return "accepted"


def answer_to_inputs(model: Any, given: dict[str, Any]) -> str:
    """Run Model Patch on inputs that no host has checked; return how it was answered."""
    from sencache.nodes.model_patch import SenCacheModelPatch

    try:
        patched = SenCacheModelPatch.execute(model, **given).args[0]
    except ValueError as error:
        assert sentence(str(error), "SenCache Model Patch"), (given, str(error)[:SENTENCE])
        return "refused"
    assert patched is not model and patched.model is model.model
    return "accepted"


def answer_to_comparison(given: tuple[Any, Any, Any]) -> str:
    """Run Compare on inputs that no host has checked; return how it was answered."""
    from sencache.nodes.compare import SenCacheCompare

    SenCacheCompare.hidden = SimpleNamespace(unique_id="1")
    try:
        output = SenCacheCompare.execute(*given)
    except ValueError as error:
        assert sentence(str(error), "SenCache Compare"), (given, str(error)[:SENTENCE])
        return "refused"
    json.dumps(output.ui, allow_nan=False)
    assert torch.isfinite(output.args[0]).all(), given
    return "accepted"


async def answer_to_workflow(given: dict[str, Any], number: int) -> str:
    """Let the host validate a workflow, our own checks included; return how it was answered.

    The host turns an exception in a node's check into an error of its own kind; ours must raise none.
    """
    import execution

    valid, _, _, errors = await execution.validate_prompt(str(number), given, None)
    for error in (error for found in errors.values() for error in found["errors"]):
        assert OURS not in str(error), (given, error)
        if error["type"] == "custom_validation_failed":
            told = error["details"].split(" - ", 1)[-1]
            assert sentence(told, told.split(":")[0]) and told.startswith("SenCache"), (given, told)
    return "accepted" if valid and not errors else "refused"
