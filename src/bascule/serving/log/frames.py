"""Records in a segment file: `[u32 length][u32 crc32][bytes]`, little-endian, one after the other.

A writer that is killed leaves a prefix of its last write, so a file is whole up to some frame and torn after it. What
was acknowledged was written before, so it lies in the whole part.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from zlib_ng.zlib_ng import crc32  # zlib's numbers, in a tenth of its time where the processor helps

HEADER = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a segment file holds.

    Attributes:
        payloads: the bytes of the whole frames, in order.
        whole: how many bytes of the file they fill.
        torn: bytes after them that begin a frame and do not end it, or are all zero: a write that was cut short.
        damaged: bytes from the first frame on whose checksum is wrong; 0 for a file as a crash may leave it.
    """

    payloads: list[bytes]
    whole: int
    torn: int
    damaged: int


def frame(payload: bytes) -> bytes:
    """Return a record as a frame."""
    return HEADER.pack(len(payload), crc32(payload)) + payload


def read_segment(path: Path) -> Reading:
    """Read a segment file up to its last whole frame. It may be growing meanwhile."""
    data = path.read_bytes()
    payloads: list[bytes] = []
    at, end = 0, len(data)
    while at + HEADER.size <= end:
        length, checksum = HEADER.unpack_from(data, at)
        first = at + HEADER.size
        if first + length > end:
            break
        payload = data[first : first + length]
        if not length or crc32(payload) != checksum:
            rest = end - at
            return Reading(payloads, at, 0, rest) if data[at:].strip(b"\0") else Reading(payloads, at, rest, 0)
        payloads.append(payload)
        at = first + length
    return Reading(payloads, at, end - at, 0)
