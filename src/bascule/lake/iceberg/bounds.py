"""The smallest and largest value of a column in one file, in Iceberg's single-value binary form.

Text and bytes are cut to 16 code points or bytes, as every Iceberg writer does; an upper bound that was cut is raised
to the next value, so that it stays above all that is in the file. A bound is left out where none can be given.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq

from bascule.lake.iceberg.types import decimal_of

CUT = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Little-endian forms of the types that have one, by Iceberg type.
_PACKED = {
    "int": "<i",
    "date": "<i",
    "long": "<q",
    "time": "<q",
    "timestamp": "<q",
    "timestamptz": "<q",
    "float": "<f",
    "double": "<d",
}
# These are taken from the footer as the integers they are: a year beyond Python's is still a good bound.
_RAW = {"date", "time", "timestamp", "timestamptz"}


def from_statistics(kind: str, statistics: pq.Statistics) -> tuple[Any, Any] | None:
    """Return the smallest and the largest value that a column chunk's footer tells, or None."""
    if not statistics.has_min_max:
        return None
    if kind in _RAW:
        return statistics.min_raw, statistics.max_raw
    return statistics.min, statistics.max


def lower(kind: str, value: Any) -> bytes | None:
    """Return a lower bound's bytes."""
    if kind == "string":
        return str(value)[:CUT].encode()
    if kind == "binary":
        return bytes(value[:CUT])
    return encode(kind, value)


def upper(kind: str, value: Any) -> bytes | None:
    """Return an upper bound's bytes, or None when a cut text has no next value."""
    if kind == "string":
        return _next_text(str(value))
    if kind == "binary":
        return _next_bytes(bytes(value))
    return encode(kind, value)


def decode(kind: str, data: bytes) -> Any:
    """Return the value of a bound: an integer for times and dates (µs or days since the epoch), else the value."""
    if form := _PACKED.get(kind):
        # A column that was widened keeps the short bounds of its older files.
        if len(data) == 4 and form == "<q":
            form = "<i"
        elif len(data) == 4 and form == "<d":
            form = "<f"
        return struct.unpack(form, data)[0]
    if kind == "boolean":
        return data != b"\x00"
    if kind == "string":
        return data.decode()
    if decimal := decimal_of(kind):
        return _decimal(int.from_bytes(data, "big", signed=True), decimal[1])
    return data


def comparable(kind: str, value: Any) -> Any:
    """Return a value that a user gave in the form that `decode` gives bounds in."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        delta = moment - _EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if isinstance(value, date):
        days = (value - _EPOCH.date()).days
        return days * 86_400_000_000 if kind.startswith("timestamp") else days
    if isinstance(value, time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return value


def encode(kind: str, value: Any) -> bytes | None:
    """Return a value's bytes, whole, or None for a type that has none."""
    if kind == "string":
        return str(value).encode()
    if form := _PACKED.get(kind):
        return struct.pack(form, value)
    if kind == "boolean":
        return b"\x01" if value else b"\x00"
    if decimal := decimal_of(kind):
        number = unscaled(Decimal(value), decimal[1])
        return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)
    if kind.startswith("fixed") or kind in ("uuid", "binary"):
        return bytes(value)
    return None


def unscaled(value: Decimal, scale: int) -> int:
    """Return a decimal times ten to the power of a scale."""
    # Without arithmetic on Decimals: that rounds to the context's 28 digits.
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits))) * 10 ** (scale + int(exponent))
    return int(-number if sign else number)


def _decimal(unscaled: int, scale: int) -> Decimal:
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def _next_text(value: str) -> bytes | None:
    if len(value) <= CUT:
        return value.encode()
    head = value[:CUT]
    for end in range(len(head) - 1, -1, -1):
        code = ord(head[end]) + 1
        if 0xD800 <= code <= 0xDFFF:  # surrogates are no characters
            code = 0xE000
        if code <= 0x10FFFF:
            return (head[:end] + chr(code)).encode()
    return None


def _next_bytes(value: bytes) -> bytes | None:
    if len(value) <= CUT:
        return value
    head = value[:CUT].rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None
