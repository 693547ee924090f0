"""Jobs: claimed once, done on a branch of their own, ended with what was said, and put back when their process died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from bascule.catalog import new_id, now, this_process
from bascule.catalog.schema import audit, jobs
from bascule.history import Workspace
from bascule.project.retraining import reclaim, run_next


class Launcher:
    """Stands in for processes of ours: keeps the command lines, answers as it is told."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.lines: list[list[str]] = []

    def __call__(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        self.lines.append(command)
        code, out, err = self.answers.pop(0) if self.answers else (0, "", "")
        return subprocess.CompletedProcess(command, code, out, err)


def put(workspace: Workspace, branch: str = "main", **values: Any) -> str:
    """Put a job down as a trigger does."""
    row = {
        "id": new_id("job"),
        "kind": "retrain",
        "branch": branch,
        "spec_json": "{}",
        "reason": "quality.auc fell",
        "status": "waiting",
        "created_at": now(),
        **values,
    }
    with workspace.catalog.write() as conn:
        conn.execute(insert(jobs).values(**row))
    return str(row["id"])


def job(workspace: Workspace, name: str) -> Any:
    with workspace.catalog.read() as conn:
        return conn.execute(select(jobs).where(jobs.c.id == name)).one()


def test_without_a_job_nothing_is_started(workspace: Workspace, tmp_path: Path) -> None:
    launch = Launcher()
    assert run_next(workspace, tmp_path, launch) is None
    assert launch.lines == []


def test_a_job_runs_and_merges_on_a_branch_of_its_own(workspace: Workspace, tmp_path: Path) -> None:
    name, later = put(workspace), put(workspace)
    workspace.history.commit("main", {"monitors/m": {"kind": "monitor"}}, message="one")
    launch = Launcher((0, "9 steps ran", ""), (0, "version 2 rolls out", "a warning"))
    done = run_next(workspace, tmp_path, launch)
    assert done is not None
    assert (done.id, done.kind, done.status, done.message) == (name, "retrain", "done", "version 2 rolls out")
    assert launch.lines == [["run", "--branch", done.branch], ["merge", done.branch, "main"]]
    assert workspace.history.resolve(done.branch).id == workspace.history.resolve("main").id

    row = job(workspace, name)
    assert (row.status, row.claimed_by) == ("done", this_process())
    assert row.started_at <= row.finished_at
    assert msgspec.json.decode(row.result_json) == {"branch": done.branch, "message": "version 2 rolls out"}
    with workspace.catalog.read() as conn:
        entry = conn.execute(select(audit).where(audit.c.subject == f"jobs/{name}")).one()
    assert (entry.actor, entry.action) == ("scheduler", "job")
    assert job(workspace, later).status == "waiting"

    second = run_next(workspace, tmp_path, Launcher())
    assert second is not None
    assert (second.id, second.branch != done.branch) == (later, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "started", "message"),
    [
        ([(1, "", "bascule: The gates refuse it.\n")], 1, "bascule: The gates refuse it."),
        ([(0, "", ""), (1, "", "both changed models/delays")], 2, "both changed models/delays"),
        ([(70, "", "")], 1, "ended with 70"),
    ],
)
def test_a_job_that_fails_says_why(
    workspace: Workspace, tmp_path: Path, answers: list[tuple[int, str, str]], started: int, message: str
) -> None:
    name = put(workspace)
    launch = Launcher(*answers)
    done = run_next(workspace, tmp_path, launch)
    assert done is not None
    assert (done.status, done.message) == ("failed", message)
    assert len(launch.lines) == started
    assert job(workspace, name).status == "failed"
    assert run_next(workspace, tmp_path, launch) is None


@pytest.mark.slow
def test_a_job_whose_process_is_killed_is_done_again_three_times(workspace: Workspace, tmp_path: Path) -> None:
    name = put(workspace)
    for _ in range(2):
        done = run_next(workspace, tmp_path, Launcher((-9, "", "")))
        assert done is not None
        assert (done.status, done.message) == ("waiting", "Its process was ended by signal 9.")
        assert (job(workspace, name).status, job(workspace, name).claimed_by) == ("waiting", None)
    last = run_next(workspace, tmp_path, Launcher((0, "", ""), (-11, "", "")))
    assert last is not None
    assert (last.status, last.branch) == ("failed", done.branch)
    assert last.message == "Its process was ended by signal 11. That was attempt 3."
    assert run_next(workspace, tmp_path, Launcher()) is None


@pytest.mark.slow
def test_a_job_of_a_branch_that_is_gone_fails(workspace: Workspace, tmp_path: Path) -> None:
    put(workspace, branch="gone")
    launch = Launcher()
    done = run_next(workspace, tmp_path, launch)
    assert done is not None
    assert done.status == "failed"
    assert "named 'gone'" in done.message
    assert launch.lines == []


@pytest.mark.slow
def test_what_a_dead_process_had_claimed_is_done_again(workspace: Workspace, tmp_path: Path) -> None:
    """And continues on the branch of the first attempt."""
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host = socket.gethostname()
    name = put(workspace)
    others = {
        put(workspace, status="running", claimed_by=f"{host}:{os.getpid()}"): "running",
        put(workspace, status="running", claimed_by=f"elsewhere:{int(dead.stdout)}"): "running",
        put(workspace, status="done", claimed_by=f"{host}:{int(dead.stdout)}"): "done",
    }

    def die(command: list[str]) -> subprocess.CompletedProcess[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_next(workspace, tmp_path, die)
    assert job(workspace, name).status == "running"
    assert reclaim(workspace) == 0
    with workspace.catalog.write() as conn:
        conn.execute(update(jobs).where(jobs.c.id == name).values(claimed_by=f"{host}:{int(dead.stdout)}"))
    (branch,) = [ref.name for ref in workspace.history.branches() if ref.name != "main"]

    assert reclaim(workspace) == 1
    assert (job(workspace, name).status, job(workspace, name).claimed_by) == ("waiting", None)
    assert {other: job(workspace, other).status for other in others} == others
    done = run_next(workspace, tmp_path, Launcher())
    assert done is not None
    assert (done.id, done.status, done.branch) == (name, "done", branch)
