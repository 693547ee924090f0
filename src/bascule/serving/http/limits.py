"""What one client may take: bytes, seconds, connections."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Limits of the HTTP server.

    Attributes:
        header_bytes: the request line and all headers; more is 431.
        body_bytes: a body, before and after decompression; more is 413.
        buffered_bytes: the bodies of all connections together; more is 503.
        header_s: from the first byte of a request to its last header; longer is 408.
        body_s: from the last header to the last byte of the body; longer is 408.
        idle_s: between two requests of a connection; longer closes it.
        write_s: how long a client may leave an answer unread; longer closes it.
        linger_s: how long what a refused client still sends is read and thrown away, so that it can read the answer.
        drain_s: how long requests under way may take when the server stops.
        connections: open at once; more are answered 503 and closed.
        waiting: requests handed to threads at once; more are 429, with `Retry-After`.
        request_s: how long an answer may take that is made in a thread; longer is 504.
        streams: gRPC calls under way on one connection; more are refused.
    """

    header_bytes: int = 32 << 10
    body_bytes: int = 64 << 20
    buffered_bytes: int = 256 << 20
    header_s: float = 10.0
    body_s: float = 60.0
    idle_s: float = 75.0
    write_s: float = 30.0
    linger_s: float = 2.0
    drain_s: float = 10.0
    connections: int = 1_024
    waiting: int = 64
    request_s: float = 60.0
    streams: int = 128
