"""How much of a request has come, held to the limits while it comes."""

from __future__ import annotations

from typing import Protocol

from bascule.serving.http.limits import Limits
from bascule.serving.http.message import HttpProblem

PER_HEADER = 32  # counted beside each header's own bytes, so that many empty ones are many


class Holder(Protocol):
    """Who holds the bodies of all connections."""

    buffered: int


class Sizes:
    """Counts the bytes of one connection's request.

    Args:
        holder: counts the bodies that come in parts, over all connections.
    """

    def __init__(self, limits: Limits, holder: Holder) -> None:
        self._limits = limits
        self._holder = holder
        self._header = 0
        self._body = 0
        self._counted = 0  # bytes of this body in the count of all bodies
        self._raw = 0  # bytes since the headers

    def begin(self) -> None:
        """Another request begins."""
        self._header = self._body = self._raw = 0

    def url(self, size: int) -> None:
        """Count a part of the target, or raise `HttpProblem` 431."""
        self._header += size
        if self._header > self._limits.header_bytes:
            raise _headers_too_large(self._limits.header_bytes)

    def header(self, size: int) -> None:
        """Count a header, or raise `HttpProblem` 431."""
        self.url(size + PER_HEADER)

    def announced(self, length: int) -> None:
        """Look at the length that the headers tell of the body, or raise `HttpProblem` 413."""
        if length > self._limits.body_bytes:
            raise _body_too_large(self._limits.body_bytes)

    def part(self, size: int) -> None:
        """Count a part of a body among all bodies that are in memory.

        Raises:
            HttpProblem: 413 when it is too long, 503 when all of them are.
        """
        self._body += size
        self.announced(self._body)
        self._holder.buffered += self._body - self._counted
        self._counted = self._body
        if self._holder.buffered > self._limits.buffered_bytes:
            raise HttpProblem(503, "The server holds as many request bodies as it can.", extra=b"retry-after: 1\r\n")

    def forget(self) -> None:
        """The body is not held any more, or not in parts."""
        self._holder.buffered -= self._counted
        self._counted = 0

    def unshown(self, size: int, heading: tuple[bool, bool], whole: int) -> HttpProblem | None:
        """Bound what the parser keeps of a request without showing it: half a header, chunk sizes, trailers.

        Args:
            size: how many bytes came.
            heading: whether the headers were not whole before these bytes, and behind them.
            whole: bytes of a body that was shown in one piece.
        """
        before, behind = heading
        if before and behind:
            self._header += size
            if self._header > 2 * self._limits.header_bytes:
                return _headers_too_large(self._limits.header_bytes)
        elif not before:
            self._raw += size
            if self._raw > 8 * max(self._body, whole) + 4 * self._limits.header_bytes:
                return HttpProblem(400, "The body is mostly chunk sizes or trailers.")
        return None


def _headers_too_large(most: int) -> HttpProblem:
    return HttpProblem(431, f"The request line and headers are longer than {most:,} bytes.")


def _body_too_large(most: int) -> HttpProblem:
    return HttpProblem(413, f"The body is longer than {most:,} bytes.", hint="Send fewer rows at once.")
