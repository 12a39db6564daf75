"""Ten thousand damaged table files: each is refused, or it still holds exactly the same table."""

from __future__ import annotations

import json
import pickle
import random
import time
from collections import Counter
from dataclasses import replace

import torch
from sencache.calibration.modes import OutputModes
from sencache.calibration.table import TableError, load, to_bytes
from sencache.tests.toy_tables import Trap, build, parts

FILES = 10_000
SEED = 20260801
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "C64", "F8_E4M3", "F4", "f32", "", 4, None]
NUMBERS = [-1, 0, 1, 2, 3, 4, 8, 24, 1000, 2**31, 2**53, 2**63, 2**64, 10**30, 1.5, "3", None, True, []]


def original():
    rows = {"alignment": torch.tensor([[1.0, -0.5, 0.0], [0.5, 0.5, -1.0]])}
    table = build(parts() | rows, {"fingerprint": "wan-a", "model": "Tiny Wan ✓", "steps": "50"})
    columns = torch.tensor([[[1.0, 0.5], [0.25, 0.5]], [[0.0, 0.25], [-0.5, 0.125]]])
    return replace(table, modes=OutputModes(torch.tensor([1000.0, 100.0]), columns))


def split(data):
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def joined(header, body):
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text + body


def flip_bits(rng, data):
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_bytes(rng, data):
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8, 32])):
        changed[rng.randrange(len(changed))] = rng.choice([0, 0x20, 0x22, 0x7F, 0xFF, rng.randrange(256)])
    return bytes(changed)


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def insert(rng, data):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 4, 8, 100])) + data[at:]


def duplicate_or_drop_slice(rng, data):
    first, second = sorted(rng.sample(range(len(data) + 1), 2))
    return data[:second] + data[first:] if rng.random() < 0.5 else data[:first] + data[second:]


def edit_entry(rng, data):
    header, body = split(data)
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    field = rng.choice(["dtype", "shape", "data_offsets"])
    if field == "dtype":
        entry[field] = rng.choice(DTYPES)
    elif rng.random() < 0.2:
        entry[field] = rng.choice([[], [0, 0], [2] * 500, [0, 2**63], entry[field][::-1], "x", None])
    else:
        entry[field][rng.randrange(len(entry[field]))] = rng.choice(NUMBERS)
    return joined(json.dumps(header), body)


def edit_entries(rng, data):
    header, body = split(data)
    name, other = rng.sample(sorted(set(header) - {"__metadata__"}), 2)
    action = rng.choice(["rename", "remove", "alias", "replace"])
    if action == "rename":
        header[rng.choice(["weights", "a\nb", "", "__proto__", "output_rms", other])] = header.pop(name)
    elif action == "remove":
        del header[name]
    elif action == "alias":
        header["latent_drift"] = header[name]
    else:
        header[name] = rng.choice(NUMBERS)
    return joined(json.dumps(header), body)


def edit_metadata(rng, data):
    header, body = split(data)
    metadata = header["__metadata__"]
    key = rng.choice(sorted(metadata))
    action = rng.choice(["change", "remove", "add", "whole"])
    if action == "change":
        metadata[key] = rng.choice([*NUMBERS, "", "2", "x" * 5000, "\ud800", {"a": "b"}, metadata[key] + "0"])
    elif action == "remove":
        del metadata[key]
    elif action == "add":
        metadata[rng.choice(["k" * 70, "note", "\udfff", ""])] = "x" * rng.choice([0, 1, 5000])
    else:
        header["__metadata__"] = rng.choice([*NUMBERS, {}, "text"])
    return joined(json.dumps(header), body)


def duplicate_key(rng, data):
    header, body = split(data)
    name = rng.choice(sorted(header))
    other = rng.choice([header[name], header[rng.choice(sorted(header))], None, {}, 1])
    extra = f"{json.dumps(name)}: {json.dumps(other)}"
    text = json.dumps(header)
    pair = [text[1:-1], extra]
    rng.shuffle(pair)
    return joined("{" + ", ".join(pair) + "}", body)


def change_header_length(rng, data):
    real = int.from_bytes(data[:8], "little")
    size = rng.choice([0, 1, real - 1, real + 1, real + 8, len(data), 10**8, 2**31, 2**63, 2**64 - 1])
    return size.to_bytes(8, "little") + data[8:]


def swap_tensors(rng, data):
    header, body = split(data)
    first, second = rng.sample(sorted(set(header) - {"__metadata__"}), 2)
    header[first], header[second] = header[second], header[first]
    return joined(json.dumps(header), body)


def move_tensors(rng, data):
    """Store the same tensors in another order."""
    header, body = split(data)
    names, moved = [name for name in header if name != "__metadata__"], b""
    rng.shuffle(names)
    for name in names:
        first, last = header[name]["data_offsets"]
        header[name]["data_offsets"] = [len(moved), len(moved) + last - first]
        moved += body[first:last]
    return joined(json.dumps(header), moved)


def write_header_otherwise(rng, data):
    """Say the same in other JSON, mostly; what safetensors does not read, such as UTF-16, is refused."""
    header, body = split(data)
    items = list(header.items())
    rng.shuffle(items)
    text = json.dumps(dict(items), indent=rng.choice([None, 0, 3]), ensure_ascii=rng.random() < 0.5)
    text += rng.choice([" ", "\n", "\t"]) * rng.randrange(20)
    return joined(text.encode(rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])), body)


def graft_pickle(rng, data, trap=b""):
    header, body = split(data)
    places = [trap, trap + data, data[:8] + trap + data[8:], data + trap, joined(json.dumps(header), trap)]
    at = rng.randrange(len(data))
    return rng.choice([*places, data[:at] + trap + data[at + len(trap) :], joined(trap, body)])


PLAIN = [flip_bits, change_bytes, truncate, insert, duplicate_or_drop_slice, change_header_length]
HEADER = [edit_entry, edit_entries, edit_metadata, duplicate_key, swap_tensors]
HARMLESS = [move_tensors, write_header_otherwise]
MUTATIONS = [*PLAIN, *HEADER, *HARMLESS, graft_pickle]


def holds_the_same(table, expected):
    tensors = [(table.timestep, expected.timestep), (table.sigma, expected.sigma)]
    tensors += [(row, expected.rows[name]) for name, row in table.rows.items()]
    same_values = all(a.dtype == b.dtype and torch.equal(a, b) for a, b in tensors)
    return same_values and table.rows.keys() == expected.rows.keys() and table.metadata == expected.metadata


def test_ten_thousand_damaged_files_are_refused_or_hold_exactly_the_same_table(tmp_path):
    rng, expected = random.Random(SEED), original()
    data, path, folder = to_bytes(expected), tmp_path / "damaged.safetensors", tmp_path / "unpickled"
    trap, outcomes, slowest = pickle.dumps(Trap(folder)), Counter(), 0.0
    while outcomes.total() < FILES:
        mutation = MUTATIONS[outcomes.total() % len(MUTATIONS)]
        changed = graft_pickle(rng, data, trap) if mutation is graft_pickle else mutation(rng, data)
        if changed == data:
            continue
        path.write_bytes(changed)
        started = time.monotonic()
        try:
            table = load(path)
        except TableError as error:
            sentence = str(error)
            assert sentence.startswith("The sensitivity table 'damaged.safetensors' can't be used: ")
            assert sentence.endswith(".") and sentence.isprintable() and len(sentence) < 300
            outcomes[mutation.__name__, "refused"] += 1
        else:
            assert holds_the_same(table, expected), (mutation.__name__, outcomes.total())
            outcomes[mutation.__name__, "equal"] += 1
        slowest = max(slowest, time.monotonic() - started)
    refused, equal = (sum(n for (_, kind), n in outcomes.items() if kind == k) for k in ("refused", "equal"))
    assert refused + equal == FILES
    assert refused > 0.8 * FILES and equal > 0.05 * FILES, outcomes
    assert all(outcomes[mutation.__name__, "refused"] > 400 for mutation in (*PLAIN, *HEADER)), outcomes
    assert all(outcomes[mutation.__name__, "equal"] > 200 for mutation in HARMLESS), outcomes
    assert slowest < 5.0
    assert not folder.exists()
