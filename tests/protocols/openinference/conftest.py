"""Servers that speak the protocol, in a thread of the test's process or as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.protocols.openinference.worker import build_server
from bascule.serving import DataPlane, PredictionLog, TruthLog
from bascule.serving.http import Limits
from bascule.serving.http2 import Http2Connection
from tests.serving.conftest import NUMBERS, bundle_bytes, put_deployment, put_versions
from tests.serving.servers import Running


@dataclass
class Served:
    """A workspace and a server of it."""

    workspace: Workspace
    plane: DataPlane
    port: int
    grpc_port: int

    def request(
        self, path: str, body: Any = None, method: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask; a dict becomes JSON, and a body makes it a POST."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data,
            {name.replace("_", "-"): value for name, value in headers.items()},
            method=method or ("GET" if body is None else "POST"),
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def ask(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """Ask and return the JSON of the answer."""
        code, _, data = self.request(path, body, **headers)
        assert code == status, data
        return json.loads(data)

    def error(self, path: str, body: Any = None, status: int = 400) -> str:
        """Ask for what cannot be answered and return what is said about it."""
        found = self.ask(path, body, status)
        assert set(found) == {"error"}
        text: str = found["error"]
        assert "Traceback" not in text
        return text


@contextmanager
def serving(ws: Workspace, limits: Limits | None = None) -> Iterator[Served]:
    """Serve a workspace in a thread."""
    plane = DataPlane(ws, poll_s=0.02)
    plane.start()
    logs = PredictionLog(ws.log_folder), TruthLog(ws.log_folder)
    server, grpc = build_server(plane, *logs, limits)
    running = Running(server, lambda: Http2Connection(server, grpc))
    with running as port:
        yield Served(ws, plane, port, running.also)
    plane.stop()
    for log in logs:
        log.journal.close()


def fill(ws: Workspace) -> Workspace:
    """Deploy a model of each kind."""
    put_versions(ws, {1: bundle_bytes(seed=0), 2: bundle_bytes(seed=1)})
    put_deployment(ws, {1: 100})
    for name, data in (
        ("three", bundle_bytes("multiclass")),
        ("amount", bundle_bytes("regression")),
        ("numbers", bundle_bytes(fields=NUMBERS)),
        ("one", bundle_bytes(fields=NUMBERS[:1])),
    ):
        put_versions(ws, {1: data}, model=name)
        put_deployment(ws, {1: 100}, name=name, model=name)
    return ws


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of many models, for tests that change nothing."""
    ws = fill(Workspace.create(tmp_path_factory.mktemp("served")))
    with serving(ws) as found:
        yield found
    ws.close()


class Worker:
    """The inference process by itself."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "bascule.protocols.openinference", str(folder), "127.0.0.1", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode() if self.process.stderr else ""
        self.ready: dict[str, Any] = json.loads(line)
        self.port = int(self.ready["url"].rpartition(":")[2])
        self.grpc_port = int(self.ready["grpc"].rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(20)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


@contextmanager
def worker(folder: Path, *arguments: str) -> Iterator[Worker]:
    """Run the inference process; it is stopped in the end."""
    made = Worker(folder, *arguments)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def served(tmp_path: Path) -> Workspace:
    """A workspace with versions 1 and 2 of `delays`; version 1 has all traffic."""
    ws = Workspace.create(tmp_path / "project")
    put_versions(ws, {1: bundle_bytes(seed=0), 2: bundle_bytes(seed=1)})
    put_deployment(ws, {1: 100})
    return ws
