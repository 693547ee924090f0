"""Protobuf's wire format, as far as it takes to read a message whose shape is known: fields, in the order they came."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bascule.errors import InputError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | memoryview


class Damaged(InputError):
    """Bytes that are no such message."""


def fields(data: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Yield each field's number, wire type and value; fixed numbers as their bits.

    Raises:
        Damaged: the bytes end early, or have a wire type that nothing has.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            if at + size > end:
                raise _damaged()
            yield number, kind, int.from_bytes(data[at : at + size], "little")
            at += size
        elif kind == BYTES:
            size, at = varint(data, at)
            if at + size > end:
                raise _damaged()
            yield number, kind, data[at : at + size]
            at += size
        else:
            raise _damaged()


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    found = shift = 0
    while shift < 70:
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise _damaged()


def message(value: Value) -> memoryview:
    """Return a field's bytes.

    Raises:
        Damaged: it is a number.
    """
    if isinstance(value, int):
        raise _damaged()
    return value


def text(value: Value) -> str:
    """Return a field's text."""
    try:
        return str(message(value), "utf-8")
    except UnicodeDecodeError:
        raise _damaged() from None


def number(value: Value) -> int:
    """Return a field's unsigned number."""
    if not isinstance(value, int):
        raise _damaged()
    return value


def signed(value: Value) -> int:
    """Return a field's number, which may be negative."""
    found = number(value)
    return found - (1 << 64) if found >> 63 else found


def double(value: Value) -> float:
    """Return the number whose bits a field has."""
    found: float = struct.unpack("<d", number(value).to_bytes(8, "little"))[0]
    return found


def _damaged() -> Damaged:
    return Damaged("Invalid OpenTelemetry format: the bytes are no such message.", hint="Send OTLP as it is written.")
