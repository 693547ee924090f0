"""What the file of a stream's log holds, and how a process opens it.

Keys: `meta`; `b` + number (8 bytes) for entries; `k` + key for batches that were sent under a key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pyarrow as pa

from bascule.errors import EnvironmentProblem

MAP_SIZE = 64 << 30  # address space, not disk
_open: dict[str, Any] = {}
_opening = threading.Lock()


class LogState(msgspec.Struct, kw_only=True):
    """Where a log is.

    Attributes:
        id: of this log; another one begins anew.
        last: the number of the newest entry; the first is 1.
        offsets: how far the source was read, in its own words.
        watermark: the newest event time so far (µs), which lateness is counted from.
        events: how many were taken over; `aside` how many were set aside, by why.
        trimmed: entries up to this one are gone: the lake has them.
        landed: entries up to this one are in the lake; `landing` those that are on the way there.
        waiting_rows, waiting_bytes: what the lake does not have yet.
    """

    id: str
    last: int = 0
    offsets: dict[str, str] = {}
    watermark: int | None = None
    events: int = 0
    aside: dict[str, int] = {}
    trimmed: int = 0
    landed: int = 0
    landing: int = 0
    waiting_rows: int = 0
    waiting_bytes: int = 0


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry: its events as an Arrow stream, how many, what was set aside, and how far the source was then."""

    rows: int
    data: bytes
    aside: list[tuple[str, int | None, str, str]]
    offsets: dict[str, str]
    at: int


def environment_of(folder: Path) -> Any:
    """The LMDB file in a folder: opened once in this process."""
    path = os.path.realpath(folder)
    with _opening:
        if path not in _open:
            try:
                Path(path).mkdir(parents=True, exist_ok=True)
                _open[path] = lmdb.open(path, map_size=MAP_SIZE, max_readers=512)
            except OSError as error:
                hint = "Check the folder's permissions."
                raise EnvironmentProblem(f"The stream's log at {folder} cannot be made: {error}.", hint=hint) from error
        return _open[path]


def close_one(folder: Path) -> None:
    """Close the file of one log, if this process has it open."""
    with _opening:
        env = _open.pop(os.path.realpath(folder), None)
        if env is not None:
            env.close()


def close_all() -> None:
    """Close the files that this process has open; the next use opens them again."""
    with _opening:
        for env in _open.values():
            env.close()
        _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=close_all)


def state_of(transaction: Any) -> LogState:
    """Read where the log is."""
    data = transaction.get(b"meta")
    if data is None:
        return LogState(id=os.urandom(8).hex())
    return msgspec.msgpack.decode(data, type=LogState)


def put_state(transaction: Any, state: LogState) -> None:
    """Write where the log is."""
    transaction.put(b"meta", msgspec.msgpack.encode(state))


def entry_key(number: int) -> bytes:
    """The key of an entry."""
    return b"b" + number.to_bytes(8, "big")


def entries_of(transaction: Any, after: int) -> Iterator[tuple[int, bytes]]:
    """Give the entries after one, with their numbers, as they are stored."""
    with transaction.cursor() as cursor:
        found = cursor.set_range(entry_key(after + 1))
        while found and cursor.key()[:1] == b"b":
            yield int.from_bytes(cursor.key()[1:], "big"), cursor.value()
            found = cursor.next()


def beginning_with(cursor: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the keys that begin so, with their values."""
    found = cursor.set_range(prefix)
    while found and cursor.key().startswith(prefix):
        yield cursor.key(), cursor.value()
        found = cursor.next()


def written(rows: pa.RecordBatch) -> bytes:
    """A batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())
