"""Lists of runs: filtered, sorted, with the parameters and metrics that are asked for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from bascule.catalog import now
from bascule.catalog.schema import experiments, latest_metrics, names, run_params, runs
from bascule.catalog.texts import holding
from bascule.durations import parse_duration
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.tracking.experiments import LOCATION
from bascule.tracking.points import value_of
from bascule.tracking.runs import find_run
from bascule.tracking.search import search_runs
from bascule.tracking.status import CANDIDATE, ENDED
from bascule.tracking.tracker import Tracker

Row = dict[str, Any]
LAST = re.compile(r"last(?:~(\d{1,9}))?")
STATUSES = ("running", *ENDED)
AT_ONCE = 500


def list_runs(
    workspace: Workspace,
    limit: int,
    *,
    experiment: str | None = None,
    kind: str | None = None,
    status: str | None = None,
    branch: str | None = None,
    since: str | None = None,
    text: str | None = None,
    filter: str = "",
    order: Sequence[str] = (),
    params: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> list[Row]:
    """Return runs, youngest first unless they are ordered; candidates of searches when a kind, text or filter is asked.

    Args:
        experiment: the name of one.
        since: a span such as `7d`, or a day or a time, in UTC unless it says its zone.
        text: a part of the id, the name, the step or the person.
        filter, order: in MLflow's words, such as `metrics.auc > 0.8 AND params.depth = '6'` and `metrics.auc DESC`.
        params, metrics: names (or patterns with `*`) that each run is told with.

    Raises:
        NotFound: there is no such experiment, kind or status.
        InputError: the time, the filter or the order cannot be read.
    """
    where = _where(workspace, kind, status, branch, since, text)
    if not (kind or text or filter):
        where.append(runs.c.kind != CANDIDATE)
    numbers = [_experiment(workspace, experiment)] if experiment is not None else None
    found = search_runs(Tracker(workspace), numbers, filter=filter, order_by=order, limit=limit, also=where).found
    shown = [brief(row._asdict()) for row in found]
    subjects = [0 if row.number is None else row.number for row in found]
    with workspace.catalog.read() as conn:
        if params:
            told = _params(conn, subjects)
            for row, number in zip(shown, subjects, strict=True):
                row["params"] = _chosen(told.get(number, {}), params)
        if metrics:
            last = last_values(conn, subjects)
            for row, number in zip(shown, subjects, strict=True):
                row["metrics"] = _chosen(last.get(number, {}), metrics)
    return shown


def named_run(workspace: Workspace, text: str) -> Row:
    """Return a run's row by its id, the start of it, or `last` (`last~1` is the one before): runs without a parent.

    Raises:
        NotFound: when there is none, or more than one.
    """
    back = LAST.fullmatch(text)
    if back is None:
        return find_run(workspace, text)
    query = select(runs).where(runs.c.parent_id.is_(None), runs.c.lifecycle == "active")
    query = query.order_by(runs.c.started_at.desc(), runs.c.id.desc()).offset(int(back[1] or 0)).limit(1)
    with workspace.catalog.read() as conn:
        row = conn.execute(query).mappings().first()
    if row is None:
        raise NotFound("run", text, hint="List them with: bascule runs")
    return dict(row)


def brief(row: Any) -> Row:
    """Return a run's row as lists show it."""
    return {
        "run": row["id"],
        "kind": row["kind"],
        "name": row["name"],
        "status": row["status"],
        "branch": row["branch"],
        "started": moment(row["started_at"]),
        "seconds": round((row["finished_at"] - row["started_at"]) / 1e6, 1) if row["finished_at"] else None,
        "user": row["user_name"],
        "error": row["error"],
    }


def artifacts_of(row: Any) -> str:
    """Return the folder of a run's artifacts."""
    uri = str(row["artifact_uri"] or "")
    return uri.removeprefix(LOCATION) if uri.startswith(LOCATION) else f"{row['experiment_id']}/{row['id']}/artifacts"


def moment(at: int) -> str:
    """Return microseconds since 1970 as a time in UTC, to the second."""
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(sep=" ", timespec="seconds")


def last_values(conn: Connection, numbers: Sequence[int]) -> dict[int, dict[str, float]]:
    """Return the last value of each metric of some subjects."""
    m = latest_metrics.c
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for at in range(0, len(numbers), AT_ONCE):
        query = select(m.subject, names.c.name, m.value, m.is_nan).join(names, names.c.number == m.name)
        some = query.where(m.subject.in_(list(numbers[at : at + AT_ONCE]))).order_by(names.c.name)
        for subject, name, value, nan in conn.execute(some).all():
            found[subject][name] = value_of(value, nan)
    return found


def _params(conn: Connection, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    p = run_params.c
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for at in range(0, len(numbers), AT_ONCE):
        query = select(p.subject, names.c.name, p.value).join(names, names.c.number == p.name)
        some = query.where(p.subject.in_(list(numbers[at : at + AT_ONCE]))).order_by(names.c.name)
        for subject, name, value in conn.execute(some).all():
            found[subject][name] = value
    return found


def _chosen(values: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if any(fnmatchcase(name, one) for one in wanted)}


def _where(
    workspace: Workspace, kind: str | None, status: str | None, branch: str | None, since: str | None, text: str | None
) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if status is not None:
        if status not in STATUSES:
            raise NotFound("status", status, STATUSES)
        where.append(runs.c.status == status)
    for column, name, value in ((runs.c.kind, "kind", kind), (runs.c.branch, "branch of runs", branch)):
        if value is not None:
            _demand(workspace, column, name, value)
            where.append(column == value)
    if since is not None:
        where.append(runs.c.started_at >= _time(since))
    if text:
        where.append(holding(text, runs.c.id, runs.c.name, runs.c.step, runs.c.user_name))
    return where


def _demand(workspace: Workspace, column: Any, name: str, value: str) -> None:
    """Refuse a word that no run has, with the nearest that some have; where there are no runs, none is wrong."""
    with workspace.catalog.read() as conn:
        if conn.execute(select(column).where(column == value).limit(1)).first() is None:
            known = [one for one in conn.execute(select(column).distinct()).scalars() if one]
            if known:
                raise NotFound(name, value, known)


def _time(text: str) -> int:
    try:
        return now() - parse_duration(text)
    except InputError:
        pass
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise InputError(
            f"Runs since {text!r} cannot be looked for: it is neither a span nor a day.",
            hint="Write a span (7d, 12h, 90m) or a day or time (2026-03-01, 2026-03-01T12:00).",
        ) from None


def _experiment(workspace: Workspace, name: str) -> int:
    with workspace.catalog.read() as conn:
        found = conn.execute(select(experiments.c.id).where(experiments.c.name == name)).scalar()
        if found is None:
            raise NotFound("experiment", name, conn.execute(select(experiments.c.name)).scalars())
    return int(found)
