"""Heads of requests that were read before: on a kept connection a client says the same again, byte for byte."""

from __future__ import annotations

from bascule.serving.http.message import HttpProblem, Quick

MOST = 512
LONGEST = 2_048  # bytes of a head that is remembered
# A body that is packed or comes in chunks is not behind its head as it is, and a trace is another one each time.
_APART = (b"transfer-encoding", b"content-encoding", b"expect", b"traceparent")


class Head:
    """What a head says.

    Attributes:
        length: of the body behind it.
        connection: the header line of the answer.
        quick: answers what stands behind such a head without looking at it again; None when nothing does.
    """

    __slots__ = ("connection", "headers", "length", "method", "path", "quick")

    def __init__(self, method: bytes, path: bytes, headers: dict[bytes, bytes], length: int, connection: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.length = length
        self.connection = connection
        self.quick: Quick | None = None


class Heads:
    """Heads by their bytes. What is here was found right before, and depends on nothing but the bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.get = self._known.get

    def keep(self, head: bytes, found: Head) -> bool:
        """Remember a head, without the empty line that ends it, if it is likely to come again; return whether it is."""
        if len(head) > LONGEST or any(name in found.headers for name in _APART):
            return False
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[head] = found
        return True


def demand_chunks(coding: bytes) -> None:
    """Raise `HttpProblem` for a body that is packed on its way (RFC 9112, 6.1); one in chunks alone can be read."""
    if coding.strip().lower() != b"chunked":
        raise HttpProblem(501, "A body may come in chunks, and be packed as content-encoding says, not on its way.")


def demand_continue(expect: bytes) -> None:
    """Raise `HttpProblem` for an expectation that is not the one that can be met: to be told to send the body."""
    if expect.lower() != b"100-continue":
        raise HttpProblem(417, "Only the expectation 100-continue can be met.")


def demand_no_proxy(method: bytes) -> None:
    """Raise `HttpProblem` for a request to be led elsewhere."""
    if method == b"CONNECT":
        raise HttpProblem(405, "This server is no proxy.", extra=b"allow: GET, HEAD, POST\r\n")


def without_upgrade(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> bytes:
    """Return the head of a request that offered another protocol, without the offer: it is declined.

    Java's client offers HTTP/2 with its first request, body and all. The parser would take that body for the other
    protocol, so the request is read once more.
    """
    closing = b"close" in headers.pop(b"connection", b"").lower()
    head = [b"%b %b HTTP/1.1" % (method, url)]
    head += [b"%b: %b" % header for header in headers.items()]
    if closing:
        head.append(b"connection: close")
    return b"\r\n".join(head) + b"\r\n\r\n"
