"""Reading journals: whole records from any place on, up to where a writer is, or was when it was killed.

`child/bascule_journal.py` says how a record is written.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bascule.capture import module

_written = module("bascule_journal")
_legible = module("bascule_session").legible
SUFFIX: str = _written.SUFFIX
# So much is read of a journal at once, and so much more as one record needs.
AT_ONCE = 1 << 20

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """Points as they were written together, in columns.

    Attributes:
        names: of which run (empty: the session's own) and which metric.
        marks: of each point the place of its name in `names`.
        times: nanoseconds since 1970 UTC.
    """

    names: list[tuple[str, str]]
    marks: array[int]
    times: array[int]
    steps: array[int]
    values: array[float]


Record = Entry | Block


def records(path: Path, start: int = 0, most: int = AT_ONCE) -> Iterator[tuple[Record, int]]:
    """Yield the whole records of a journal from a place on, each with the place where it ends.

    What is torn, or is no record, ends the journal: nothing behind it is read.

    Args:
        start: where a record begins.
        most: stop after so many bytes; one record is yielded whatever its size.
    """
    with open(path, "rb") as source:
        source.seek(start)
        data = source.read(max(most, _written.HEAD.size))
        at = 0
        while True:
            size = _size(data, at)
            if size is None:
                return
            if at + size > len(data) and at == 0:  # one record may be longer than what is read at once
                data += source.read(size - len(data))
            found = _record(data, at, size)
            if found is None:
                return
            at += size
            yield found, start + at


def whole(path: Path) -> Iterator[Record]:
    """Yield all whole records of a journal."""
    begin, end = -1, 0
    while begin != end:
        begin = end
        for record, place in records(path, begin):
            end = place
            yield record


def _size(data: bytes, at: int) -> int | None:
    """Return how long a record is with its head, or None when there is no head."""
    if len(data) - at < _written.HEAD.size:
        return None
    length, _ = _written.HEAD.unpack_from(data, at)
    return None if not 0 < length <= _written.MOST_BYTES else _written.HEAD.size + length


def _record(data: bytes, at: int, size: int) -> Record | None:
    if at + size > len(data):
        return None
    _, check = _written.HEAD.unpack_from(data, at)
    payload = data[at + _written.HEAD.size : at + size]
    if zlib.crc32(payload) != check:
        return None
    try:
        return _block(payload) if payload.startswith(_written.POINTS) else _entry(payload)
    except (msgspec.MsgspecError, ValueError, _written.struct.error):
        return None


def _entry(payload: bytes) -> Entry:
    found = _lenient(payload)
    if not isinstance(found, dict):
        raise ValueError("An entry is an object.")
    return found


def _lenient(payload: bytes) -> Any:
    """Read JSON, also what only Python's own encoder writes: numbers that are none, and texts that are no UTF-8.

    All texts are legible then, but for `path`: a file is found by the name that it has.
    """
    try:
        found = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        found = json.loads(payload)
    else:
        if b"\\u0000" not in payload:
            return found
    if isinstance(found, dict) and "path" in found:
        return {**_legible(found), "path": found["path"]}
    return _legible(found)


def _block(payload: bytes) -> Block:
    head = _written.BLOCK.size
    _, count, length = _written.BLOCK.unpack_from(payload)
    text = payload[head : head + length]
    try:
        labels = msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        labels = json.loads(text)
    names = [_parts(label) for label in labels]
    at = head + length
    columns: list[Any] = []
    for kind in "Iqqd":
        column = array(kind)
        width = column.itemsize * count
        column.frombytes(payload[at : at + width])
        at += width
        columns.append(column)
    if any(len(column) != count for column in columns) or at != len(payload):
        raise ValueError("A block has as many of each as it says.")
    marks, times, steps, values = columns
    if count and max(marks) >= len(names):
        raise ValueError("A block names what it has points of.")
    return Block(names, marks, times, steps, values)


def _parts(label: str) -> tuple[str, str]:
    run, between, key = label.partition(_written.BETWEEN)
    return (run, _legible(key)) if between else ("", _legible(label))
