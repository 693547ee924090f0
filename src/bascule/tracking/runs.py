"""One run: opened, written to, closed."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import actor, new_id, now, this_process, upsert
from bascule.catalog.schema import run_io, runs
from bascule.errors import BasculeError, NotFound, is_interruption
from bascule.history import Workspace
from bascule.tracking.code import Code
from bascule.tracking.environment import capture_environment
from bascule.tracking.keeping import add_params, set_tags
from bascule.tracking.points import Point, add_points
from bascule.tracking.subjects import Names, new_subject, touch
from bascule.tracking.values import as_text


class Run:
    """A run that is going on. Everything written is durable when the call returns."""

    def __init__(self, workspace: Workspace, name: str, number: int) -> None:
        self.workspace = workspace
        self.id = name
        self._number = number
        self._names = Names(workspace.catalog)

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters. A parameter is written once; another value for it is ignored, as it was said first."""
        told = {key: as_text(value) for key, value in values.items()}
        numbers = self._names.numbers(told)
        self._write(lambda conn: add_params(conn, self._number, told, numbers, strict=False))

    def metric(self, key: str, value: float, step: int = 0) -> None:
        """Record one point of a metric."""
        self.metrics([(key, value, step)])

    def metrics(self, points: list[tuple[str, float, int]]) -> None:
        """Record many points, each (name, value, step), in one transaction."""
        at = now()
        told = [Point(key, float(value), at, step) for key, value, step in points]
        numbers = self._names.numbers(key for key, _, _ in points)
        self._write(lambda conn: add_points(conn, self._number, told, numbers))

    def tags(self, values: Mapping[str, str]) -> None:
        """Record labels for people and tools."""
        numbers = self._names.numbers(values)
        self._write(lambda conn: set_tags(conn, self._number, values, numbers))

    def reads(self, path: str, version: str, rows: int | None = None, size: int | None = None) -> None:
        """Record an input: its path in the history (or a URI) and the version that was read."""
        self._touch("in", path, version, rows, size)

    def writes(self, path: str, version: str, rows: int | None = None, size: int | None = None) -> None:
        """Record an output."""
        self._touch("out", path, version, rows, size)

    def finish(self, status: str, error: str | None = None, result_commit: str | None = None) -> None:
        """Close the run: done, cached, failed or cancelled."""
        values = {"status": status, "error": error, "finished_at": now()}
        if result_commit:
            values["result_commit_id"] = result_commit
        with self.workspace.catalog.write() as conn:
            conn.execute(update(runs).where(runs.c.id == self.id).values(**values))

    def _touch(self, direction: str, path: str, version: str, rows: int | None, size: int | None) -> None:
        row = {"run_id": self.id, "direction": direction, "path": path, "version": version, "rows": rows, "bytes": size}
        self._write(lambda conn: conn.execute(upsert(conn, run_io).values(**row).on_conflict_do_nothing()))

    def _write(self, work: Callable[[Connection], Any]) -> None:
        with self.workspace.catalog.write() as conn:
            work(conn)
            touch(conn, self._number)


@contextmanager
def recorded(
    workspace: Workspace,
    *,
    name: str,
    kind: str,
    step: str | None = None,
    branch: str | None = None,
    commit: str | None = None,
    parent: str | None = None,
    code: Code | None = None,
) -> Iterator[Run]:
    """Open a run; it is closed as done, failed or cancelled when the block ends, with the error in one line."""
    run_id = new_id("run")
    place = {"pid": os.getpid(), "host": socket.gethostname(), "process": this_process()}
    row = {
        "id": run_id,
        "name": name,
        "kind": kind,
        "step": step,
        "status": "running",
        "branch": branch,
        "commit_id": commit,
        "code_commit": code.commit if code else None,
        "code_dirty": code.dirty if code else None,
        "code_snapshot": code.snapshot if code else None,
        "parent_id": parent,
        "user_name": actor(),
        "started_at": now(),
        "environment_json": msgspec.json.encode({**capture_environment(), **place}).decode(),
    }
    with workspace.catalog.write() as conn:
        number = new_subject(conn, run_id)
        conn.execute(insert(runs).values(number=number, **row))
    run = Run(workspace, run_id, number)
    try:
        yield run
    except BaseException as error:
        _fail(run, error)
        raise
    _close(workspace, run.id)


def resume(workspace: Workspace, run_id: str) -> Run:
    """Return a run to write more to, by its id.

    Raises:
        NotFound: when there is none.
    """
    with workspace.catalog.write() as conn:
        row = conn.execute(select(runs.c.id, runs.c.number).where(runs.c.id == run_id)).first()
        if row is None:
            raise NotFound("run", run_id, hint="List them with: bascule runs")
        number = row.number
        if number is None:
            number = new_subject(conn, run_id)
            conn.execute(update(runs).where(runs.c.id == run_id).values(number=number))
    return Run(workspace, run_id, number)


def find_run(workspace: Workspace, text: str) -> dict[str, Any]:
    """Return a run's row by its id or the start of it.

    Raises:
        NotFound: when there is none, or more than one.
    """
    with workspace.catalog.read() as conn:
        found = conn.execute(select(runs).where(runs.c.id.startswith(text)).limit(2)).all()
        if len(found) == 1:
            return dict(found[0]._mapping)
    raise NotFound("run", text, hint="Write more of the id." if found else "List them with: bascule runs")


def _fail(run: Run, error: BaseException) -> None:
    """Close a run that raised. What went wrong first is what the user must be told, so nothing is raised here."""
    if is_interruption(error):
        status, text = "cancelled", "Interrupted."
    else:
        status = "failed"
        text = error.message if isinstance(error, BasculeError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(BasculeError):  # on a full disk the run stays open; `bascule doctor` closes it
        run.finish(status, text)


def _close(workspace: Workspace, name: str) -> None:
    """Close a run that its own block has not closed already."""
    with workspace.catalog.write() as conn:
        query = update(runs).where(runs.c.id == name, runs.c.status == "running")
        conn.execute(query.values(status="done", finished_at=now()))
