"""The frames of HTTP/2 (RFC 9113) as bytes: their kinds, flags, errors and settings."""

from __future__ import annotations

import struct

from bascule.errors import BasculeError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, CALM = 5, 6, 7, 8, 9, 11

INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST, MAX_STREAMS = 4, 5, 6, 3
FIRST_WINDOW = (1 << 16) - 1
FIRST_FRAME = 1 << 14
MOST_FRAME = (1 << 24) - 1
MOST_WINDOW = (1 << 31) - 1
HEAD = 9

_pack = struct.Struct(">HBBBL").pack
_number = struct.Struct(">L").pack
_setting = struct.Struct(">HL").pack


class Http2Problem(BasculeError):
    """A connection that breaks the protocol, or asks for too much, and is ended.

    Args:
        code: HTTP/2's number for it.
        message: what was wrong, for the client's log.
        reason: in a word, for those who count.
    """

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or {CALM: "too_much", INTERNAL: "internal"}.get(code, "protocol")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return _pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a settings frame."""
    return frame(SETTINGS, 0, 0, b"".join(_setting(name, value) for name, value in values.items()))


def window_update(stream: int, more: int) -> bytes:
    """Return the permission to send more bytes on a stream, or on the connection for 0."""
    return frame(WINDOW_UPDATE, 0, stream, _number(more))


def reset(stream: int, code: int) -> bytes:
    """Return the end of a stream."""
    return frame(RST_STREAM, 0, stream, _number(code))


def goaway(last: int, code: int, text: bytes = b"") -> bytes:
    """Return the end of a connection: which stream was the last to be answered, and why."""
    return frame(GOAWAY, 0, 0, _number(last) + _number(code) + text)


def unpadded(payload: bytes) -> bytes:
    """Return what a padded frame carries.

    Raises:
        Http2Problem: it says that it has more padding than there are bytes.
    """
    if not payload or payload[0] >= len(payload):
        raise Http2Problem(PROTOCOL, "more padding than there are bytes")
    return payload[1 : len(payload) - payload[0]]
