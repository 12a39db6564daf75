"""Packs a table's means and modes into as few bytes as hold them exactly.

Numbers become whole multiples of the coarsest power of two that fits, second differences along model time,
seven bits a byte; then all is deflated. A rounded table (`rounding.py`) takes a few kB. What fits no power of
two is packed as the bits of its float32 values, and is just as exact.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checks import MAX_SAMPLES, ROW_LIMITS, TableError, refuse_unless
from .files import MAX_FILE_BYTES
from .modes import OutputModes
from .table import KNOT_NAMES, MODE_NAMES, SensitivityTable

Integers = NDArray[np.int64]

FINEST, COARSEST = 60, -20  # powers of two; 2^60 parts of one, multiples of 2^20
BITS = 99  # in place of a power: the numbers are the bits of float32
LARGEST = 2.0**40
LONGEST = 8  # bytes of a number
CHECK_BYTES = 6
MODES_TIMESTEP, OUTPUT_MODES = MODE_NAMES
ORDER = (*KNOT_NAMES, MODES_TIMESTEP, *sorted(ROW_LIMITS), OUTPUT_MODES)
# What most tables say, so that it need not be said again. Part of the format: never to be changed.
USUAL = (
    b'"sampling_settings":"{}","schedule":"ModelSamplingFlux","schedule":"ModelSamplingDiscreteFlow",'
    b'"sampling_settings":"{\\"shift\\": 8.0}","multiplier":"1000","prediction":"V_PREDICTION","shift":"1",'
    b'"latents":"empty","dtype":"bfloat16","dtype":"float16","sampler":"uni_pc","model":"LTXV (",'
    b'"steps":"30","cfg":"5","conditioning":"","dtype":"float32","fingerprint":"",'
    b'"latent_shape":"16x8x12x12","latents":"empty","measured_samples":"8",'
    b'"model":"WAN21_T2V ( M parameters)","name":".safetensors","prediction":"CONST","sampler":"euler",'
    b'"scheduler":"simple","seed":"0","shift":"8","source":"own trajectories","steps":"50","weights":"'
)


def pack(table: SensitivityTable) -> bytes:
    """Write a table of one sample; equal tables give equal bytes.

    Means over `measured_samples` are packed as their sums where those are shorter, as of rounded values.
    """
    refuse_unless(table.num_samples == 1, f"it has {table.num_samples} samples, and only means are packed")
    held = {"timestep": table.timestep, "sigma": table.sigma, **table.rows}
    if table.modes is not None:
        held |= zip(MODE_NAMES, (table.modes.timestep, table.modes.values), strict=True)
    samples = table.metadata.get("measured_samples", "")
    divisors = {1, min(int(samples[:4]), MAX_SAMPLES)} if samples.isdecimal() else {1}
    head, body = {}, b""
    for name in ORDER:
        if name in held:
            numbers, *how = min(_ways(held[name], divisors - {0}), key=lambda way: (len(way[0]), way[1:]))
            head[name] = [*how, *held[name].shape]
            body += numbers
    texts = json.dumps([head, dict(sorted(table.metadata.items()))], separators=(",", ":"))
    data = texts.encode() + b"\0" + body
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, USUAL)
    return hashlib.sha256(data).digest()[:CHECK_BYTES] + squeeze.compress(data) + squeeze.flush()


def unpack(packed: bytes) -> SensitivityTable:
    """Read a stranger's bytes, never holding more than a table may have; raises TableError."""
    try:
        squeezed = zlib.decompressobj(-zlib.MAX_WBITS, USUAL)
        data = squeezed.decompress(packed[CHECK_BYTES:], MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise TableError("it is damaged") from error
    whole = squeezed.eof and not squeezed.unused_data and len(data) <= MAX_FILE_BYTES
    refuse_unless(whole, "it is damaged, or larger than a table may be")
    same = hashlib.sha256(data).digest()[:CHECK_BYTES] == packed[:CHECK_BYTES]
    refuse_unless(same, "it is damaged: its contents do not match its checksum")
    try:
        texts, _, body = data.partition(b"\0")
        head, metadata = json.loads(texts)
        held = dict(_tensors(head, body))
        modes = OutputModes(*(held.pop(name) for name in MODE_NAMES)) if OUTPUT_MODES in held else None
        return SensitivityTable(held.pop("timestep"), held.pop("sigma"), held, metadata, modes)
    except TableError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise TableError("it is damaged") from error


def _ways(values: Tensor, divisors: set[int]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the numbers, the divisor and the power of every way to write values exactly."""
    exact = values.numpy()
    yield _written(exact.view(np.int32).astype(np.int64)), 1, BITS
    for divisor in sorted(divisors):
        for power in range(COARSEST, FINEST + 1):
            scaled = np.round(exact.astype(np.float64) * divisor * 2.0**power)
            if np.abs(scaled).max() > LARGEST:
                break
            integers = scaled.astype(np.int64)
            if _as_floats(integers, divisor, power).tobytes() == exact.tobytes():
                yield _written(integers), divisor, power
                break


def _as_floats(integers: Integers, divisor: int, power: int) -> NDArray[np.float32]:
    if power == BITS:
        return integers.astype(np.uint32).view(np.float32)
    return (integers / 2.0**power / divisor).astype(np.float32)


def _written(integers: Integers) -> bytes:
    """Write integers `[..., K]`: guidance apart from its negative branch, differences, seven bits a byte."""
    apart = integers.copy()
    if apart.ndim == 3 and apart.shape[1] == 2:
        apart[:, 0] -= apart[:, 1]
    for _ in range(2):
        apart[..., 1:] = np.diff(apart, axis=-1)
    signless = np.where(apart >= 0, 2 * apart, -2 * apart - 1).reshape(-1, 1)
    parts = signless >> (7 * np.arange(LONGEST))
    last = parts[:, 1:].astype(bool).sum(axis=1, keepdims=True)
    continued = (parts & 127) | np.where(np.arange(LONGEST) < last, 128, 0)
    return bytes(continued[np.arange(LONGEST) <= last].astype(np.uint8))


def _tensors(head: dict[str, Any], body: bytes) -> Iterator[tuple[str, Tensor]]:
    """Read what the head names, in its order; nothing else may be in the body."""
    refuse_unless(set(head) <= set(ORDER), "it has an unknown entry")
    numbers, at = _numbers(body), 0
    for name in (name for name in ORDER if name in head):
        divisor, power, *shape = (int(number) for number in head[name])
        known = 1 <= divisor <= MAX_SAMPLES and (power == BITS or COARSEST <= power <= FINEST)
        refuse_unless(known and 1 <= len(shape) <= 3 and min(shape) > 0, "it is damaged")
        count = int(np.prod(shape, dtype=object))
        refuse_unless(count <= len(numbers) - at, "it is damaged")
        integers = numbers[at : at + count].reshape(shape).copy()
        at += count
        for _ in range(2):
            integers = np.cumsum(integers, axis=-1)
        if len(shape) == 3 and shape[1] == 2:
            integers[:, 0] += integers[:, 1]
        yield name, torch.from_numpy(_as_floats(integers, divisor, power))
    refuse_unless(at == len(numbers), "it is damaged")


def _numbers(body: bytes) -> Integers:
    """Read whole numbers with their signs, seven bits a byte."""
    data = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(data < 128)
    refuse_unless(len(ends) > 0 and ends[-1] == len(data) - 1, "it is damaged")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    refuse_unless(int(lengths.max()) <= LONGEST, "it is damaged")
    places = np.arange(len(data)) - np.repeat(starts, lengths)
    signless = np.add.reduceat((data & 127).astype(np.int64) << (7 * places), starts)
    return np.where(signless & 1, -(signless >> 1) - 1, signless >> 1)
