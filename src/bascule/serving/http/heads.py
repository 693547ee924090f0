"""Heads of requests that were read before: on a kept connection a client says the same again, byte for byte."""

from __future__ import annotations

from typing import NamedTuple

MOST = 512
LONGEST = 2_048  # bytes of a head that is remembered
# A body that is packed or comes in chunks is not behind its head as it is, and a trace is another one each time.
_APART = (b"transfer-encoding", b"content-encoding", b"expect", b"traceparent")


class Head(NamedTuple):
    """What a head says.

    Attributes:
        length: of the body behind it.
        connection: the header line of the answer.
    """

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    length: int
    connection: bytes


class Heads:
    """Heads by their bytes. What is here was found right before, and depends on nothing but the bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.get = self._known.get

    def keep(self, head: bytes, found: Head) -> None:
        """Remember a head, without the empty line that ends it, if it is likely to come again."""
        if len(head) > LONGEST or any(name in found.headers for name in _APART):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[head] = found
