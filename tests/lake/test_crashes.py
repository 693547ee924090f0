"""Killed writers and full disks: nothing is half there, and what was acknowledged is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lake.samples import names_in, people, state

from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, engine
from bascule.lake.doctor import check

pytestmark = pytest.mark.slow

WRITER = """
import sys
import pyarrow as pa
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable

workspace = Workspace.open(sys.argv[1])
lake, number = Lake(workspace), int(sys.argv[2])
table = RecordTable(workspace, "events", pa.schema([("name", pa.string())]))
while True:
    rows = pa.table({"id": [number], "name": [f"n{number}"], "score": [0.5]})
    lake.append("people", rows)
    print("append", number, flush=True)
    lake.upsert("people", pa.table({"id": [number], "name": [f"n{number}"], "score": [1.5]}), key=["id"])
    print("upsert", number, flush=True)
    table.move_segment(f"s{number}", pa.table({"name": [f"n{number}"]}))
    print("segment", number, flush=True)
    if number % 3 == 0:
        lake.delete("people", f"id = {number}")
        print("delete", number, flush=True)
    number += 1
"""


def run_and_kill(workspace: Workspace, start: int, seconds: float) -> list[tuple[str, int]]:
    command = [sys.executable, "-c", WRITER, str(workspace.folder), str(start)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read()
    writer.wait()
    writer.stdout.close()
    told = [line.split() for line in (first + rest).splitlines()]
    return [(words[0], int(words[1])) for words in told if len(words) == 2]


@pytest.mark.slow
def test_killed_writers_leave_whole_states_and_lose_nothing(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("people", people("first", start=-1))
    chance = random.Random(7)
    told: list[tuple[str, int]] = []
    for attempt in range(8):
        start = 1 + max((number for _, number in told), default=-1) + 1  # the one that was cut off may have landed
        told += run_and_kill(local_workspace, start, chance.random() * 0.25)
        report = check(local_workspace, deep=True)
        assert report.ok, (attempt, report.problems)
        value = state(lake, "people")
        there = set(names_in(lake, value))
        assert value["rows"] == len(there)
        deleted = {number for kind, number in told if kind == "delete"}
        for kind, number in told:
            if kind == "append" and number % 3:
                assert f"n{number}" in there
        assert not {f"n{number}" for number in deleted} & there
        table = RecordTable(local_workspace, "events", lake.schema(value))
        segments = {number for kind, number in told if kind == "segment"}
        with engine.opened() as connection:
            events = connection.sql(f"SELECT name FROM {table.scan()}").to_arrow_table()["name"].to_pylist()
        assert len(events) == len(set(events)) == len(table.segments())
        assert {f"n{number}" for number in segments} <= set(events)
    assert lake.append("people", people("last", start=10**6))


LIMITED = """
import resource, sys
import pyarrow as pa
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.lake import Lake

workspace = Workspace.open(sys.argv[1])
lake = Lake(workspace)
workspace.history.resolve("main")
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
numbers = pa.array(range(3_000_000), pa.int64())
import random
noise = pa.array([random.random() for _ in range(600_000)])
try:
    lake.append("people", pa.table({"id": numbers[:600_000], "name": noise.cast(pa.string()), "score": noise}))
except EnvironmentProblem as problem:
    print(problem.message, "|", problem.hint, "|", problem.exit_code)
"""


def test_a_file_that_cannot_grow_changes_nothing(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("people", people("ann"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(local_workspace.folder)], capture_output=True, text=True, check=False
    )
    assert "the disk is full. Nothing was changed. | Free some space, then repeat. | 3" in done.stdout, done.stderr
    assert names_in(lake, state(lake, "people")) == ["ann"]
    report = check(local_workspace, deep=True)
    assert report.ok
    assert report.orphans == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


FILLER = """
import sys
import pyarrow as pa
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.lake import Lake

lake = Lake(Workspace.open(sys.argv[1]))
for number in range(10_000):
    try:
        rows = [f"{number}-{n}-{hash((number, n))}" for n in range(2_000)]
        lake.append("people", pa.table({"id": range(2_000), "name": rows, "score": [0.5] * 2_000}))
        print("append", number, flush=True)
    except BasculeError as error:
        print(type(error).__name__, error.message, flush=True)
        break
"""


def test_a_full_disk_is_told_and_what_was_acknowledged_stays(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "w")
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(workspace.folder)], capture_output=True, text=True, check=False
    )
    *appended, last = done.stdout.splitlines()
    assert last.startswith("EnvironmentProblem"), done.stderr
    assert "full" in last
    lake = Lake(workspace)
    assert appended
    assert state(lake, "people")["rows"] == 2_000 * len(appended)
    assert len(names_in(lake, state(lake, "people"))) == 2_000 * len(appended)
    report = check(workspace, deep=True)
    assert report.ok, report.problems
    workspace.close()
