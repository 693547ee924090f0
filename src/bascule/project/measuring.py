"""The SQL that rollouts are judged by, tried before it is relied on: it is bound to what there is, and never run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bascule.delivery.guardrails import read_guardrails
from bascule.delivery.strategies import OUTCOME, SCORE, read_plan
from bascule.delivery.values import check_measure
from bascule.errors import BasculeError, CheckFailed, InputError, NotFound, suggestion
from bascule.history import Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Session
from bascule.project.file import ProjectFile
from bascule.serving.log import TABLES

MAIN = "main"
PREFIX, LAKE = "deployments/", "tables/"
Key = tuple[str, ...]
_COLUMN = re.compile(r'Referenced column "([^"]+)"|does not have a column named "([^"]+)"')
_NAMES = re.compile(r'"([^"]+)"')


def measures_of(deployment: Mapping[str, Any]) -> dict[Key, str]:
    """Return the SQL in a deployment's rules, by where `[deployment]` has it.

    Raises:
        InputError: the rules cannot be used.
    """
    rules = deployment.get("rules") or {}
    goal = read_plan(rules.get("plan")).goal
    measures = read_guardrails(rules.get("guardrails")).measures
    found: dict[Key, str] = {("guardrails", "measures", name, "sql"): one.sql for name, one in measures.items()}
    if goal is not None and goal.measure not in (OUTCOME, SCORE):
        found["goal", "measure"] = goal.measure
    return found


def problems(
    workspace: Workspace, ref: str, queries: Mapping[Key, str], overlay: Mapping[str, Object | None] | None = None
) -> Iterator[tuple[Key, BasculeError]]:
    """Yield what is wrong with the SQL of measures, as far as it shows without running it.

    It costs what it takes to read the tables' schemas: the prediction log is known by its columns alone.

    Args:
        ref: the state whose tables they read; of some paths the objects of `overlay` instead.
    """
    extra = {name: schema.empty_table for name, (schema, _) in TABLES.items()}
    for key, sql in queries.items():
        with Session(workspace, ref, extra=extra, overlay=overlay) as session:
            try:
                _try(session, sql)
            except (InputError, NotFound) as error:
                yield key, _told(error)


def check_file(workspace: Workspace, ref: str, project: ProjectFile, deployment: Mapping[str, Any]) -> None:
    """Try what the rules of a project's deployment are judged by.

    A table that is not there is let pass: a run may bring it.

    Raises:
        ProjectFileError: a query cannot be bound; it has the file and the line.
    """
    for key, error in problems(workspace, ref, measures_of(deployment)):
        if not isinstance(error, NotFound):
            raise project.problem(("deployment", *key), error.message, error.hint)


def demand_measurable(
    workspace: Workspace, deployment: Mapping[str, Any], project: ProjectFile | None = None, ref: str = MAIN
) -> None:
    """Try what the rollouts of a deployment would be judged by.

    Args:
        project: the file that said so, where one did.
        ref: judged is by the tables of main.

    Raises:
        InputError: a query cannot be bound.
    """
    for key, error in problems(workspace, ref, measures_of(deployment)):
        if project is not None and ("deployment", *key) in project.lines:
            raise project.problem(("deployment", *key), error.message, error.hint)
        raise InputError(f"{'.'.join(key)}: {error.message}", hint=error.hint)


def refuse_unmeasurable(workspace: Workspace, into: str, staged: Staged, refused: str) -> None:
    """Try the SQL of deployments that a state brings, with the tables that come with it.

    Raises:
        CheckFailed: one that is new here cannot be bound.
    """
    for change in staged.changes:
        if change.path.startswith(PREFIX) and change.after is not None:
            known = set(measures_of(change.before or {}).values())
            new = {key: sql for key, sql in measures_of(change.after).items() if sql not in known}
            overlay = {one.path: one.after for one in staged.changes if one.path.startswith(LAKE)}
            for key, error in problems(workspace, into, new, overlay):
                raise CheckFailed(f"{refused}: {change.path}, {'.'.join(key)}: {error.message}", hint=error.hint)


def _try(session: Session, sql: str) -> None:
    session.sql(sql)
    for name in TABLES:
        session.sql(f"SELECT * FROM records.{name} LIMIT 0")
        session.connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM records.{name}")
    check_measure(session.connection, sql)


def _told(error: BasculeError) -> BasculeError:
    """Return an error with the nearest column, where DuckDB says that there is no such one."""
    found = _COLUMN.search(error.message)
    if found is None or isinstance(error, NotFound):
        return error
    wrong = found[1] or found[2]
    known = _NAMES.findall(error.message.partition("Candidate bindings:")[2])
    every = dict.fromkeys([*known, *(name for schema, _ in TABLES.values() for name in schema.names)])
    hint = suggestion(wrong, list(every), "column")
    return InputError(f"This SQL cannot run: there is no column {wrong!r}.", hint=hint or error.hint)
