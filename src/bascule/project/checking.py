"""Holding a table to its contract: run the checks, keep every result, and refuse what a critical check refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
from sqlalchemy import insert

from bascule.catalog import new_id
from bascule.catalog.schema import check_results
from bascule.contracts import Contract, Report, implied, render_text, run_checks
from bascule.contracts.apart import apart
from bascule.durations import parse_duration
from bascule.errors import CheckFailed, InputError
from bascule.history import Commit, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.engine import confine, opened
from bascule.lake.masking import MAIN, hidden_columns, hidden_names
from bascule.project.definitions import read_by_query
from bascule.project.file import load_project
from bascule.project.pasts import REFUSED, TABLE, past_values
from bascule.project.place import PROJECT_FILE
from bascule.project.remembering import States
from bascule.project.tables import opened_views

Reader = Callable[[str], Object | None]
VIEWS = "features/"


def check_table(
    workspace: Workspace,
    name: str,
    read: Reader,
    *,
    commit: str | None = None,
    run: str | None = None,
    onto: Commit | None = None,
    key_at_least: bool = False,
) -> Report | None:
    """Check a table of some state against the contract of that state, and keep the results.

    Args:
        read: gives the objects of the state by path; it may be a state that no branch has yet.
        commit: the commit whose state it is, or that it is based on.
        run: the run that checks.
        onto: where the state is to land, whose past says what is usual; None when it is there: `commit` is.
        key_at_least: without a contract, check that the table's key names one row.

    Returns:
        The report, or None when the table is not there or nothing is promised.
    """
    obj, table = read(f"contracts/{name}"), read(f"tables/{name}")
    if table is None:
        return None
    if obj is not None:
        contract = Contract.parse(obj["text"], file=obj.get("file", f"contracts/{name}.yaml"))
    elif key_at_least and table["key"]:
        contract = implied(name, table["key"])
    else:
        return None
    lake = Lake(workspace)
    contract = contract.hiding(hidden_columns(workspace, workspace.history.resolve(commit or MAIN), name, table))
    with opened(workspace.temporary_folder) as connection:
        _confine(workspace, connection)
        report = run_checks(
            connection,
            lake.scan(table),
            contract,
            related=relations(workspace, lake, read),
            parts=lake.parts(table),
            memory=States(workspace.catalog),
            past=past_values(workspace, f"tables/{name}", at=onto or commit),
            functions=functions_of(workspace),
        )
    keep(workspace, report, commit, run, _looked_at(report, onto))
    return report


def check_view(
    workspace: Workspace,
    name: str,
    read: Reader,
    *,
    commit: str | None = None,
    run: str | None = None,
    onto: Commit | None = None,
) -> Report | None:
    """Check the rows of a feature view of some state against the view's contract, and keep the results.

    Returns:
        The report, or None when there is no such view or nothing is asked of it.
    """
    path = VIEWS + name
    obj, view = read(f"contracts/{path}"), read(path)
    if obj is None or view is None or "sql" not in view:
        return None
    contract = Contract.parse(obj["text"], file=obj.get("file", f"contracts/{path}.yaml")).hiding(
        hidden_names(workspace)
    )
    with opened_views(workspace, read, sorted(read_by_query(view["sql"]))) as connection:
        _confine(workspace, connection)
        report = run_checks(
            connection,
            f"(\n{view['sql']}\n)",
            contract,
            related=relations(workspace, Lake(workspace), read),
            past=past_values(workspace, path, at=onto or commit),
            functions=functions_of(workspace),
        )
    keep(workspace, report, commit, run, _looked_at(report, onto), subject=path)
    return report


def _looked_at(report: Report, onto: Commit | None) -> str:
    return TABLE if report.passed or onto is None else REFUSED


def _confine(workspace: Workspace, connection: duckdb.DuckDBPyConnection) -> None:
    """Let what a contract or a view says, which may come from elsewhere, read the lake's files only."""
    confine(connection, [workspace.lake_folder, workspace.storage / "blobs"])


def keep(
    workspace: Workspace,
    report: Report,
    commit: str | None,
    run: str | None,
    looked_at: str = TABLE,
    subject: str | None = None,
) -> None:
    """Write a report's results into the records.

    Args:
        looked_at: whether they are of a table, of one that was refused, or of a batch.
        subject: the path of what was checked; the table's when not given.
    """
    rows = report.as_rows(new_id=new_id, subject=subject, commit_id=commit, run_id=run, looked_at=looked_at)
    if rows:
        with workspace.catalog.write() as conn:
            conn.execute(insert(check_results), rows)


def refuse(reports: Sequence[Report], what: str, hint: str) -> None:
    """Raise `CheckFailed` with the failing rows of every report that did not pass; do nothing when all did."""
    failed = [report for report in reports if not report.passed]
    if not failed:
        return
    count = sum(result.blocks for report in failed for result in report.results)
    text = "\n\n".join(render_text(report) for report in failed)
    raise CheckFailed(
        f"{what}: {count} critical check{'s' if count > 1 else ''} failed.\n\n{text}",
        details=[row for report in failed for row in problems(report)],
        hint=hint,
    )


def problems(report: Report) -> list[dict[str, Any]]:
    """Return what did not pass, as JSON-able rows."""
    return [
        {
            "table": report.table,
            "check": result.name,
            "column": result.column,
            "severity": result.severity,
            "status": result.status,
            "observed": result.observed,
            "expected": result.expected,
            "failed_rows": result.failed_rows,
            "owner": result.owner,
            "sample": [dict(row) for row in result.sample],
        }
        for result in report.problems
    ]


def functions_of(workspace: Workspace) -> Callable[[str], Callable[..., Any]] | None:
    """Return what gives a contract's Python checks: from modules of the project beside the workspace, and no others.

    None when no project is there. A contract may come from elsewhere; it must not import what is not the project's.
    Each runs in a process of its own, which ends when the project's time limit for a check is over.
    """
    folder = workspace.folder.parent
    if not (folder / PROJECT_FILE).is_file():
        return None

    def function(name: str) -> Callable[..., Any]:
        module = name.partition(":")[0]
        stem = folder / module.replace(".", "/")
        if not (stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()):
            raise InputError(
                f"There is no {module.replace('.', '/')}.py in {folder}.",
                hint="A check's function stands in a module of the project.",
            )
        limit = parse_duration(load_project(folder).checks.time_limit) / 1e6
        return apart(name, folder, limit)

    return function


def relations(workspace: Workspace, lake: Lake, read: Reader) -> Callable[[str], str | None]:
    """Return what gives the relation of a table by name, for checks that look at other tables.

    `flights` is the table of the state that is checked; `flights@v1.2` is that of a branch, a tag or a commit.
    """

    def relation(name: str) -> str | None:
        plain, _, ref = name.partition("@")
        other = workspace.history.read(ref, f"tables/{plain}") if ref else read(f"tables/{plain}")
        return lake.scan(other) if other is not None else None

    return relation
