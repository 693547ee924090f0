"""Journals that nobody brought in: every record once, however often and wherever that is interrupted."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from bascule import capture
from bascule.capture import module
from bascule.catalog.schema import journal_parts, journals, metric_points, runs
from bascule.errors import EnvironmentProblem, NotFound
from bascule.history import Workspace
from bascule.tracking.ambient import launch, local, syncing, track
from bascule.tracking.ambient.session import Session, sessions
from bascule.tracking.ambient.syncing import Synced
from bascule.tracking.ambient.taking import CatalogTarget, Overtaken
from bascule.tracking.listing import list_runs
from bascule.tracking.reading import read_run

session_of = module("bascule_session")
written = module("bascule_journal")

# A process that says something of a run, and is recorded without a sender of its own.
EXPLICIT = """
import os, sys
from bascule.capture import module
run = module("bascule_run").start("rank", follow=False)
for step in range({points}):
    run.log(step=step, loss=float(step))
run.param("rank", os.environ["RANK"])
run.metric("rank_" + os.environ["RANK"], 1.0)
{end}
"""


@pytest.fixture
def folder(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    monkeypatch.chdir(place)
    return place


def start(folder: Path, text: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", text], cwd=folder, env={**os.environ, "RANK": "0", **environment})


def waiting(workspace: Workspace) -> list[Session]:
    return sessions([workspace.folder / "journals"])


def bring(workspace: Workspace) -> list[Synced]:
    return syncing.sync(waiting(workspace), lambda: local(workspace))


def count(workspace: Workspace, table: Any) -> int:
    with workspace.catalog.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("It did not come.")


@pytest.mark.slow
def test_eight_ranks_write_one_run_and_one_that_is_killed_says_how_it_ended(
    local_workspace: Workspace, folder: Path
) -> None:
    ends = {7: "os.kill(os.getpid(), 9)"}
    ranks = [
        start(folder, EXPLICIT.format(points=50, end=ends.get(n, "run.finish()")), RANK=str(n), BASCULE_RUN="job-1")
        for n in range(8)
    ]
    assert [rank.wait(60) for rank in ranks] == [0] * 7 + [-9]
    assert {one.status for one in bring(local_workspace)} == {"done"}
    assert bring(local_workspace) == []
    told = read_run(local_workspace, "job-1")
    assert told["metrics"]["loss"] == 49
    measured = {name for name in told["metrics"] if name.startswith("rank_")}
    assert {f"rank_{n}" for n in range(7)} <= measured
    assert told["run"]["status"] == "failed"
    assert "without a word" in told["run"]["error"]
    assert count(local_workspace, journals) == 8


@pytest.mark.slow
def test_a_sync_that_is_killed_again_and_again_brings_all_in_once(local_workspace: Workspace, folder: Path) -> None:
    points = 60_000
    assert start(folder, EXPLICIT.format(points=points, end="run.finish()")).wait(60) == 0
    command = [sys.executable, "-m", "bascule", "sync", "--json"]
    chance = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.5, 1.6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True)
    assert done.returncode == 0, done
    assert waiting(local_workspace) == []
    assert count(local_workspace, metric_points) == points + 1
    assert count(local_workspace, runs) == 1


@pytest.mark.slow
def test_what_is_said_and_how_far_it_goes_are_one(workspace: Workspace, tmp_path: Path) -> None:
    assert start(tmp_path / "project", EXPLICIT.format(points=10, end="run.finish()")).wait(60) == 0
    (session,) = waiting(workspace)

    class Failing(CatalogTarget):
        def take(self, *arguments: Any) -> None:
            super().take(*arguments)
            raise Overtaken("as if another had been first")

    with pytest.raises(Overtaken):
        syncing.Bringing(session, Failing(workspace)).step()
    held = count(workspace, metric_points)
    assert held == 11
    assert [one.status for one in bring(workspace)] == ["done"]
    assert count(workspace, metric_points) == held
    assert count(workspace, journal_parts) == 1


def test_a_journal_that_was_cut_is_brought_in_up_to_there_and_others_are_not_held_up(
    local_workspace: Workspace, folder: Path
) -> None:
    for _ in range(2):
        assert start(folder, EXPLICIT.format(points=2000, end="run.finish()")).wait(60) == 0
    first, second = waiting(local_workspace)
    (part,) = first.parts()
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    (second.folder / "session.json").write_text("{")
    done = syncing.sync([first], lambda: local(local_workspace))
    assert [one.status for one in done] == ["done"]
    assert read_run(local_workspace, first.header.run)["run"]["status"] == "failed"
    assert syncing.found([local_workspace.folder / "journals"], lambda one: bool(one.header)) == []
    with pytest.raises(NotFound, match="journal"):
        syncing.named([second.folder])


@pytest.mark.slow
def test_a_workspace_that_does_not_answer_costs_the_script_nothing(
    local_workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bascule.tracking.ambient import following, launch

    def down(_: Workspace) -> Any:
        raise EnvironmentProblem("The database does not answer.")

    monkeypatch.setattr(following, "PATIENCE", 0.5)
    monkeypatch.setattr(launch, "local", down)
    (folder / "code.py").write_text("import sys\nopen('out.txt', 'w').write('x')\nsys.exit(3)\n")
    done = track(local_workspace, folder, [sys.executable, "code.py"], "main")
    assert done.exit_code == 3
    assert done.problem == "The database does not answer."
    assert done.journal is not None
    (folder / "code.py").write_text("pass")  # the code was kept as it ran
    assert [one.status for one in bring(local_workspace)] == ["done"]
    told = read_run(local_workspace, done.run_id)
    assert (told["run"]["status"], told["tags"]["exit_code"]) == ("failed", "3")
    assert list(told["outputs"]) == ["out.txt"]
    assert b"sys.exit(3)" in b"".join(
        local_workspace.store.get(digest)
        for digest in msgspec.json.decode(local_workspace.store.get(told["run"]["code_snapshot"])).values()
    )
    assert not Path(done.journal).exists()


@pytest.mark.slow
def test_a_tracker_that_is_killed_does_not_hurt_the_script(local_workspace: Workspace, folder: Path) -> None:
    (folder / "long.py").write_text(
        "import time\nfor n in range(15):\n    print('line', n, flush=True)\n    time.sleep(0.2)\n"
        "open('end.txt', 'w').write('done')\n"
    )
    out = folder / "printed.txt"
    with out.open("wb") as sink:
        tracker = subprocess.Popen(
            [sys.executable, "-m", "bascule", "track", sys.executable, "long.py"], cwd=folder, stdout=sink
        )
        until(lambda: b"line 2" in out.read_bytes())
        tracker.send_signal(signal.SIGKILL)
        tracker.wait()
    until((folder / "end.txt").exists)
    until(lambda: b"line 14" in out.read_bytes())
    (session,) = waiting(local_workspace)
    until(session.is_silent)
    run = session.header.run
    assert [one.status for one in bring(local_workspace)] == ["done"]
    told = read_run(local_workspace, run)
    assert (told["run"]["status"], told["tags"]["exit_code"]) == ("done", "0")
    assert local_workspace.store.get(told["tags"]["output"]).decode().splitlines()[-1] == "line 14"
    assert list(told["outputs"]) == ["end.txt"]


@pytest.mark.slow
def test_a_run_is_seen_while_its_script_goes_on(local_workspace: Workspace, folder: Path) -> None:
    text = EXPLICIT.format(points=5, end="sys.stdin.read()")
    process = subprocess.Popen(
        [sys.executable, "-c", text], cwd=folder, env={**os.environ, "RANK": "0"}, stdin=subprocess.PIPE
    )
    (session,) = until(lambda: waiting(local_workspace))
    until(lambda: session.parts() and session.parts()[0].stat().st_size > 1000)
    time.sleep(0.2)
    assert [one.status for one in bring(local_workspace)] == ["running"]
    told = read_run(local_workspace, session.header.run)
    assert (told["run"]["status"], told["metrics"]["loss"]) == ("running", 4)
    process.communicate(timeout=30)
    assert [one.status for one in bring(local_workspace)] == ["done"]
    assert read_run(local_workspace, session.header.run)["run"]["status"] == "done"


def test_no_place_for_a_journal_is_told_and_the_command_runs(
    local_workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session_of, "create", full)
    done = track(local_workspace, folder, [sys.executable, "-c", "print('ran'); raise SystemExit(5)"], "main")
    assert done.exit_code == 5
    said = capfd.readouterr()
    assert said.out == "ran\n"
    assert "No space left" in said.err
    assert "Traceback" not in said.err


FULL = """
def full(*_):
    raise OSError(28, "No space left on device")
real = os.write
for number in range(2):
    os.write = full
    run.param("lost", number)
    os.write = real
    run.param(f"kept {number}", number)
os.write = full
sys.exit(3)
"""


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_hides_neither_the_exit_code_nor_what_was_lost(
    local_workspace: Workspace, folder: Path
) -> None:
    assert start(folder, EXPLICIT.format(points=10, end=FULL)).wait(60) == 3
    assert [one.status for one in bring(local_workspace)] == ["done"]
    (row,) = list_runs(local_workspace, 5)
    told = read_run(local_workspace, row["run"])
    assert (row["status"], told["tags"]["exit_code"]) == ("failed", "3")
    assert told["tags"]["warnings"].splitlines() == [
        "the disk was full: 2 entries could not be written to the journal, and are lost",
        "the disk was full at the end: what was said last is lost, and was not counted",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit(3)", ("failed", "3")),
        ("sys.exit()", ("done", "0")),
        ("try:\n    sys.exit(4)\nfinally:\n    os.getpid()", ("failed", "4")),
        ("try:\n    sys.exit(4)\nexcept SystemExit:\n    pass", ("done", None)),
    ],
)
def test_the_exit_code_of_a_process_that_records_itself_is_known(
    local_workspace: Workspace, folder: Path, end: str, told: tuple[str, str | None]
) -> None:
    start(folder, EXPLICIT.format(points=1, end=end)).wait(60)
    bring(local_workspace)
    (row,) = list_runs(local_workspace, 5)
    assert (row["status"], read_run(local_workspace, row["run"])["tags"].get("exit_code")) == told


@pytest.mark.slow
def test_a_command_has_taken_the_time_since_it_began_also_when_it_was_followed_late(
    local_workspace: Workspace, folder: Path
) -> None:
    launched = SimpleNamespace(folder="", begun=time.monotonic() - 5, wait=lambda: 0)
    assert launch.followed(launched, lambda: local(local_workspace)).duration_s >= 5
    begun = capture.launched([sys.executable, "-c", ""], start=str(folder), spool=str(local_workspace.folder))
    begun.begun -= 3600
    assert launch.followed(begun, lambda: local(local_workspace)).duration_s < 3600  # it is as it was recorded


def test_a_run_has_the_name_that_people_call_its_command_by() -> None:
    name_of = module("bascule_launch").name_of
    assert name_of(["sh", "-c", "cat data/in.csv |\n  wc -l"]) == "cat data/in.csv | wc -l"
    assert name_of(["/bin/bash", "-c", "echo " + "x" * 100]) == f"echo {'x' * 54}…"
    assert name_of(["/usr/bin/python3", "-c", "import a/b"]) == "python3 -c"
    assert name_of(["python", "-u", "jobs/train.py", "--depth", "3"]) == "train.py"


SIGNALLED = """
import signal, sys, time
if sys.argv[2:]:
    signal.signal(getattr(signal, sys.argv[1]), lambda *_: print("told", flush=True))
print("up", flush=True)
time.sleep(60 if not sys.argv[2:] else 0)
for _ in range(20):
    time.sleep(0.1)
    print(".", flush=True)
sys.exit(7)
"""


def signalled(folder: Path, name: str, *more: str, group: bool) -> tuple[int, bytes]:
    """Track a script, send a signal to the tracker or to its whole group; return the exit code and what was printed."""
    (folder / "wait.py").write_text(SIGNALLED)
    command = [sys.executable, "-m", "bascule", "track", sys.executable, "wait.py", name, *more]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    (os.killpg if group else os.kill)(process.pid, getattr(signal, name))
    out, _ = process.communicate(timeout=30)
    return process.returncode, out


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False], ids=["group", "tracker"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_ends_the_command_as_it_would_and_its_end_is_recorded(
    local_workspace: Workspace, folder: Path, name: str, group: bool
) -> None:
    """Also one that comes right after the command began, before its tracker has imported what follows it."""
    assert signalled(folder, name, group=group) == (128 + getattr(signal, name), b"")
    with local_workspace.catalog.read() as conn:
        assert conn.execute(select(runs.c.status)).scalar_one() == ("cancelled" if name == "SIGINT" else "failed")


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False], ids=["group", "tracker"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_command_that_expects_a_signal_gets_it_once_and_goes_on(
    local_workspace: Workspace, folder: Path, name: str, group: bool
) -> None:
    """As of a scheduler that says to all processes of a job that its time is nearly over."""
    code, out = signalled(folder, name, "expects", group=group)
    assert (code, out.count(b"told"), out.count(b".")) == (7, 1, 20)
    with local_workspace.catalog.read() as conn:
        assert conn.execute(select(runs.c.status)).scalar_one() == "failed"


@pytest.mark.slow
def test_a_ctrl_c_while_the_records_wait_leaves_the_exit_code_and_the_journal(
    local_workspace: Workspace, folder: Path
) -> None:
    count(local_workspace, runs)
    holder = sqlite3.connect(local_workspace.folder / "catalog.db", isolation_level=None)
    holder.execute("begin exclusive")
    command = [sys.executable, "-m", "bascule", "track", sys.executable, "-c", "raise SystemExit(5)"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    until(lambda: any(one.has_ended() for one in waiting(local_workspace)))
    time.sleep(1.5)  # until the tracker waits for the records
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    holder.execute("rollback")
    assert process.returncode == 5
    assert "bring it in, from the project, with: bascule sync" in said
    assert [one.status for one in bring(local_workspace)] == ["done"]
    with local_workspace.catalog.read() as conn:
        assert conn.execute(select(runs.c.status)).scalar_one() == "failed"


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command(local_workspace: Workspace, folder: Path) -> None:
    command = [sys.executable, "-m", "bascule", "track", "yes"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(30) == 128 + signal.SIGPIPE


# Prints more than a pipe holds, and says in a file that it was sent SIGTERM.
PRINTS = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("told").touch(), os._exit(7)))
print("up", flush=True)
while True:
    print("." * 1000, flush=True)
"""


@pytest.mark.slow
def test_a_signal_reaches_a_command_whose_output_nobody_reads(local_workspace: Workspace, folder: Path) -> None:
    (folder / "prints.py").write_text(PRINTS)
    command = [sys.executable, "-m", "bascule", "track", sys.executable, "prints.py"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    time.sleep(1)  # until the pipes are full
    process.terminate()
    until((folder / "told").exists)
    assert len(process.communicate(timeout=30)[0]) > 65_536
    assert process.returncode == 7


@pytest.mark.slow
def test_output_waits_for_a_reader_that_is_slow_also_in_a_pipe_that_does_not_block(
    local_workspace: Workspace, folder: Path
) -> None:
    """As those that a terminal of a browser and some build servers give."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    command = [sys.executable, "-m", "bascule", "track", sys.executable, "-c", "print('x' * 999_999)"]
    process = subprocess.Popen(command, cwd=folder, stdout=write, stderr=subprocess.DEVNULL)
    os.close(write)
    time.sleep(2)
    with open(read, "rb") as source:
        assert len(source.read()) == 1_000_000
    assert process.wait(30) == 0
