"""Keys as bytes: order-preserving, and no key is the beginning of another.

An entity key is the concatenation of its parts, each with a tag for its type: integers as 9 bytes big-endian, texts
with their zero bytes escaped and a terminator, so ("1", "11") and ("11", "1") differ. A timeline entry adds the time,
counted backwards, so that the newest entry not after t is the first one at or after t's bytes: one seek finds it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from bascule.features.columns import family
from bascule.features.expressions.scalars import EPOCH, MICROSECOND, naive

LONGEST = 400
# How long parts are, by their tags; a text goes on to its end.
_LENGTHS = {0x10: 10, 0x18: 9, 0x08: 1, 0x09: 1, 0x30: 9, 0x28: 5}
_TEXT = 0x20
NEWEST = 2**63 - 1
Encoder = Callable[[Any], bytes | None]
_DOUBLE = struct.Struct(">d")
_EPOCH_DAY = EPOCH.date().toordinal()


def reversed_time(at: int) -> bytes:
    """A time in µs as 8 bytes that sort from the newest to the oldest."""
    return (NEWEST - at).to_bytes(8, "big")


def time_of(key: bytes) -> int:
    """The time of a timeline entry's key."""
    return NEWEST - int.from_bytes(key[-8:], "big")


def encoder(type_names: Sequence[str]) -> Callable[[Sequence[Any]], bytes | None]:
    """A function that encodes entity keys of these types; None when a part is None, which matches nothing."""
    parts = [_ENCODERS[family(name)] for name in type_names]
    if len(parts) == 1:
        (only,) = parts

        def encode_one(values: Sequence[Any]) -> bytes | None:
            value = values[0]
            if value is None:
                return None
            found = only(value)
            return found if found is None or len(found) <= LONGEST else _shortened(found)

        return encode_one

    def encode(values: Sequence[Any]) -> bytes | None:
        found = b""
        for part, value in zip(parts, values, strict=True):
            piece = None if value is None else part(value)
            if piece is None:
                return None
            found += piece
        return found if len(found) <= LONGEST else _shortened(found)

    return encode


def parts(key: bytes) -> list[bytes] | None:
    """Return the parts of an entity key as they were encoded; None for one that was too long to be kept as it is."""
    found, place = [], 0
    while place < len(key):
        end = _end(key, place)
        if end is None:
            return None
        found.append(key[place:end])
        place = end
    return found


def _end(key: bytes, place: int) -> int | None:
    tag = key[place]
    if tag != _TEXT:
        return place + _LENGTHS[tag] if tag in _LENGTHS else None
    while (zero := key.find(b"\0", place + 1)) >= 0:
        if key[zero + 1 : zero + 2] == b"\0":
            return zero + 2
        place = zero  # a zero byte of the text itself, which has 0xff behind it
    return None


def _shortened(key: bytes) -> bytes:
    # LMDB's keys end at 511 bytes. Nothing else begins with 0xff.
    return b"\xff" + hashlib.blake2b(key, digest_size=32).digest()


def _integer(value: int) -> bytes | None:
    try:
        return b"\x10" + (value + 2**64).to_bytes(9, "big")
    except OverflowError:
        return None  # wider than any column: it equals nothing that is stored


def _number(value: float) -> bytes:
    # As DuckDB compares: -0.0 equals 0.0, and all NaN are equal and greater than the rest.
    value = math.nan if value != value else value + 0.0
    bits = int.from_bytes(_DOUBLE.pack(abs(value)), "big")
    if value < 0:
        bits = 2**63 - bits
    else:
        bits += 2**63
    return b"\x18" + bits.to_bytes(8, "big")


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if b"\0" in data:
        data = data.replace(b"\0", b"\0\xff")
    return b"\x20" + data + b"\0\0"


def _boolean(value: bool) -> bytes:
    return b"\x09" if value else b"\x08"


def _time(value: datetime) -> bytes:
    return b"\x30" + ((naive(value) - EPOCH) // MICROSECOND + 2**63).to_bytes(8, "big")


def _date(value: date) -> bytes:
    return b"\x28" + (value.toordinal() - _EPOCH_DAY + 2**31).to_bytes(4, "big")


_ENCODERS: dict[str, Encoder] = {
    "integer": _integer,
    "number": _number,
    "text": _text,
    "boolean": _boolean,
    "time": _time,
    "date": _date,
}
