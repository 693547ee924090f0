"""Iceberg's partition transforms: what a value becomes, and which values a partition can hold.

Identity, void, year, month, day, hour, truncate[W] and bucket[N]. Buckets are the 32-bit Murmur3 hash (x86 variant,
seed 0) of a value's bytes, as the table specification lays them down, so every engine puts a row into the same one.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.lake.iceberg import bounds
from bascule.lake.iceberg.types import Type, decimal_of, to_arrow

_SIZED = re.compile(r"^(bucket|truncate)\[(\d+)\]$")
PLAIN = ("identity", "void", "year", "month", "day", "hour")
_SMALLEST = {"int": -(2**31), "long": -(2**63)}
_DAY = 86_400_000_000


def known(transform: str) -> bool:
    """Tell whether this is a transform that Bascule can apply."""
    return transform in PLAIN or _SIZED.match(transform) is not None


def result_type(transform: str, source: Type) -> Type:
    """Return the type of what a transform makes of a column."""
    if transform == "day":
        return "date"
    return source if transform in ("identity", "void") or transform.startswith("truncate") else "int"


def apply(transform: str, kind: Type, column: pa.Array) -> pa.Array:
    """Return what a transform makes of a column's values; null stays null.

    Args:
        kind: the column's Iceberg type.
        column: the values, in the type that `types.to_arrow` gives.
    """
    if transform == "identity":
        return column
    if transform == "void":
        return pa.nulls(len(column), column.type)
    if transform in ("year", "month", "day", "hour"):
        return _of_time(transform, column)
    match = _SIZED.match(transform)
    assert match is not None, transform
    if match[1] == "bucket":
        return _bucket(kind, column, int(match[2]))
    return _truncated(kind, column, int(match[2]))


def of_value(transform: str, kind: Type, value: Any) -> Any:
    """Return what a transform makes of one value; both in the form of `plain`."""
    if value is None:
        return None
    arrow = to_arrow(kind)
    storage: pa.DataType = arrow
    if pa.types.is_temporal(arrow):
        storage = pa.int32() if arrow.bit_width == 32 else pa.int64()
    given = pa.array([value], storage)
    return plain(apply(transform, kind, given.view(arrow) if storage != arrow else given)[0])


def plain(value: Any) -> Any:
    """Return a value as partitions hold it: times and dates as integers since the epoch, UUIDs as bytes."""
    if isinstance(value, pa.Scalar):
        if not value.is_valid:
            return None
        if pa.types.is_temporal(value.type):
            return value.cast(pa.int32() if value.type.bit_width == 32 else pa.int64()).as_py()
        value = value.as_py()
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, datetime | date | time):
        return bounds.comparable("timestamp" if isinstance(value, datetime) else "", value)
    return value


def may_hold(transform: str, kind: Type, held: Any, low: Any, high: Any) -> bool:
    """Tell whether a partition may hold a value between two limits, both included, either of them None.

    Args:
        kind: the source column's type.
        held: the partition's value; None for rows without one.
        low, high: as `bounds.comparable` gives them.
    """
    if transform == "void" or (low is None and high is None):
        return True
    if held is None:
        return False
    return within(transform, kind, held, held, low, high)


def within(transform: str, kind: Type, least: Any, most: Any, low: Any, high: Any) -> bool:
    """Tell whether partitions from `least` to `most` may hold a value between two limits."""
    if transform.startswith("bucket"):
        if low is None or low != high:
            return True
        bucket = _safely(transform, kind, low)
        return bucket is None or least <= bucket <= most
    first, last = _safely(transform, kind, low), _safely(transform, kind, high)
    if kind in _SMALLEST and transform.startswith("truncate"):
        width, smallest = int(transform[9:-1]), _SMALLEST[kind]
        if low is None or low < smallest + width:
            # Values this small wrap around to the top, where a partition may hold them beside the largest.
            if most > -smallest - width:
                return True
            first = None
    if first is not None and most < first:
        return False
    return not (last is not None and least > last)


def _safely(transform: str, kind: Type, value: Any) -> Any:
    # A limit that the column's type cannot hold (1.5 for an int, a far year) says nothing about partitions.
    try:
        return of_value(transform, kind, value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _of_time(transform: str, column: pa.Array) -> pa.Array:
    is_date = pa.types.is_date(column.type)
    whole = column.view(pa.int32() if is_date else pa.int64())
    numbers, missing = _numbers(whole)
    days = numbers if is_date else np.floor_divide(numbers, _DAY)
    if transform == "hour":
        found = np.floor_divide(numbers, _DAY // 24)
    elif transform == "day":
        found = days
    else:
        found = days.astype("datetime64[D]").astype(f"datetime64[{transform[0].upper()}]").astype(np.int64)
    kind = pa.date32() if transform == "day" else pa.int32()
    return pa.array(found.astype(np.int32), pa.int32(), mask=missing).view(kind)


def _truncated(kind: Type, column: pa.Array, width: int) -> pa.Array:
    if kind == "string":
        return pc.utf8_slice_codeunits(column, 0, width)
    if kind == "binary":
        return pc.binary_slice(column, 0, width)
    if decimal_of(kind):
        return pa.array([_cut(value, width) for value in column.to_pylist()], column.type)
    numbers, missing = _numbers(column)
    # In the column's own width, so that a value near its end wraps around as Java's does.
    return pa.array((numbers - np.mod(numbers, width)).astype(column.type.to_pandas_dtype()), column.type, mask=missing)


def _cut(value: Decimal | None, width: int) -> Decimal | None:
    if value is None:
        return None
    unscaled = bounds.unscaled(value, -int(value.as_tuple().exponent))
    cut = unscaled - unscaled % width
    return Decimal((int(cut < 0), tuple(map(int, str(abs(cut)))), int(value.as_tuple().exponent)))


def _bucket(kind: Type, column: pa.Array, count: int) -> pa.Array:
    missing = np.asarray(column.is_null())
    if kind in ("string", "binary", "uuid") or str(kind).startswith("fixed") or decimal_of(kind):
        hashes = _of_bytes(kind, column)
    else:
        width = pa.int32() if column.type.bit_width == 32 else pa.int64()
        numbers, _ = _numbers(column.view(width))
        hashes = murmur3(np.frombuffer(numbers.astype("<i8").tobytes(), np.uint8), np.arange(len(column) + 1) * 8)
    buckets = (hashes & np.uint32(0x7FFFFFFF)).astype(np.int32) % np.int32(count)
    return pa.array(buckets, pa.int32(), mask=missing)


def _of_bytes(kind: Type, column: pa.Array) -> np.ndarray:
    encoded = column.dictionary_encode()
    if decimal_of(kind):
        values = [bounds.encode(str(kind), value) or b"" for value in encoded.dictionary.to_pylist()]
    else:
        values = encoded.dictionary.cast(pa.large_binary()).to_pylist()
    ends = np.cumsum([0, *(len(value) for value in values)])
    hashes = murmur3(np.frombuffer(b"".join(values), np.uint8), ends)
    codes = np.asarray(encoded.indices.fill_null(0))
    return hashes[codes] if len(hashes) else np.zeros(len(column), np.uint32)


def _numbers(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    return column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), np.asarray(column.is_null())


def murmur3(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the 32-bit Murmur3 hashes (x86 variant, seed 0) of several byte strings.

    Args:
        data: their bytes, one after the other.
        ends: where each begins, and where the last one ends.

    Source: A. Appleby, MurmurHash3 (public domain description); Iceberg table specification, appendix B.
    """
    starts, lengths = ends[:-1], np.diff(ends)
    padded = np.concatenate([data, np.zeros(4, np.uint8)])
    state = np.zeros(len(lengths), np.uint32)
    blocks = lengths // 4
    for number in range(int(blocks.max(initial=0))):
        here = np.flatnonzero(blocks > number)
        places = starts[here] + 4 * number
        state[here] = _rotated(state[here] ^ _mixed(_words(padded, places)), 13) * np.uint32(5) + np.uint32(0xE6546B64)
    left = lengths % 4
    here = np.flatnonzero(left)
    tails = _words(padded, starts[here] + 4 * blocks[here]) & (
        (np.uint32(1) << (8 * left[here]).astype(np.uint32)) - np.uint32(1)
    )
    state[here] ^= _mixed(tails)
    state ^= lengths.astype(np.uint32)
    state ^= state >> np.uint32(16)
    state *= np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    return state ^ (state >> np.uint32(16))


def _words(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    return sum(
        (data[places + byte].astype(np.uint32) << np.uint32(8 * byte) for byte in range(4)),
        np.zeros(len(places), np.uint32),
    )


def _mixed(words: np.ndarray) -> np.ndarray:
    return _rotated(words * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _rotated(words: np.ndarray, by: int) -> np.ndarray:
    return (words << np.uint32(by)) | (words >> np.uint32(32 - by))
