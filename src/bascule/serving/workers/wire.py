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
SLICE_S = 0.05
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Slow(Exception):
    """Nothing came in time."""


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


def receive(link: socket.socket) -> Any:
    """Return the next message.

    Raises:
        EOFError, OSError: the other side is gone.
    """
    (size,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
    if size > MOST:
        raise EOFError(f"a message of {size:,} bytes")
    return _decode(_exactly(link, size))


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
    """Return an array of floats as a message's part."""
    return [list(array.shape), np.ascontiguousarray(array, dtype="<f8").tobytes()]


def unpacked(part: list[Any]) -> np.ndarray:
    """Return the array that `packed` made a part of."""
    shape, data = part
    return np.frombuffer(data, dtype="<f8").reshape(shape)


def _exactly(link: socket.socket, size: int) -> bytearray:
    found = bytearray(size)
    view, at = memoryview(found), 0
    while at < size:
        got = link.recv_into(view[at:])
        if not got:
            raise EOFError("the other side has closed")
        at += got
    return found
