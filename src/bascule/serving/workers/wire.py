"""Messages between the serving process and a worker: a length, then MessagePack. Numbers travel as bytes."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

import msgspec
import numpy as np

_LENGTH = struct.Struct("<Q")
MOST = 1 << 33
PIECE = 1 << 20
SLICE_S = 0.05
MOVING_S, STALL_S = 30.0, 1.0  # that an answer may take on its way, and stand still there
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Slow(Exception):
    """Nothing came in time: so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def send(link: socket.socket, message: Any) -> None:
    """Send a message.

    Raises:
        OSError: the other side is gone.
    """
    data = _encode(message)
    link.sendall(_LENGTH.pack(len(data)))
    link.sendall(data)


def written(value: Any) -> msgspec.Raw:
    """Return a part of a message as it is sent.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: it holds what cannot be sent.
    """
    return msgspec.Raw(_encode(value))


def receive(link: socket.socket, until: float | None = None) -> Any:
    """Return the next message.

    Args:
        until: when all of it must be here, on the monotonic clock; None for any time.

    Raises:
        EOFError, OSError: the other side is gone, or too slow.
        ValueError: it is no message.
    """
    (size,) = _LENGTH.unpack(_exactly(link, _LENGTH.size, until))
    if size > MOST:
        raise ValueError(f"a message of {size:,} bytes")
    return _decode(_exactly(link, size, until))


def has_come(link: socket.socket) -> bool:
    """Return whether something can be read now."""
    try:
        return bool(link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def wait(link: socket.socket, until: float, look: Any = None) -> None:
    """Wait until something can be read.

    Args:
        until: on the monotonic clock.
        look: called some times a second meanwhile; what it raises ends the waiting.

    Raises:
        Slow: nothing came in time.
    """
    poll = select.poll()
    poll.register(link, select.POLLIN)
    while True:
        left = until - time.monotonic()
        if poll.poll(max(0.0, min(left, SLICE_S)) * 1_000):
            return
        if left <= 0:
            raise Slow
        if look is not None:
            look()


def packed(array: np.ndarray) -> list[Any]:
    """Return an array of floats as a message's part; one of objects, which are texts, times and floats, as a list."""
    if array.dtype == object:
        return [list(array.shape), array.ravel().tolist()]
    return [list(array.shape), np.ascontiguousarray(array, dtype="<f8").tobytes()]


def unpacked(part: list[Any]) -> np.ndarray:
    """Return the array that `packed` made a part of."""
    shape, data = part
    if isinstance(data, list):
        found = np.empty(len(data), dtype=object)
        found[:] = data
        return found.reshape(shape)
    return np.frombuffer(data, dtype="<f8").reshape(shape)


def _exactly(link: socket.socket, size: int, until: float | None) -> bytearray:
    """Return so many bytes. Room is made as they come: a length alone costs nothing."""
    found, at = bytearray(min(size, PIECE)), 0
    while at < size:
        if at == len(found):
            found += bytes(min(size - at, at))
        if until is not None:
            link.settimeout(max(0.001, min(STALL_S, until - time.monotonic())))
        got = link.recv_into(memoryview(found)[at:])
        if not got:
            raise EOFError("the other side has closed")
        at += got
    return found
