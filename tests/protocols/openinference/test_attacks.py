"""What clients can do to a server that others use: none of it takes the answers of those away."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.serving.http2 import frames
from bascule.serving.http2.frames import frame
from tests.protocols.openinference.conftest import Worker, worker
from tests.serving.servers import Client, post

ROW = b'{"instances": [{"distance": 500.0, "hour": 3, "night": true, "carrier": "AA"}]}'
ASK = post("/v2/models/delays/predict", ROW)
# :method POST, :scheme http, :path /, and one header of 4,000 bytes that the table remembers.
HEADERS = b"\x83\x86\x84" + b"\x40\x01a" + b"\x7f\xa1\x1e" + b"a" * 4_000


@pytest.fixture
def attacked(served: Workspace) -> Iterator[Worker]:
    with worker(served.folder) as made:
        yield made


def connected(port: int, data: bytes = b"") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    with contextlib.suppress(OSError):
        found.sendall(data)
    return found


def flood(port: int, chunk: bytes, times: int) -> None:
    """Send HTTP/2 frames until the server has had enough."""
    held = connected(port, frames.PREFACE + frames.settings({}))
    with contextlib.suppress(OSError):
        for _ in range(times):
            held.sendall(chunk)
    with contextlib.suppress(OSError):
        while held.recv(65_536):
            pass
    held.close()


def resets() -> bytes:
    return b"".join(frame(frames.HEADERS, 4, n, b"\x83\x86\x84") + frames.reset(n, 8) for n in range(1, 4_001, 2))


def continuations() -> bytes:
    return frame(frames.HEADERS, 0, 1, b"\x83") + frame(frames.CONTINUATION, 0, 1, b"\x00") * 5_000


def unfolding() -> bytes:
    again = b"\xbe" * 8_000  # the header that the table remembers, again and again: 32 MB of 8 kB
    return frame(frames.HEADERS, 5, 1, HEADERS) + frame(frames.HEADERS, 5, 3, b"\x83\x86\x84" + again)


def memory(made: Worker) -> int:
    pages = Path(f"/proc/{made.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@pytest.mark.slow
def test_others_are_answered_under_attack(attacked: Worker) -> None:
    port, grpc = attacked.port, attacked.grpc_port
    client = Client(port)
    client.send(ASK)
    assert client.answer().status == 200
    before = memory(attacked)
    bomb = gzip.compress(bytes(200 << 20), 9)
    bombs = post("/v2/models/delays/predict", bomb, "Content-Encoding: gzip")
    held = [connected(port) for _ in range(900)]  # idle
    held += [connected(port, b"POST /v2/models/delays/predict HTTP/1.1\r\nHost: localhost\r\n") for _ in range(20)]
    for _ in range(20):  # asks, and shuts its side at once
        held.append(connected(port, ASK))
        held[-1].shutdown(socket.SHUT_WR)
    stop = threading.Event()
    attacks: list[Callable[[], object]] = [
        lambda: connected(port, bombs).close(),
        lambda: connected(port, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000).close(),
        lambda: connected(port, ASK[:50]).close(),
        lambda: flood(grpc, resets(), 4),
        lambda: flood(grpc, continuations(), 4),
        lambda: flood(grpc, unfolding(), 4),
        lambda: flood(grpc, frame(frames.PING, 0, 0, bytes(8)) * 2_000, 4),
        lambda: flood(grpc, frame(frames.SETTINGS, 0, 0, struct.pack(">HL", 4, 1)) * 2_000, 4),
    ]

    def attack(one: Callable[[], object]) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                one()

    threads = [threading.Thread(target=attack, args=(one,)) for one in attacks]
    for thread in threads:
        thread.start()
    answered = 0
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        client.send(ASK)
        assert client.answer().status == 200
        answered += 1
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert answered
    assert memory(attacked) < before + (150 << 20)  # 700 and more when what was refused is kept for the collector
    for one in held:
        one.close()
    client.close()
    with contextlib.closing(Client(port)) as later:
        later.send(ASK)
        assert later.answer().status == 200
    assert attacked.stop() == 0
