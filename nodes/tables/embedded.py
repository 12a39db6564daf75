"""A table as text inside a workflow: compressed, versioned, capped in size, and checked like any file.

What a run needs is kept exactly, so that the text plans what the file plans: of the samples, their means.
Version 1 was the whole deflated file, and is still read.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import torch

from ...calibration import table as tables
from ...calibration.checks import refuse_unless
from ...calibration.files import MAX_FILE_BYTES
from ...calibration.packing import pack, unpack
from ...calibration.table import SensitivityTable, TableError

PREFIX = "sencache2:"
FIRST_PREFIX = "sencache1:"
FAMILY = "sencache"
# Base 85 without the characters that prompts, JSON and file names give a meaning.
ALPHABET, PLAIN = "{|}%`", ",.:[]"
TO_PLAIN, FROM_PLAIN = str.maketrans(ALPHABET, PLAIN), str.maketrans(PLAIN, ALPHABET)
MAX_TEXT = 256 * 1024
UNNAMED = "embedded table"


def condensed(table: SensitivityTable, name: str | None = None) -> SensitivityTable:
    """Return a table with the means in place of its samples, under another name where one is given.

    Decisions are made of the means and the modes alone, and both stay bit for bit.
    """
    rows = {}
    for row_name in table.rows:
        mean = table.mean(row_name)
        rows[row_name] = torch.tensor([mean], dtype=torch.float32)
    metadata = dict(table.metadata)
    metadata.setdefault("measured_samples", str(table.num_samples))
    if name is not None:
        metadata["name"] = name
    return SensitivityTable(table.timestep, table.sigma, rows, metadata, table.modes)


def to_text(table: SensitivityTable, name: str | None = None) -> str:
    """Write a table as text for a workflow's JSON; raises TableError where it is too long to be read."""
    text = PREFIX + base64.b85encode(pack(condensed(table, name))).decode().translate(TO_PLAIN)
    if len(text) > MAX_TEXT:
        raise TableError(f"the table is too large to be embedded: {len(text)} characters of {MAX_TEXT}")
    return text


def from_text(text: str) -> SensitivityTable:
    """Read a stranger's text; raises TableError in one sentence unless every check passes."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise TableError(f"the embedded table is longer than the {MAX_TEXT} characters that it may have")
    if not text.startswith((PREFIX, FIRST_PREFIX)):
        newer = text.startswith(FAMILY) and ":" in text[:20]
        raise TableError(
            "the embedded table is of another version; update the pack"
            if newer
            else "the text in embedded_table is not an embedded table; clear it, or embed the table again"
        )
    try:
        if text.startswith(FIRST_PREFIX):
            return tables.from_bytes(_unpacked(text.removeprefix(FIRST_PREFIX)))
        return unpack(_decoded(text.removeprefix(PREFIX)))
    except TableError as error:
        raise TableError(f"the embedded table can't be used: {error}") from error


def _decoded(code: str) -> bytes:
    refuse_unless(not set(code) & set(ALPHABET), "it is damaged")
    try:
        return base64.b85decode(code.translate(FROM_PLAIN))
    except ValueError as error:
        raise TableError("it is damaged") from error


def _unpacked(code: str) -> bytes:
    """Decode and decompress, never holding more than a table file may have."""
    try:
        packed = base64.b64decode(code.encode("ascii"), altchars=b"-_", validate=True)
        decompress = zlib.decompressobj()
        data = decompress.decompress(packed, MAX_FILE_BYTES + 1)
    except (binascii.Error, UnicodeEncodeError, zlib.error) as error:
        raise TableError("it is damaged") from error
    if not decompress.eof or decompress.unused_data:
        raise TableError("it is damaged, or larger than a table may be")
    return data


def name_of(table: SensitivityTable) -> str:
    """Return the name that a table was embedded under."""
    return table.metadata.get("name", UNNAMED)[:255]
