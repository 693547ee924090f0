"""Deletion vectors: which rows of one data file are gone, as a bitmap in a Puffin file (Iceberg format version 3).

A vector is a 64-bit Roaring bitmap in its portable form, between a length with a magic number and a checksum.
"""

from __future__ import annotations

import zlib

import numpy as np

from bascule.errors import EnvironmentProblem
from bascule.lake.iceberg.datafiles import Record
from bascule.store import Place

PUFFIN = "PUFFIN"
MAGIC = b"\xd1\xd3\x39\x64"
_RUNS, _NO_RUNS = 12347, 12346
# From so many containers on there is a table of offsets also beside runs.
_OFFSETS_FROM = 4
_SPARSE = 4096
_DENSE_BYTES = 8192


def positions(record: Record, path: Place) -> np.ndarray:
    """Return the numbers of the rows that a deletion vector takes out, sorted, from 0.

    Args:
        record: what the manifest says of the vector.
        path: where its Puffin file is.

    Raises:
        EnvironmentProblem: when the file is missing or damaged.
    """
    try:
        start = int(record["content_offset"])
        blob = path.read_bytes()[start : start + int(record["content_size_in_bytes"])]
        found = decode(blob)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f"The deletion vector in {path} cannot be read: {error}.",
            hint="`bascule doctor` lists what is damaged, and the way back.",
        ) from error
    if len(found) != record["record_count"]:
        raise EnvironmentProblem(
            f"The deletion vector in {path} holds {len(found)} rows, and its manifest says {record['record_count']}.",
            hint="Rewrite the table's data files with the engine that wrote them.",
        )
    return found


def decode(blob: bytes) -> np.ndarray:
    """Return the positions in a vector's blob; `ValueError` when it is damaged."""
    length = int.from_bytes(blob[:4], "big")
    body, checksum = blob[4 : 4 + length], blob[4 + length : 8 + length]
    if len(body) != length or body[:4] != MAGIC or zlib.crc32(body) != int.from_bytes(checksum, "big"):
        raise ValueError("its length, its magic number or its checksum is wrong")
    reader = _Reader(body, 4)
    parts = []
    for _ in range(int(reader.take("<u8", 1)[0])):
        high = np.int64(reader.take("<u4", 1)[0]) << 32
        parts.append(_bitmap(reader) + high)
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


class _Reader:
    def __init__(self, data: bytes, place: int) -> None:
        self.data = data
        self.place = place

    def take(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self.data, dtype=kind, count=count, offset=self.place)
        self.place += found.nbytes
        return found


def _bitmap(reader: _Reader) -> np.ndarray:
    cookie = int(reader.take("<u4", 1)[0])
    if cookie & 0xFFFF == _RUNS:
        count = (cookie >> 16) + 1
        flags = np.unpackbits(reader.take("u1", (count + 7) // 8), bitorder="little")[:count].astype(bool)
    elif cookie == _NO_RUNS:
        count = int(reader.take("<u4", 1)[0])
        flags = np.zeros(count, dtype=bool)
    else:
        raise ValueError(f"{cookie} begins no bitmap")
    header = reader.take("<u2", 2 * count).astype(np.int64).reshape(count, 2)
    if not flags.any() or count >= _OFFSETS_FROM:
        reader.take("<u4", count)
    parts = [
        _container(reader, int(size) + 1, bool(runs)) + (key << 16)
        for (key, size), runs in zip(header, flags, strict=True)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _container(reader: _Reader, size: int, runs: bool) -> np.ndarray:
    if runs:
        pairs = reader.take("<u2", 2 * int(reader.take("<u2", 1)[0])).astype(np.int64).reshape(-1, 2)
        return np.concatenate([np.arange(start, start + more + 1) for start, more in pairs])
    if size <= _SPARSE:
        return reader.take("<u2", size).astype(np.int64)
    bits = np.unpackbits(reader.take("u1", _DENSE_BYTES), bitorder="little")
    return np.flatnonzero(bits).astype(np.int64)
