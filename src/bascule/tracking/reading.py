"""Reading a run back: all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from bascule.catalog.schema import metric_points, names, run_io, run_tags, runs
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.tracking.curves import thinned
from bascule.tracking.keeping import params_of, tags_of
from bascule.tracking.listing import brief, last_values, moment, named_run
from bascule.tracking.runs import find_run
from bascule.tracking.tracker import Tracker

CURVE_POINTS = 120
LONGEST_OUTPUT = 1 << 16


def read_run(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return a run with all that is known of it.

    Args:
        name: its id, the start of it, or `last`.

    Returns:
        `run` (its row), `params`, `metrics` (the last value of each), `tags`, `inputs` and `outputs` (path: version),
        `curves` (steps and values of each metric with more than one point, thinned), `environment`, `children`,
        `reproductions`, and `output`, the end of what it printed.

    Raises:
        NotFound: there is no such run.
    """
    run = named_run(workspace, name)
    key, number = run["id"], run["number"]
    with workspace.catalog.read() as conn:
        last = last_values(conn, [number]).get(number, {})
        touched = conn.execute(select(run_io).where(run_io.c.run_id == key)).all()
        told, labels = params_of(conn, number), tags_of(conn, number)
        below = select(runs.c.id).where(runs.c.parent_id == key).order_by(runs.c.started_at, runs.c.id)
        children = list(conn.execute(below).scalars())
        again = _reproductions(conn, key)
        curved = _curved(conn, number)
    shown = {k: v for k, v in run.items() if k not in ("environment_json", "number")}
    shown |= {k: moment(run[k]) for k in ("started_at", "finished_at") if run[k]}
    tracker = Tracker(workspace)
    curves = {name: thinned(tracker, [key], name, CURVE_POINTS) for name in curved}
    return {
        "run": shown,
        "params": told,
        "metrics": last,
        "tags": labels,
        "inputs": {row.path: row.version for row in touched if row.direction == "in"},
        "outputs": {row.path: row.version for row in touched if row.direction == "out"},
        "curves": {k: {"steps": [p.step for p in v], "values": [p.value for p in v]} for k, v in curves.items()},
        "environment": msgspec.json.decode(run["environment_json"] or "{}"),
        "children": [brief(find_run(workspace, child)) for child in children],
        "reproductions": again,
        "output": _printed(workspace, labels),
    }


def _curved(conn: Connection, number: int) -> list[str]:
    """Return the names of the metrics with more than one point."""
    p = metric_points.c
    query = select(names.c.name).join(metric_points, p.name == names.c.number).where(p.subject == number)
    return list(conn.execute(query.group_by(names.c.name).having(func.count() > 1).order_by(names.c.name)).scalars())


def _reproductions(conn: Connection, run: str) -> dict[str, str]:
    """Return the runs that did a run again, each with its verdict."""
    of, verdict, of_name, verdict_name = run_tags.alias(), run_tags.alias(), names.alias(), names.alias()
    query = (
        select(runs.c.id, verdict.c.value)
        .join(of, of.c.subject == runs.c.number)
        .join(of_name, (of_name.c.number == of.c.name) & (of_name.c.name == "reproduces"))
        .join(verdict, verdict.c.subject == runs.c.number)
        .join(verdict_name, (verdict_name.c.number == verdict.c.name) & (verdict_name.c.name == "verdict"))
        .where(of.c.value == run)
        .order_by(runs.c.started_at)
    )
    return {row.id: row.value for row in conn.execute(query)}


def _printed(workspace: Workspace, tags: Mapping[str, str]) -> str:
    try:
        data = workspace.store.get(tags["output"]) if tags.get("output") else b""
    except BasculeError:  # it was collected, or the tag is somebody's own
        return ""
    return data[-LONGEST_OUTPUT:].decode(errors="replace")
