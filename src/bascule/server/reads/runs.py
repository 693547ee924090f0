"""Runs: what ran, with which parameters, what it measured, read and wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Row, Select, Table, func, or_, select

from bascule.catalog import schema
from bascule.catalog.texts import holding
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake.masking import HIDDEN, hidden_names
from bascule.tracking.curves import every
from bascule.tracking.points import value_of
from bascule.tracking.status import CANDIDATE

PAGE = 50
SERIES_POINTS = 2000
KNOWN_IDS = 200


class RunInfo(msgspec.Struct, frozen=True):
    """One run. Times in microseconds since the epoch; `metrics` holds the last value of each."""

    id: str
    name: str
    kind: str
    step: str | None
    status: str
    branch: str | None
    commit_id: str | None
    result_commit_id: str | None
    code_commit: str | None
    code_dirty: bool | None
    parent_id: str | None
    user_name: str
    started_at: int
    finished_at: int | None
    error: str | None
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}


class RunPage(msgspec.Struct, frozen=True):
    """Runs, youngest first. `next` is the `before` of the following page, or null at the end."""

    runs: list[RunInfo]
    next: str | None


class RunInput(msgspec.Struct, frozen=True):
    """Something that a run read or wrote."""

    direction: str
    path: str
    version: str
    rows: int | None
    bytes: int | None


class Series(msgspec.Struct, frozen=True):
    """One metric over its steps; `at` are the times, microseconds since the epoch."""

    key: str
    steps: list[int]
    at: list[int]
    values: list[float]


class RunDetail(msgspec.Struct, frozen=True):
    """All that is known of a run."""

    run: RunInfo
    params: dict[str, str]
    tags: dict[str, str]
    series: list[Series]
    io: list[RunInput]
    children: list[RunInfo]
    environment: dict[str, Any]


def list_runs(
    ws: Workspace,
    *,
    status: str | None = None,
    kind: str | None = None,
    step: str | None = None,
    branch: str | None = None,
    text: str | None = None,
    before: str | None = None,
    limit: int = PAGE,
) -> RunPage:
    """Return a page of runs. Reads only what the page shows: the cost does not grow with the number of runs.

    Args:
        text: a part of the id, the name, the step or the person.
        before: the id of the last run of the page before.
    """
    wanted = _columns().order_by(schema.runs.c.started_at.desc(), schema.runs.c.id.desc()).limit(limit + 1)
    for column, value in ((schema.runs.c.status, status), (schema.runs.c.kind, kind)):
        wanted = wanted.where(column == value) if value else wanted
    if not (kind or text):
        wanted = wanted.where(schema.runs.c.kind != CANDIDATE)
    wanted = wanted.where(schema.runs.c.step == step) if step else wanted
    wanted = wanted.where(schema.runs.c.branch == branch) if branch else wanted
    if text:
        r = schema.runs.c
        wanted = wanted.where(holding(text, r.id, r.name, r.step, r.user_name))
    with ws.catalog.read() as conn:
        if before:
            wanted = wanted.where(_older_than(conn, before))
        rows = conn.execute(wanted).all()
        shown = rows[:limit]
        found = _with_values(conn, [_run(row) for row in shown])
    return RunPage(_shown(ws, found), shown[-1].id if len(rows) > limit else None)


def get_run(ws: Workspace, run_id: str) -> RunDetail:
    """Return one run with its parameters, metrics, inputs, outputs and children.

    Raises:
        NotFound: with the nearest of the last runs.
    """
    with ws.catalog.read() as conn:
        row = conn.execute(_columns(environment=True).where(schema.runs.c.id == run_id)).first()
        if row is None:
            last = select(schema.runs.c.id).order_by(schema.runs.c.started_at.desc()).limit(KNOWN_IDS)
            raise NotFound("run", run_id, conn.execute(last).scalars())
        (run,) = _shown(ws, _with_values(conn, [_run(row)]))
        below = _columns().where(schema.runs.c.parent_id == run_id).order_by(schema.runs.c.started_at, schema.runs.c.id)
        children = _shown(ws, _with_values(conn, [_run(child) for child in conn.execute(below)]))
        return RunDetail(
            run=run,
            params=run.params,
            tags=_values(conn, schema.run_tags, [run_id]).get(run_id, {}),
            series=_series(conn, run_id),
            io=_io(conn, run_id),
            children=children,
            environment=msgspec.json.decode(row.environment_json or "{}"),
        )


def get_runs(ws: Workspace, ids: Sequence[str]) -> list[RunDetail]:
    """Return several runs in the order asked for, to compare them."""
    return [get_run(ws, run_id) for run_id in dict.fromkeys(ids)]


def run_facets(ws: Workspace) -> dict[str, list[str]]:
    """Return what there is to filter by: kinds, statuses, steps and branches."""
    columns = {
        "status": schema.runs.c.status,
        "kind": schema.runs.c.kind,
        "step": schema.runs.c.step,
        "branch": schema.runs.c.branch,
    }
    with ws.catalog.read() as conn:
        return {
            name: sorted(value for value in conn.execute(select(column).distinct()).scalars() if value)
            for name, column in columns.items()
        }


def _columns(environment: bool = False) -> Select[Any]:
    names = [name for name in RunInfo.__struct_fields__ if name not in ("metrics", "params")]
    columns = [schema.runs.c[name] for name in names]
    return select(*columns, *([schema.runs.c.environment_json] if environment else []))


def _run(row: Row[Any]) -> RunInfo:
    values = {key: value for key, value in row._mapping.items() if key != "environment_json"}
    return RunInfo(**values)


def _shown(ws: Workspace, runs: list[RunInfo]) -> list[RunInfo]:
    """Hide why runs failed from who reads masks: the text quotes values that a source or a check could not take."""
    if not any(run.error for run in runs) or not hidden_names(ws):
        return runs
    return [replace(run, error=HIDDEN if run.error else run.error) for run in runs]


def _older_than(conn: Connection, run_id: str) -> Any:
    started = conn.execute(select(schema.runs.c.started_at).where(schema.runs.c.id == run_id)).scalar()
    if started is None:
        raise NotFound("run", run_id, hint="Start again from the first page.")
    earlier = schema.runs.c.started_at < started
    return or_(earlier, (schema.runs.c.started_at == started) & (schema.runs.c.id < run_id))


def _with_values(conn: Connection, found: list[RunInfo]) -> list[RunInfo]:
    ids = [run.id for run in found]
    metrics, params = last_metrics(conn, ids), _values(conn, schema.run_params, ids)
    return [
        msgspec.structs.replace(run, metrics=metrics.get(run.id, {}), params=params.get(run.id, {})) for run in found
    ]


def last_metrics(conn: Connection, ids: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the last value of each metric of some runs: that of the highest step, and of its latest time."""
    m, names = schema.latest_metrics.c, schema.names.c
    wanted = (
        select(schema.runs.c.id, names.name, m.value, m.is_nan)
        .join(schema.latest_metrics, m.subject == schema.runs.c.number)
        .join(schema.names, names.number == m.name)
        .where(schema.runs.c.id.in_(list(ids)))
        .order_by(names.name)
    )
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for run_id, key, value, nan in conn.execute(wanted).all():
        found[run_id][key] = value_of(value, nan)
    return found


def _values(conn: Connection, table: Table, ids: list[str]) -> dict[str, dict[str, str]]:
    names = schema.names.c
    wanted = (
        select(schema.runs.c.id, names.name, table.c.value)
        .join(table, table.c.subject == schema.runs.c.number)
        .join(schema.names, names.number == table.c.name)
        .where(schema.runs.c.id.in_(ids))
        .order_by(names.name)
    )
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for run_id, key, value in conn.execute(wanted).all():
        found[run_id][key] = value
    return found


def _series(conn: Connection, run_id: str) -> list[Series]:
    """Metrics that have more than one point; long ones are thinned to `SERIES_POINTS`, keeping the last."""
    m, names = schema.metric_points.c, schema.names.c
    number = select(schema.runs.c.number).where(schema.runs.c.id == run_id).scalar_subquery()
    lengths = select(m.name, func.count()).where(m.subject == number).group_by(m.name).having(func.count() > 1)
    counted = lengths.subquery()
    query = select(counted, names.name.label("key")).join(schema.names, names.number == counted.c.name)
    found = []
    for name, length, key in conn.execute(query.order_by(names.name)).all():
        mine = (m.subject == number, m.name == name)
        points = every(mine, -(-length // SERIES_POINTS), length)
        kept = sorted((step, at, value_of(value, nan)) for value, nan, at, step in conn.execute(points).all())
        found.append(Series(key, [p[0] for p in kept], [p[1] for p in kept], [p[2] for p in kept]))
    return found


def _io(conn: Connection, run_id: str) -> list[RunInput]:
    i = schema.run_io.c
    wanted = select(i.direction, i.path, i.version, i.rows, i.bytes).where(i.run_id == run_id)
    return [RunInput(*row) for row in conn.execute(wanted.order_by(i.direction, i.path))]
