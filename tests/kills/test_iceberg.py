"""`kill -9` of a server while engines write through its Iceberg catalog: what was answered is there, nothing half."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog

from bascule.history import Workspace
from bascule.lake import Session, doctor
from bascule.server.ports import listen
from tests.kills.forked import SOURCE

ROUNDS, WRITERS = 6, 3
SERVE = """
import sys, uvicorn
from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.web import create_app
port = int(sys.argv[2])
app = create_app(Workspace.open(sys.argv[1]), ServerSettings(port=port))
print("ready", flush=True)
uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    sock = listen("127.0.0.1", 0)
    found: int = sock.getsockname()[1]
    sock.close()
    return found


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", SERVE, str(folder), str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def opened(port: int) -> object:
    for _ in range(100):
        try:
            return load_catalog("b", type="rest", uri=f"http://127.0.0.1:{port}/iceberg")
        except Exception:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_a_killed_server_loses_nothing_that_it_answered(tmp_path: Path, port: int) -> None:
    workspace = Workspace.create(tmp_path)
    columns = pa.schema([("id", pa.int64())])
    chance = random.Random(7)
    answered: list[int] = []
    asked: list[int] = []
    for turn in range(ROUNDS):
        process = start(tmp_path, port)
        if turn == 0:
            opened(port).create_table("default.t", columns)  # type: ignore[attr-defined]
        done = threading.Event()

        def write(writer: int, turn: int = turn, done: threading.Event = done) -> None:
            number = turn * 1000 + writer * 100
            try:
                table = opened(port).load_table("default.t")  # type: ignore[attr-defined]
                while not done.is_set():
                    number += 1
                    asked.append(number)
                    table.append(pa.table({"id": [number]}, schema=columns))
                    answered.append(number)
            except Exception:
                return

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
        for one in writers:
            one.start()
        time.sleep(1.5 + chance.random())
        process.kill()
        done.set()
        process.communicate()
        for one in writers:
            one.join(60)
        with Session(workspace) as session:
            there = session.arrow("select id from t").column("id").to_pylist()
        assert len(there) == len(set(there))
        assert set(answered) <= set(there) <= set(asked)
        assert doctor.check(workspace).problems == ()
    assert len(answered) > ROUNDS
    workspace.close()
