"""Required checks: what a project asks of whatever lands on a protected branch, beside contracts and gates.

They see the state that would land, not the branch that is merged: two branches that are good each by itself can be bad
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
from sqlalchemy import insert

from bascule.catalog import new_id, now
from bascule.catalog.schema import check_results
from bascule.contracts.apart import ask
from bascule.contracts.render import table as drawn
from bascule.durations import parse_duration
from bascule.errors import CheckFailed, InputError, NotFound
from bascule.history import Change, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Session
from bascule.project.file import ProjectFile, load_project
from bascule.project.modelling import demand_approved
from bascule.project.place import PROJECT_FILE, Place
from bascule.registry import PRODUCTION
from bascule.registry.versions import version_in

SHOWN = 5
WIDTH = 100


CALLEE = "bascule.project.callee"


class MergedState:
    """What a check may look at: the state that would land, which no branch has yet.

    A function sees it from a process of its own (`callee.State`).

    Attributes:
        into: the branch that it would land on.
        changes: what would change there.
    """

    def __init__(self, workspace: Workspace, staged: Staged, into: str) -> None:
        self.into = into
        self.changes: tuple[Change, ...] = staged.changes
        self._workspace, self._staged = workspace, staged
        self._asked: Session | None = None

    def read(self, path: str) -> Object | None:
        """Return the object at a path, such as `tables/flights`, or None."""
        return self._staged.read(path)

    def sql(self, query: str) -> pa.Table:
        """Run a query; a table without a ref is the one that would land, `flights@main` the one that is there now.

        Raises:
            InputError, NotFound: the query cannot run.
        """
        self._staged.depend("tables/")
        overlay = {change.path: change.after for change in self.changes}
        with Session(self._workspace, self._staged.target.id, overlay=overlay) as session:
            self._asked = session
            try:
                return session.arrow(query)
            finally:
                self._asked = None

    def interrupt(self) -> None:
        """End the query that runs, from another thread."""
        session = self._asked
        if session is not None:
            with suppress(duckdb.ConnectionException):  # it was closed meanwhile
                session.connection.interrupt()


@dataclass(frozen=True)
class Required:
    """The checks that a project requires.

    Attributes:
        folder: where its files and modules lie.
        names: `FILE.sql` or `module:function`, in their order.
        approvals: how many people must approve a version that would be in production.
        seconds: how long one function may take.
    """

    folder: Path
    names: Sequence[str]
    approvals: int = 0
    seconds: float = 120.0

    @classmethod
    def of(cls, project: ProjectFile) -> Required | None:
        """Return what a project requires; None when that is nothing."""
        checks, approvals = project.merge.checks, project.gates.approvals
        seconds = parse_duration(project.checks.time_limit) / 1e6
        return cls(project.folder, checks, approvals, seconds) if checks or approvals else None


def required_of(place: Place) -> Required | None:
    """Return what the project of a place requires; None when it has no file or requires nothing."""
    return Required.of(place.file) if (place.folder / PROJECT_FILE).is_file() else None


def required_in(folder: Path | None) -> Required | None:
    """Return what the project in a folder requires as its file says now; None for no project, or one without checks."""
    if folder is None or not (folder / PROJECT_FILE).is_file():
        return None
    return Required.of(load_project(folder))


def check_required(
    workspace: Workspace, required: Required, staged: Staged, into: str, refused: str, run: str | None = None
) -> tuple[str, ...]:
    """Run all required checks over a state, keep their results, and return their names.

    Does nothing when the branch is not protected.

    Args:
        refused: what does not happen when one fails, as the beginning of a sentence.

    Raises:
        CheckFailed: names every check that failed, with failing rows.
        InputError: a check itself is broken; what it was to hold is not shown, so nothing lands either.
    """
    if not any(branch.name == into and branch.protected for branch in workspace.history.branches()):
        return ()
    _check_approved(workspace, required.approvals, staged, refused)
    state = MergedState(workspace, staged, into)
    results = [(name, *_result(name, required, state)) for name in required.names]
    if results:
        _keep(workspace, results, staged.source.id, into, run)
    failed = [(name, said, rows) for name, said, rows in results if said]
    if failed:
        text = "\n\n".join("\n".join([f"failed    {name}: {said}", *_sample(rows)]) for name, said, rows in failed)
        raise CheckFailed(
            f"{refused}: {len(failed)} required check{'s' if len(failed) > 1 else ''} failed.\n\n{text}",
            details=[{"check": name, "said": said, "rows": len(rows or ())} for name, said, rows in failed],
            hint=f"{into!r} is unchanged. [merge] of bascule.toml lists the checks.",
        )
    return tuple(required.names)


def _check_approved(workspace: Workspace, needed: int, staged: Staged, refused: str) -> None:
    """Refuse a model whose version in production would be another one that lacks approvals."""
    for change in staged.changes:
        if not needed or not change.path.startswith("models/") or change.after is None:
            continue
        before, after = (_in_production(value) for value in (change.before, change.after))
        if after is not None and after != before:
            demand_approved(workspace, version_in(change.after, after), needed, refused)


def _in_production(model: Object | None) -> int | None:
    found: int | None = (model or {}).get("aliases", {}).get(PRODUCTION)
    return found


def _result(name: str, required: Required, state: MergedState) -> tuple[str, pa.Table | None]:
    """Return what a check said against the state ("" for nothing), and its failing rows."""
    if name.endswith(".sql"):
        said: Any = _asked(name, required.folder, state)
    else:
        said = _called(name, required, state)
    if said is None or said is True:
        return "", None
    if isinstance(said, pa.Table):
        return (f"{said.num_rows:,} row{'s' if said.num_rows > 1 else ''} must not be" if said.num_rows else ""), said
    if isinstance(said, str) and said:
        return said, None
    if said is False:
        return "it does not hold", None
    raise InputError(
        f"The check {name!r} returned {said.text if isinstance(said, _Other) else repr(said)}.",
        hint="Return None when all is well, else a sentence that says what is not, or an Arrow table of failing rows.",
    )


def _asked(name: str, folder: Path, state: MergedState) -> pa.Table:
    try:
        return state.sql((folder / name).read_text("utf-8"))
    except InputError as error:
        raise InputError(
            f"The check {name!r} cannot be asked of the state that would land: {error}",
            hint="Repair the query, as when a table or a column that it names has another name now. Nothing landed.",
        ) from error


@dataclass(frozen=True)
class _Other:
    """What a function returned that means nothing, by its type and its text."""

    text: str


def _called(name: str, required: Required, state: MergedState) -> Any:
    """Return what a function says; it runs in a process of its own, which ends when its time is over."""

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any], pa.Table | None]:
        try:
            if message["kind"] == "sql":
                return {}, state.sql(message["query"])
            return {"object": state.read(message["query"])}, None
        except InputError as error:
            return {"error": error.message, "hint": error.hint, "absent": isinstance(error, NotFound)}, None

    changes = msgspec.to_builtins(state.changes)
    asked = {"name": name, "folder": str(required.folder), "into": state.into, "changes": changes}
    said, table = ask(CALLEE, asked, required.seconds, answer, state.interrupt)
    if "refused" in said:
        raise (CheckFailed if said["failed"] else InputError)(said["refused"], hint=said["hint"])
    if said["kind"] == "table":
        return table
    return said["said"] if said["kind"] == "plain" else _Other(said["said"])


def _sample(rows: pa.Table | None) -> list[str]:
    if rows is None:
        return []
    more = rows.num_rows - SHOWN
    lines = drawn(rows.slice(0, SHOWN).to_pylist(), SHOWN, WIDTH)
    return [*lines, *([f"    … {more:,} more"] if more > 0 else [])]


def _keep(
    workspace: Workspace, results: list[tuple[str, str, pa.Table | None]], commit: str, into: str, run: str | None
) -> None:
    rows = [
        {
            "id": new_id("check"),
            "run_id": run,
            "commit_id": commit,
            "subject": f"refs/{into}",
            "check_name": name,
            "severity": "critical",
            "status": "failed" if said else "passed",
            "observed": said or None,
            "failed_rows": found.num_rows if found is not None else None,
            "sample_json": _json(found) if said and found is not None else None,
            "at": now(),
        }
        for name, said, found in results
    ]
    with workspace.catalog.write() as conn:
        conn.execute(insert(check_results), rows)


def _json(rows: pa.Table) -> str:
    return msgspec.json.encode(rows.slice(0, SHOWN).to_pylist(), enc_hook=str).decode()
