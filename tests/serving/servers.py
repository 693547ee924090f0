"""HTTP servers in a thread of the test's process, and bare sockets to talk to them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import uvloop

from bascule.serving.http import Also, HttpServer


class Running:
    """A server that is started in a thread of its own: `with Running(server) as port:`."""

    def __init__(self, server: HttpServer, second: Callable[[], asyncio.Protocol] | None = None) -> None:
        self.server = server
        self.second = second
        self.port = self.also = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        assert self._started.wait(60)
        return self.port

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, work: Callable[[], object]) -> None:
        """Run something on the server's loop."""
        self.loop.call_soon_threadsafe(work)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        also = Also(0, self.second, "--grpc-port") if self.second else None
        self.port, self.also = await self.server.start("127.0.0.1", 0, also)
        self._started.set()
        await self._stop.wait()
        await self.server.stop()


class Answer:
    """One answer as it came over the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    """A socket that speaks as badly as a test wants."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, head: bool = False) -> Answer:
        """Read one whole answer."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        status = int(first.split()[1])
        length = 0 if head or status == 100 else int(headers["content-length"])
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(status, headers, body)

    def ended(self) -> bool:
        """Whether the server has closed, with nothing more to read."""
        try:
            return not self._rest and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError(f"the server closed after {self._rest!r}")
        self._rest += data


@contextmanager
def client(port: int) -> Iterator[Client]:
    """A client that is closed in the end."""
    made = Client(port)
    try:
        yield made
    finally:
        made.close()


def post(path: str, body: bytes = b"", *headers: str, host: str = "localhost") -> bytes:
    """A request as bytes."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET", host: str = "localhost") -> bytes:
    """A request without a body as bytes."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]).encode() + b"\r\n\r\n"
