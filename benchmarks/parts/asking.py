"""Clients that keep one request under way on each connection, over HTTP or gRPC."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Pace:
    """Whether clients go on asking.

    Attributes:
        over: whoever is answered rests.
        resting: how many do.
    """

    def __init__(self) -> None:
        self.over = False
        self.resting = 0


class Client(asyncio.Protocol):
    """Keeps one request under way."""

    def __init__(self, request: bytes, taken: list[int], pace: Pace | None = None) -> None:
        self.request, self.taken, self.pace = request, taken, pace or Pace()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.go_on()

    def go_on(self) -> None:
        if self.pace.over:
            self.pace.resting += 1
        else:
            self.ask()

    def ask(self) -> None:
        self.begun = time.perf_counter_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"}"), data
        self.taken.append(time.perf_counter_ns() - self.begun)
        self.go_on()


class GrpcClient(Client):
    """Keeps one call under way: frames written by hand, answers known by their last frame."""

    def __init__(self, headers: bytes, body: bytes, taken: list[int], pace: Pace | None = None) -> None:
        super().__init__(b"\0" + len(body).to_bytes(4, "big") + body, taken, pace)
        self.headers = headers
        self.stream, self.rest, self.received = 1, b"", 0

    def connection_made(self, transport: Any) -> None:
        from bascule.serving.http2 import frames

        self.transport = transport
        transport.write(frames.PREFACE + frames.settings({}) + frames.window_update(0, 1 << 30))
        self.go_on()

    def ask(self) -> None:
        from bascule.serving.http2 import frames

        self.begun = time.perf_counter_ns()
        self.transport.write(
            frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, self.headers)
            + frames.frame(frames.DATA, frames.END_STREAM, self.stream, self.request)
        )

    def data_received(self, data: bytes) -> None:
        from bascule.serving.http2 import frames

        data = self.rest + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == frames.SETTINGS and not flags & frames.ACK:
                self.transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif kind == frames.PING and not flags & frames.ACK:
                self.transport.write(frames.frame(frames.PING, frames.ACK, 0, data[at + 9 : end]))
            elif kind == frames.DATA:
                self.received = end - at - 9
            elif kind == frames.HEADERS and flags & frames.END_STREAM:
                assert self.received > 5, data
                self.taken.append(time.perf_counter_ns() - self.begun)
                self.stream, self.received = self.stream + 2, 0
                self.go_on()
            at = end
        self.rest = data[at:]


def load(
    port: int, path: str, body: bytes, headers: str, connections: int, seconds: float, grpc: bool
) -> dict[str, float]:
    """Ask for some seconds, in a process of its own, and return requests/s and latencies in µs."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        taken, lasted = pool.apply(ask, (port, path, body, headers, connections, seconds, grpc))
    times = np.array(taken) / 1e3
    return {
        "count": len(times),
        "rate": len(times) / lasted,
        "p50": float(np.median(times)),
        "p99": float(np.quantile(times, 0.99)),
    }


def ask(
    port: int,
    path: str,
    body: bytes,
    more: str,
    connections: int,
    seconds: float,
    grpc: bool,
    http: Callable[[bytes, list[int]], asyncio.Protocol] = Client,
) -> tuple[list[int], float]:
    import uvloop

    taken: list[int] = []
    request, headers = request_of(port, path, body, more)

    def client() -> asyncio.Protocol:
        return GrpcClient(headers, body, taken) if grpc else http(request, taken)

    async def work() -> float:
        loop = asyncio.get_running_loop()
        begun = time.perf_counter()
        made = [await loop.create_connection(client, "127.0.0.1", port) for _ in range(connections)]
        await asyncio.sleep(seconds)
        lasted = time.perf_counter() - begun
        for transport, _ in made:
            transport.abort()
        return lasted

    return taken, uvloop.run(work())


def request_of(port: int, path: str, body: bytes, more: str) -> tuple[bytes, bytes]:
    """Return a request as HTTP/1.1 has it, and its head alone as HTTP/2 has it."""
    from bascule.serving.http2.hpack import literal

    request = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\naccept: */*\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    headers = b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"127.0.0.1"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", b"load"),
        )
    )  # fmt: skip
    return request, headers
