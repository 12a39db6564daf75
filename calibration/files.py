"""Reads small untrusted files and writes files whole; every refusal is one sentence with the file's name."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .checks import TableError, refuse_unless

MAX_FILE_BYTES = 1 << 20


def check_size(data: bytes) -> None:
    """Raise TableError for more bytes than a table may have."""
    limit = f"{MAX_FILE_BYTES >> 20} MiB"
    refuse_unless(len(data) <= MAX_FILE_BYTES, f"it is larger than the {limit} that a table may have")


def read_small(path: str | Path) -> bytes:
    """Read a file without ever holding more than a table may have; raises TableError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TableError(error.strerror or type(error).__name__) from error
    except ValueError as error:  # a name that no file can have, such as one with a zero byte
        raise TableError(str(error)) from error
    check_size(data)
    return data


@contextlib.contextmanager
def naming(path: str | Path, kind: str, outcome: str = "can't be used") -> Iterator[None]:
    """Turn the reason of a TableError raised inside into a sentence about the file."""
    try:
        yield
    except TableError as error:
        raise TableError(f"The {kind} {Path(path).name!r} {outcome}: {error}.") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name only ever holds a whole one: the old or the new; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner alone, and the final file would stay so.
    temporary = path.with_name(f".{secrets.token_hex(8)}.saving")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def with_sorted_header(data: bytes) -> bytes:
    """Rewrite a safetensors header in one order; safetensors 0.8 writes the metadata in a random one."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[start:]
