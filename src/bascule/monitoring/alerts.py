"""Alerts: opened when something persists, told once, and resolved when it has been quiet.

An alert opens when k of the last n measured windows of a subject are in breach, and resolves when the last k are not.
While it fires no second one is opened for the same subject. Windows without enough rows are no evidence and are passed
over. Drift is a warning; quality, which is what drift is feared for, is critical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from bascule.catalog import new_id, now
from bascule.catalog.schema import alerts as table
from bascule.monitoring.monitors import Monitor
from bascule.monitoring.points import (
    DRIFT,
    PREDICTION_DRIFT,
    QUALITY,
    Point,
    newest_windows,
    read_points,
    windows_before,
)

ALERTED = (QUALITY, PREDICTION_DRIFT, DRIFT)
SEVERITY = {QUALITY: "critical", PREDICTION_DRIFT: "warning", DRIFT: "warning"}


Episode = tuple[Point, bool]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert.

    Attributes:
        weight: what it is ranked by among its severity: effect times the column's importance.
        window_start: the window that opened it.
        detail: what opened it, JSON-able.
    """

    id: str
    measure: str
    subject: str
    severity: str
    status: str
    value: float | None
    threshold: float | None
    window_start: int
    window_end: int
    opened_at: int
    closed_at: int | None
    detail: Mapping[str, Any]

    @property
    def weight(self) -> float:
        """What it is ranked by."""
        return float(self.detail.get("weight", 0.0))


@dataclass(frozen=True, slots=True)
class Changes:
    """What a measurement opened (`resolved` already when it saw the end too), and the ids of what it resolved."""

    opened: tuple[Alert, ...]
    resolved: tuple[str, ...]


def update_alerts(
    conn: Connection,
    branch: str,
    monitor: Monitor,
    newest: Mapping[str, int],
    weight_of: Callable[[Point], float],
) -> Changes:
    """Open and resolve alerts in the caller's transaction, after the points of new windows were written.

    Args:
        newest: measure to the newest window that had been judged before; that one (it may have grown) and all after it
            are judged now, in order.
        weight_of: how much a point in breach matters.
    """
    firing = _firing(conn, branch, monitor.name)
    opened: list[Alert] = []
    resolved: list[str] = []
    latest = newest_windows(conn, branch, monitor.name)
    for measure in ALERTED:
        if measure not in latest:
            continue
        k, n = monitor.persistence_of(measure)
        series = _series(conn, branch, monitor.name, measure, newest.get(measure), n)
        subjects = set(series) | {subject for kind, subject in firing if kind == measure}
        for subject in sorted(subjects):
            alert, points = firing.get((measure, subject)), series.get(subject, [])
            ended, episodes = _episodes(points, newest.get(measure), k, n, alert is not None)
            if alert is not None and (ended or not points):
                _close(conn, alert)
                resolved.append(alert)
            opened += [_open(conn, branch, monitor, point, over, weight_of(point)) for point, over in episodes]
    return Changes(tuple(sorted(opened, key=_rank)), tuple(resolved))


def read_alerts(conn: Connection, branch: str, monitor: str | None = None, *, firing: bool = False) -> list[Alert]:
    """Read alerts, the most important first: by severity, then by weight; younger before older.

    Args:
        monitor: of which one; None means all.
        firing: whether only those that are not resolved.
    """
    query = select(table).where(table.c.branch == branch)
    if monitor is not None:
        query = query.where(table.c.monitor == monitor)
    if firing:
        query = query.where(table.c.status == "firing")
    return sorted((_from_row(row) for row in conn.execute(query)), key=_rank)


def _episodes(points: Sequence[Point], newest: int | None, k: int, n: int, firing: bool) -> tuple[bool, list[Episode]]:
    """Walk over the windows that are new.

    Returns:
        Whether the alert that fired before is over, and what opened since: the point that opened it, and whether it is
        over too.
    """
    ended, found, on = False, [], firing
    for at, point in enumerate(points):
        if newest is not None and point.start < newest:
            continue
        recent = points[max(0, at - n + 1) : at + 1]
        if not on and point.breach and sum(bool(p.breach) for p in recent) >= k:
            found.append((point, False))
            on = True
        elif on and len(recent) >= k and not any(p.breach for p in recent[-k:]):
            on = False
            if found:
                found[-1] = (found[-1][0], True)
            else:
                ended = True
    return ended, found


def _series(
    conn: Connection, branch: str, monitor: str, measure: str, newest: int | None, n: int
) -> dict[str, list[Point]]:
    """The points with a rule by subject, from n windows before the newest judged one on."""
    before = [] if newest is None else windows_before(conn, branch, monitor, measure, newest, n)
    found: dict[str, list[Point]] = {}
    for point in read_points(conn, branch, monitor, [measure], min(before, default=None)):
        if point.breach is not None:
            found.setdefault(point.subject, []).append(point)
    return found


def _open(conn: Connection, branch: str, monitor: Monitor, point: Point, over: bool, weight: float) -> Alert:
    moment, persistence = now(), list(monitor.persistence_of(point.measure))
    row = {
        "id": new_id("alert"),
        "branch": branch,
        "monitor": monitor.name,
        "measure": point.measure,
        "subject": point.subject,
        "severity": SEVERITY[point.measure],
        "status": "resolved" if over else "firing",
        "value": point.value,
        "threshold": point.detail.get("threshold"),
        "window_start": point.start,
        "window_end": point.end,
        "detail_json": msgspec.json.encode({**point.detail, "persistence": persistence, "weight": weight}).decode(),
        "opened_at": moment,
        "closed_at": moment if over else None,
    }
    conn.execute(insert(table).values(**row))
    return _from_row(conn.execute(select(table).where(table.c.id == row["id"])).one())


def _close(conn: Connection, name: str) -> None:
    conn.execute(update(table).where(table.c.id == name).values(status="resolved", closed_at=now()))


def _firing(conn: Connection, branch: str, monitor: str) -> dict[tuple[str, str], str]:
    query = select(table.c.id, table.c.measure, table.c.subject).where(
        table.c.branch == branch, table.c.monitor == monitor, table.c.status == "firing"
    )
    return {(row.measure, row.subject): row.id for row in conn.execute(query)}


def _from_row(row: Row[Any]) -> Alert:
    return Alert(
        id=row.id,
        measure=row.measure,
        subject=row.subject,
        severity=row.severity,
        status=row.status,
        value=row.value,
        threshold=row.threshold,
        window_start=row.window_start,
        window_end=row.window_end,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        detail=msgspec.json.decode(row.detail_json),
    )


def _rank(alert: Alert) -> tuple[bool, float, int]:
    return alert.severity != "critical", -alert.weight, -alert.window_start
