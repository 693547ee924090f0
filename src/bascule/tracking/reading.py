"""Reading runs back: the last ones, and all that is known of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from bascule.catalog.schema import latest_metrics, names, run_io, runs
from bascule.history import Workspace
from bascule.tracking.keeping import params_of, tags_of
from bascule.tracking.points import value_of
from bascule.tracking.runs import find_run

Row = dict[str, Any]


def list_runs(workspace: Workspace, limit: int) -> list[Row]:
    """Return the last runs, youngest first."""
    with workspace.catalog.read() as conn:
        found = conn.execute(select(runs).order_by(runs.c.started_at.desc()).limit(limit)).mappings().all()
    return [
        {
            "run": row["id"],
            "kind": row["kind"],
            "name": row["name"],
            "status": row["status"],
            "branch": row["branch"],
            "started": _time(row["started_at"]),
            "seconds": round((row["finished_at"] - row["started_at"]) / 1e6, 1) if row["finished_at"] else None,
            "user": row["user_name"],
            "error": row["error"],
        }
        for row in found
    ]


def read_run(workspace: Workspace, name: str) -> dict[str, Row]:
    """Return a run with its parameters, the last value of each metric, tags, inputs and outputs.

    Raises:
        NotFound: there is no such run.
    """
    run = find_run(workspace, name)
    key = run["id"]
    with workspace.catalog.read() as conn:
        number = run["number"]
        latest = latest_metrics.c
        query = select(names.c.name, latest.value, latest.is_nan).join(names, names.c.number == latest.name)
        points = conn.execute(query.where(latest.subject == number).order_by(names.c.name))
        last = {name: value_of(value, nan) for name, value, nan in points}
        touched = conn.execute(select(run_io).where(run_io.c.run_id == key)).all()
        told, labels = params_of(conn, number), tags_of(conn, number)
    shown = {k: v for k, v in run.items() if k not in ("environment_json", "number")}
    shown |= {k: _time(run[k]) for k in ("started_at", "finished_at") if run[k]}
    return {
        "run": shown,
        "params": told,
        "metrics": last,
        "tags": labels,
        "inputs": {row.path: row.version for row in touched if row.direction == "in"},
        "outputs": {row.path: row.version for row in touched if row.direction == "out"},
    }


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(sep=" ", timespec="seconds")
