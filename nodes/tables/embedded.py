"""A table as text inside a workflow: the compressed file, capped in size and checked like any file.

What a run needs is kept exactly, so that the text plans what the file plans: of the samples, their means.
"""

from __future__ import annotations

import base64
import lzma

import torch

from ...caching.notes import Note
from ...calibration import table as tables
from ...calibration.files import MAX_FILE_BYTES
from ...calibration.table import SensitivityTable, TableError
from ..refusals import NotedTableError

PREFIX = "sencache1:"
FAMILY = "sencache"
MAX_TEXT = 256 * 1024
MAX_MEMORY = 8 * MAX_FILE_BYTES  # that unpacking a stranger's text may take
UNNAMED = "embedded table"
# A float32 has four bytes: each is foreseen from its place among them (lp), not from the one before (lc).
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": MAX_FILE_BYTES, "lc": 0, "lp": 2}]


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
    packed = lzma.compress(tables.to_bytes(condensed(table, name)), filters=FILTERS)
    text = PREFIX + base64.b85encode(packed).decode()
    if len(text) > MAX_TEXT:
        raise NotedTableError(Note("too_large_to_embed", {"count": len(text), "most": MAX_TEXT}))
    return text


def from_text(text: str) -> SensitivityTable:
    """Read a stranger's text; raises TableError in one sentence unless every check passes."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise NotedTableError(Note("embedded_too_long", {"most": MAX_TEXT}))
    if not text.startswith(PREFIX):
        newer = text.startswith(FAMILY) and ":" in text[:20]
        raise NotedTableError(Note("embedded_version" if newer else "embedded_unknown"))
    data = _unpacked(text.removeprefix(PREFIX))
    try:
        return tables.from_bytes(data)
    except TableError as error:
        raise NotedTableError(Note("embedded_unusable", {"why": str(error)})) from error


def _unpacked(code: str) -> bytes:
    """Decode and decompress, never holding more than a table file may have."""
    try:
        decompress = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_MEMORY)
        data = decompress.decompress(base64.b85decode(code), MAX_FILE_BYTES + 1)
    except (ValueError, EOFError, lzma.LZMAError) as error:
        raise NotedTableError(Note("embedded_damaged")) from error
    if not decompress.eof or decompress.unused_data:
        raise NotedTableError(Note("embedded_damaged"))
    return data


def name_of(table: SensitivityTable) -> str:
    """Return the name that a table was embedded under."""
    return table.metadata.get("name", UNNAMED)[:255]
