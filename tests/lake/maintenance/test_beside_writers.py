"""Collections and compactions beside writers, and killed at any moment: nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.lake.samples import names_in, people, state

from bascule.errors import Conflict, Expired
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.doctor import check
from bascule.lake.maintenance import Retention, Rule, collect, compact, retention

pytestmark = pytest.mark.slow

APPENDER = """
import sys
import pyarrow as pa
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable

workspace = Workspace.open(sys.argv[1])
lake, name, number = Lake(workspace), sys.argv[2], 0
events = RecordTable(workspace, "events", pa.schema([("name", pa.string())]))
while True:
    rows = pa.table({"id": [number], "name": [f"{name}{number}"], "score": [0.5]})
    lake.append("people", rows)
    print(f"{name}{number}", flush=True)
    events.append(pa.table({"name": [f"{name}{number}"]}))
    number += 1
"""

BRANCHER = """
import random, sys
import pyarrow as pa
from bascule.errors import Conflict, Expired
from bascule.history import Workspace
from bascule.lake import Lake

workspace = Workspace.open(sys.argv[1])
lake, history, number = Lake(workspace), workspace.history, 0
chance = random.Random(3)
while True:
    name = f"side{number}"
    try:
        history.create_branch(name, chance.choice(["main", "main~1", "main~4", "main~9"]))
        lake.append("people", pa.table({"id": [number], "name": [name], "score": [0.5]}), branch=name)
        history.merge(name, "main", resolve=lambda path, b, o, t: lake.merge_appends(b, o, t))
        print(name, flush=True)
    except (Conflict, Expired):
        pass
    if name in {ref.name for ref in history.branches()}:
        history.delete_branch(name, force=True)
    number += 1
"""

COLLECTOR = """
import sys
from bascule.errors import Busy
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.maintenance import collect, compact

workspace = Workspace.open(sys.argv[1])
print("begun", flush=True)
while True:
    try:
        print("collected", collect(workspace, grace=int(sys.argv[2])).files, flush=True)
        print("compacted", compact(Lake(workspace), "people").rewritten_files, flush=True)
    except Busy:
        pass
"""


class Others:
    """Processes that work in a workspace until they are stopped, and what they said."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.folder
        self.running: list[tuple[subprocess.Popen[str], list[str], threading.Thread]] = []

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(self.folder), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(line.strip() for line in process.stdout or ()))
        reader.start()
        self.running.append((process, said, reader))
        return process

    def said(self, process: subprocess.Popen[str]) -> list[str]:
        return next(said for one, said, _ in self.running if one is process)

    def kill(self, process: subprocess.Popen[str]) -> list[str]:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, said, reader = next(one for one in self.running if one[0] is process)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL, "it had ended by itself"
        return said


@pytest.fixture
def busy(local_workspace: Workspace) -> Workspace:
    lake = Lake(local_workspace)
    for number in range(12):
        lake.overwrite("people", people(f"old{number}"))
    retention.save(local_workspace.catalog, Retention((Rule("*", last=5),), unnamed=0), "ana")
    return local_workspace


def wait_for(said: list[str], count: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while len(said) < count and time.monotonic() < until:
        time.sleep(0.02)
    assert len(said) >= count


def wait_for_a_collected_file(said: list[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not any(line.startswith("collected") and line != "collected 0" for line in list(said)):
        assert time.monotonic() < until, "no collection took a file away"
        time.sleep(0.02)


def test_collecting_beside_writers_and_branches_loses_nothing(busy: Workspace) -> None:
    others = Others(busy)
    writers = [others.start(APPENDER, "a"), others.start(APPENDER, "b"), others.start(BRANCHER)]
    # What a writer holds a table's lock for is safe at any grace; a merge has written before it commits.
    collector = others.start(COLLECTOR, 2_000_000)
    for process in writers:
        wait_for(others.said(process), 12)
    wait_for(others.said(collector), 9)
    wait_for_a_collected_file(others.said(collector))
    landed = [name for process in writers for name in others.kill(process)]
    others.kill(collector)
    report = check(busy, deep=True)
    assert report.ok, report.problems
    lake = Lake(busy)
    for _ in range(2):
        there = names_in(lake, state(lake, "people"))
        assert len(there) == len(set(there))
        assert set(landed) <= set(there)
        collect(busy, grace=0)
    assert check(busy).orphans == ()


def test_a_collection_killed_at_any_moment_is_gone_on_with(busy: Workspace) -> None:
    others, chance = Others(busy), random.Random(11)
    writer = others.start(APPENDER, "a")
    for _ in range(8):
        collector = others.start(COLLECTOR, 1_000_000)
        wait_for(others.said(collector), 1)
        time.sleep(chance.random() * 0.5)
        others.kill(collector)
        report = check(busy)
        assert report.ok, report.problems
    wait_for(others.said(writer), 5)
    landed = others.kill(writer)
    collect(busy, grace=0)
    report = check(busy, deep=True)
    assert (report.ok, report.orphans) == (True, ())
    lake = Lake(busy)
    assert set(landed) <= set(names_in(lake, state(lake, "people")))


@pytest.mark.parametrize("step", range(0, 28, 4))
def test_killed_before_any_deletion_it_has_lost_nothing(
    busy: Workspace, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As by a kill, at every fourth file: an exception that nothing catches, at the moment before it is deleted."""
    lake, real, count = Lake(busy), Path.unlink, 0

    def unlink(path: Path, missing_ok: bool = False) -> None:
        nonlocal count
        count += 1
        if count == step + 1:
            raise SystemExit
        real(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        with pytest.raises(SystemExit):
            collect(busy, grace=0)
    assert check(busy).ok
    with pytest.raises(Expired):
        busy.history.create_branch("late", "main~9")
    assert names_in(lake, state(lake, "people")) == ["old11"]
    collect(busy, grace=0)
    assert (check(busy).ok, check(busy).orphans) == (True, ())


def test_threads_compact_append_and_collect_at_once(local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("people", people("first"))
    done, errors = threading.Event(), []

    def keep_doing(work: object) -> None:
        try:
            while not done.is_set():
                work()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    def squeeze() -> None:
        with contextlib.suppress(Conflict):
            compact(Lake(local_workspace), "people")

    others = [
        threading.Thread(target=keep_doing, args=(squeeze,)),
        threading.Thread(target=keep_doing, args=(lambda: collect(local_workspace, grace=0),)),
    ]
    for thread in others:
        thread.start()
    for number in range(40):
        lake.append("people", people(f"n{number}"))
        if number % 7 == 0:
            lake.delete("people", f"name = 'n{number}'")
    done.set()
    for thread in others:
        thread.join()
    assert errors == []
    expected = ["first", *(f"n{number}" for number in range(40) if number % 7)]
    assert names_in(lake, state(lake, "people")) == expected
    assert check(local_workspace, deep=True).ok
