"""`bascule up`: starts, answers, and ends cleanly; never twice, never on a taken port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bascule.errors import Busy, EnvironmentProblem
from bascule.history import Workspace
from bascule.server import ServerSettings, Tick, create_token, up
from bascule.server.ports import free_port, is_free, listen
from bascule.server.supervisor import worker_command
from bascule.web import create_app

QUIET = ServerSettings(port=0, inference=False)


@contextmanager
def served(ws: Workspace, settings: ServerSettings = QUIET, ticks: tuple[Tick, ...] = ()) -> Iterator[str]:
    """A server in a thread; gives its address."""
    stopping, started, urls, errors = threading.Event(), threading.Event(), [], []

    def announce(url: str) -> None:
        urls.append(url)
        started.set()

    def run() -> None:
        try:
            up(ws, settings, create_app, ticks=ticks, announce=announce, stopping=stopping)
        except BaseException as error:
            errors.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(60)
        if errors:
            raise errors[0]
        yield urls[0]
    finally:
        stopping.set()
        thread.join(60)
    assert not thread.is_alive()
    assert not errors


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def test_it_serves_and_ends(local_workspace: Workspace) -> None:
    ticked = threading.Event()
    with served(local_workspace, ticks=(Tick("tick", 0.01, lambda ws: ticked.set()),)) as url:
        assert json.loads(get(f"{url}/health"))["status"] == "ok"
        assert "<title>Overview" in get(url)
        assert ticked.wait(20)
        port = int(url.rpartition(":")[2])
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


@pytest.mark.slow
def test_two_on_one_workspace_are_refused(local_workspace: Workspace) -> None:
    settings = ServerSettings(port=free_port("127.0.0.1"), inference=False)
    with served(local_workspace, settings) as url:
        with pytest.raises(Busy, match="served already") as caught, served(Workspace.open(local_workspace.folder)):
            pass
        assert str(os.getpid()) in caught.value.message
        assert url in caught.value.message
    with served(local_workspace):
        pass


@pytest.mark.slow
def test_a_taken_port_is_named_with_a_free_one(local_workspace: Workspace) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"Port {port}") as caught:
            up(local_workspace, ServerSettings(port=port, inference=False), create_app)
    assert caught.value.exit_code == 3
    offered = int(caught.value.hint.split()[-1])
    assert offered != port
    # The failed start has let go of the lock.
    with served(local_workspace):
        pass


def test_the_port_of_inference_must_be_free_too() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        if not is_free("127.0.0.1", port - 1):
            pytest.skip("the port before is taken by somebody else")
        with pytest.raises(EnvironmentProblem, match=f"Port {port}"):
            listen("127.0.0.1", port - 1, with_next=True)
        assert is_free("127.0.0.1", port - 1)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    with pytest.raises(EnvironmentProblem, match=host.replace(".", r"\.")):
        listen(host, 0)


def test_listening_for_others_needs_a_token_first(local_workspace: Workspace) -> None:
    settings = ServerSettings(host="0.0.0.0", port=0, inference=False)
    with pytest.raises(EnvironmentProblem, match="no token yet"):
        up(local_workspace, settings, create_app)
    create_token(local_workspace.catalog, "ann", "admin")
    with served(local_workspace, settings) as url:
        port = url.rpartition(":")[2]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"http://127.0.0.1:{port}/api/bascule/v1/branches")


def test_inference_never_listens_for_others(local_workspace: Workspace) -> None:
    command = worker_command(local_workspace, ServerSettings(host="0.0.0.0", port=7400))
    assert command[-2:] == ["127.0.0.1", "7401"]


SCRIPT = """
import sys
from bascule.history import Workspace
from bascule.server import ServerSettings, up
from bascule.web import create_app
up(Workspace.open(sys.argv[1]), ServerSettings(port=0, inference=False), create_app,
    announce=lambda url: print(url, flush=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(local_workspace: Workspace, number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(local_workspace.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    # A connection that is kept open must not keep the server from ending.
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20):
        assert json.loads(get(f"{url}/health"))["status"] == "ok"
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are killed otherwise there")
def test_a_killed_server_leaves_no_lock(local_workspace: Workspace) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(local_workspace.folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.kill()
    process.communicate(timeout=60)
    with served(local_workspace) as url:
        assert json.loads(get(f"{url}/health"))["status"] == "ok"
