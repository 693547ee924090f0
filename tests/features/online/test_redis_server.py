"""A server of online features that hangs is waited for once."""

from __future__ import annotations

import socket
import threading

import pytest

from bascule.errors import EnvironmentProblem
from bascule.features.online import redis_server


def test_a_server_that_hangs_is_asked_once() -> None:
    pytest.importorskip("redis")
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    asked.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        server = redis_server.RedisServer(f"redis://127.0.0.1:{listening.getsockname()[1]}", 0.2)
        with pytest.raises(EnvironmentProblem, match=r"does not answer: 0\.2 s were waited for it\."):
            server.call("GET", "x")
        server.close()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert len(asked) == 1
    for one in asked:
        one.close()
