"""`bascule up` and `bascule serve` as a user starts them: what they say, and what stops them from starting."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Said

from bascule.history import Workspace
from bascule.server.ports import free_port, is_free

Bascule = Callable[..., Said]
Start = Callable[..., "subprocess.Popen[str]"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")]


@pytest.fixture
def place(folder: Path) -> Path:
    """An empty workspace to stand in."""
    Workspace.create(folder).close()
    return folder


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return Said(process.returncode, out, err)


def document(process: subprocess.Popen[str]) -> Any:
    """Return the JSON document that a process has printed; it goes on."""
    assert process.stdout is not None
    return json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")


def ask(url: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_taken_port_is_told(place: Path, start: Start, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = ended(start(command, "--port", str(port), "--json"))
        assert (said.code, said.json()["kind"]) == (3, "EnvironmentProblem")
        assert f"Port {port} on 127.0.0.1" in said.err
        assert "--port" in said.json()["hint"]
        if command == "up":
            offered = int(said.json()["hint"].split()[-1])
            assert is_free("127.0.0.1", offered)
            assert is_free("127.0.0.1", offered + 1)
    # The failed start holds nothing.
    port = free_port("127.0.0.1", with_next=True)
    process = start(command, "--port", str(port))
    assert f"is up: http://127.0.0.1:{port}" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 0


def test_a_second_server_of_a_workspace_is_refused(place: Path, start: Start) -> None:
    port = free_port("127.0.0.1", with_next=True)
    first = start("up", "--port", str(port))
    assert first.stdout.readline() == f"Bascule is up: http://127.0.0.1:{port}  (Ctrl-C ends it)\n"
    second = ended(start("up", "--port", str(free_port("127.0.0.1", with_next=True))))
    assert (second.code, second.out) == (3, "")
    assert f"served already, by process {first.pid} at http://127.0.0.1:{port}" in second.err
    assert ask(f"http://127.0.0.1:{port}/health")["status"] == "ok"
    first.terminate()
    assert ended(first).code == 0
    assert is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port + 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--port", "65535"), ("There is no port 65535", "from 1 to 65533")),
        (("up", "--port", "-5"), ("--port", "'-5' is not a whole number from 0 to 65535")),
        (("serve", "--port", "99999"), ("--port", "'99999' is not a whole number from 0 to 65535")),
        (("serve", "--port", "http"), ("--port", "http")),
        (("serve", "--host", "0.0.0.0"), ("loopback only", "--host 127.0.0.1")),
        (("serve", "--branch", "mian"), ("There is no branch named 'mian'", "Did you mean 'main'?")),
    ],
)
def test_what_cannot_be_served_is_told(
    place: Path, bascule: Bascule, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    said = bascule(*arguments)
    assert (said.code, said.out) == (2, "")
    for word in words:
        assert word in said.err
    assert signal.getsignal(signal.SIGINT) is before


def test_the_page_answers_to_names_that_were_allowed(place: Path, start: Start) -> None:
    process = start("up", "--port", "0", "--json", "--allow-host", "ml.example.org")
    urls = document(process)
    health = f"{urls['url']}/health"
    assert ask(health, Host="ml.example.org")["status"] == "ok"
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(health, Host="other.example.org")
    with refused.value:
        assert refused.value.code == 421
        assert "bascule up --allow-host" in json.loads(refused.value.read())["hint"]
    assert ask(f"{urls['inference']}/v2/health/ready") == {"ready": True}
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 0


def test_inference_alone_says_where_it_is(place: Path, start: Start) -> None:
    process = start("serve", "--port", "0", "--json")
    ready = document(process)
    assert (ready["branch"], ready["deployments"]) == ("main", [])
    assert ask(f"{ready['url']}/v2/health/ready") == {"ready": True}
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 0
