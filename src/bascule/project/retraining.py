"""Jobs that triggers put down: a retraining on a branch of its own, merged when its gates and checks say so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from bascule.catalog import audit, has_ended, now, this_process
from bascule.catalog.schema import jobs
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.project.withdrawing import settle

MOST_ATTEMPTS = 3
SCHEDULED = "scheduled"  # waits for the time that its spec calls `due`
Launch = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Done:
    """A job that has ended."""

    id: str
    kind: str
    status: str
    branch: str
    message: str


def run_next(workspace: Workspace, folder: Path, launch: Launch | None = None) -> Done | None:
    """Claim the oldest waiting job, do it, and say how it ended. None when no job waits.

    A retraining runs `bascule run` on a new branch at the head of the job's branch, then `bascule merge`: the gates,
    the checks and the canary decide, as for a person. Each is a process of its own, so a training that takes all memory
    takes itself down and nothing else.

    A job whose process is killed (as by a system that is out of memory) waits to be done again, three times at most.

    Args:
        folder: the project's folder.
        launch: starts a command line of ours and waits for it; tests hand in their own.
    """
    job = _claim(workspace)
    if job is None:
        return None
    source = f"retrain/{job['id'].partition('_')[2][:12]}"
    launch = launch or _launcher(workspace, folder)
    try:
        # A job that was put back continues on the branch of its first attempt: what was finished there is cached.
        if source not in {ref.name for ref in workspace.history.branches()}:
            workspace.history.create_branch(source, job["branch"], author="scheduler")
    except BasculeError as error:
        return _end(workspace, job, "failed", source, error.message)
    for command in (["run", "--branch", source], ["merge", source, job["branch"]]):
        done = launch(command)
        if done.returncode < 0:
            return _cut_short(workspace, job, source, -done.returncode)
        if done.returncode != 0:
            return _end(workspace, job, "failed", source, done.stderr.strip() or f"ended with {done.returncode}")
    ended = _end(workspace, job, "done", source, done.stdout.strip())
    settle(workspace)  # it may be what a bundle waited for that a forgotten subject stands in
    return ended


def reclaim(workspace: Workspace) -> int:
    """Put jobs back whose process is gone, as after a power cut. Called once when the scheduler starts."""
    count = 0
    with workspace.catalog.write() as conn:
        for row in conn.execute(select(jobs).where(jobs.c.status == "running")).all():
            if has_ended(row.claimed_by or ""):
                conn.execute(update(jobs).where(jobs.c.id == row.id).values(status="waiting", claimed_by=None))
                count += 1
    return count


def _claim(workspace: Workspace) -> dict[str, Any] | None:
    with workspace.catalog.write() as conn:
        _wake(conn)
        waiting = select(jobs).where(jobs.c.status == "waiting").order_by(jobs.c.created_at).limit(1)
        row = conn.execute(waiting.with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        taken = {"status": "running", "claimed_by": this_process(), "started_at": now()}
        conn.execute(update(jobs).where(jobs.c.id == row["id"]).values(**taken))
        return dict(row)


def _wake(conn: Connection) -> None:
    """Let jobs wait for their turn whose due time has come."""
    for row in conn.execute(select(jobs.c.id, jobs.c.spec_json).where(jobs.c.status == SCHEDULED)).all():
        if msgspec.json.decode(row.spec_json).get("due", 0) <= now():
            conn.execute(update(jobs).where(jobs.c.id == row.id).values(status="waiting"))


def _cut_short(workspace: Workspace, job: dict[str, Any], branch: str, signal: int) -> Done:
    """Put a job back whose process a signal has ended, unless that has happened often enough."""
    attempts = 1 + msgspec.json.decode(job["result_json"] or "{}").get("attempts", 0)
    message = f"Its process was ended by signal {signal}."
    if attempts >= MOST_ATTEMPTS:
        return _end(workspace, job, "failed", branch, f"{message} That was attempt {attempts}.")
    result = msgspec.json.encode({"branch": branch, "message": message, "attempts": attempts}).decode()
    with workspace.catalog.write() as conn:
        values = {"status": "waiting", "claimed_by": None, "result_json": result}
        conn.execute(update(jobs).where(jobs.c.id == job["id"]).values(**values))
    return Done(job["id"], job["kind"], "waiting", branch, message)


def _end(workspace: Workspace, job: dict[str, Any], status: str, branch: str, message: str) -> Done:
    result = msgspec.json.encode({"branch": branch, "message": message}).decode()
    with workspace.catalog.write() as conn:
        conn.execute(
            update(jobs).where(jobs.c.id == job["id"]).values(status=status, finished_at=now(), result_json=result)
        )
        audit.append(
            conn,
            actor="scheduler",
            action="job",
            subject=f"jobs/{job['id']}",
            detail={"kind": job["kind"], "reason": job["reason"], "status": status, "branch": branch},
        )
    return Done(job["id"], job["kind"], status, branch, message)


def _launcher(workspace: Workspace, folder: Path) -> Launch:
    def launch(command: list[str]) -> subprocess.CompletedProcess[str]:
        line = [
            sys.executable,
            "-m",
            "bascule",
            *command,
            "--workspace",
            str(workspace.folder),
            "--project",
            str(folder),
        ]
        environment = {**os.environ, "BASCULE_USER": "scheduler"}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=folder)

    return launch
