"""Fifty writers at once: every append that was acknowledged is there, none twice, and none is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pyarrow as pa
import pytest

from bascule.catalog import audit
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check

WRITERS = 50
EACH = 10  # threads of a process
PROCESS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import pyarrow as pa
from bascule.history import Workspace
from bascule.lake import Lake

folder, first, count, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "own"
lake = Lake(Workspace.open(folder))
print("ready", flush=True)
sys.stdin.readline()
write = lambda n: lake.append(f"t{n}" if own else "shared", pa.table({"writer": [n]})).id
with ThreadPoolExecutor(count) as pool:
    print(json.dumps(list(pool.map(write, range(first, first + count)))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True], ids=["one-table", "own-tables"])
def test_fifty_threads(workspace: Workspace, own: bool) -> None:
    lake, begun = Lake(workspace), Barrier(WRITERS)
    if not own:
        lake.append("shared", pa.table({"writer": [-1]}))

    def write(number: int) -> str:
        begun.wait()
        return lake.append(f"t{number}" if own else "shared", pa.table({"writer": [number]})).id

    with ThreadPoolExecutor(WRITERS) as pool:
        told = list(pool.map(write, range(WRITERS)))
    holds_each_once(workspace, told, own)


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True], ids=["one-table", "own-tables"])
def test_fifty_writers_in_several_processes(workspace: Workspace, own: bool) -> None:
    if not own:
        Lake(workspace).append("shared", pa.table({"writer": [-1]}))
    command = [sys.executable, "-c", PROCESS, str(workspace.folder)]
    running = [
        subprocess.Popen(
            [*command, str(first), str(EACH), "own" if own else "shared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(0, WRITERS, EACH)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [name for process in running for name in json.loads(process.communicate()[0])]
    holds_each_once(workspace, told, own)


def holds_each_once(workspace: Workspace, told: list[str], own: bool) -> None:
    history, lake = workspace.history, Lake(workspace)
    landed = {commit.id for commit in history.log("main")}
    assert len(set(told)) == WRITERS
    assert set(told) <= landed
    assert len(landed) == WRITERS + 1 + (not own)  # the first commit; the shared table's first rows
    with engine.opened() as connection:
        rows = [
            writer
            for _, value in history.entries("main", "tables/")
            for (writer,) in connection.sql(f"SELECT writer FROM {lake.scan(value)} WHERE writer >= 0").fetchall()
        ]
    assert Counter(rows) == Counter(range(WRITERS))
    assert audit.verify(workspace.catalog).ok
    assert check(workspace).ok
