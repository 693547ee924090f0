"""Alerts: opened when something persists, told once, kept up to date while it lasts, and resolved when it is over.

A subject (a column, the score, a metric) is *on* when k of its last n measured windows are in breach, and off when
the last k are not. Windows without enough rows are no evidence and are passed over. A monitor has at most one alert
open for each measure: it is open while any subject is on, and names all that are, the most important first. What drifts
together has mostly one cause, and one page tells of it. Drift is a warning; quality, which is what drift is feared for,
is critical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    SKEW,
    SKEW_DRIFT,
    Point,
    newest_windows,
    read_points,
    windows_before,
)

ALERTED = (QUALITY, PREDICTION_DRIFT, DRIFT, SKEW, SKEW_DRIFT)
SEVERITY = {measure: "critical" if measure == QUALITY else "warning" for measure in ALERTED}


# How many subjects an alert names in a line of text.
NAMED = 3
# A subject that is on: its name, and its last window in breach.
Member = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert.

    Attributes:
        subject: the most important one that is on (in a resolved alert: that was, in the end); `value` is its own.
        weight: what it is ranked by among its severity: effect times the column's importance.
        window_start: the window that opened it.
        window_end: the end of the last window in which it was on.
        detail: what is known of `subject`; `members` are all that are on, the most important first, each with its
            value, its weight and `since`, the start of the window in which it came on; `seen` are all that ever were.
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

    @property
    def told(self) -> str:
        """What is on, with its values, in a line: `wind 0.213, age 0.187, origin 0.12 and 4 more`."""
        members = self.detail.get("members") or [{"subject": self.subject, "value": self.value}]
        return named([f"{one['subject']} {one['value'] or 0.0:.3g}" for one in members])


@dataclass(frozen=True, slots=True)
class Changes:
    """What a measurement opened (`resolved` already when it saw the end too), and the ids of what it resolved."""

    opened: tuple[Alert, ...]
    resolved: tuple[str, ...]


@dataclass
class Episode:
    """A run of windows in which something was on.

    Attributes:
        alert: id of the record that it has already.
        start: of the window that opened it.
        end: of the last window in which it was on.
        members: subject to what is known of it, as it was in its last window in breach; of the last window that was on.
        seen: all subjects that ever were on.
    """

    alert: str | None
    start: int
    end: int
    members: dict[str, Member]
    seen: set[str] = field(default_factory=set)
    over: bool = False


def named(names: Sequence[str]) -> str:
    """Return names as a line: the first ones, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def update_alerts(
    conn: Connection,
    branch: str,
    monitor: Monitor,
    newest: Mapping[str, int],
    weight_of: Callable[[Point], float],
) -> Changes:
    """Open, update and resolve alerts in the caller's transaction, after the points of new windows were written.

    Args:
        newest: measure to the newest window that had been judged before; that one (it may have grown) and all after it
            are judged now, in order.
        weight_of: how much a point in breach matters.
    """
    opened: list[Alert] = []
    resolved: list[str] = []
    latest = newest_windows(conn, branch, monitor.name)
    for measure in ALERTED:
        if measure not in latest:
            continue
        k, n = monitor.persistence_of(measure)
        series = _series(conn, branch, monitor.name, measure, newest.get(measure), n)
        before = _firing(conn, branch, monitor.name, measure)
        for episode in _episodes(series, newest.get(measure), k, n, before, weight_of):
            if episode.alert is None:
                opened.append(_open(conn, branch, monitor, measure, episode))
                continue
            conn.execute(update(table).where(table.c.id == episode.alert).values(**_values(monitor, measure, episode)))
            if episode.over:
                resolved.append(_resolve(conn, episode.alert))
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


def _episodes(
    series: Mapping[str, Sequence[Point]],
    newest: int | None,
    k: int,
    n: int,
    before: Episode | None,
    weight_of: Callable[[Point], float],
) -> list[Episode]:
    """Walk over the windows that are new, from the episode that was open before, which comes first."""
    found = [before] if before else []
    current = before
    if current is not None:
        kept = {subject: member for subject, member in current.members.items() if subject in series}
        current.over = not kept  # none of them is measured any more
        current = None if current.over else current
        if current is not None:
            current.members = kept
    windows: dict[int, list[tuple[str, int]]] = {}
    for subject, points in series.items():
        for at, point in enumerate(points):
            if newest is None or point.start >= newest:
                windows.setdefault(point.start, []).append((subject, at))
    for start in sorted(windows):
        members = dict(current.members) if current else {}
        for subject, at in windows[start]:
            _turn(members, series[subject][max(0, at - n + 1) : at + 1], k, weight_of)
        if members:
            if current is None:
                current = Episode(None, start, start, {})
                found.append(current)
            first, place = windows[start][0]
            current.members, current.end = members, series[first][place].end
            current.seen |= set(members)
        elif current is not None:
            current.over, current = True, None
    return found


def _turn(members: dict[str, Member], recent: Sequence[Point], k: int, weight_of: Callable[[Point], float]) -> None:
    """Turn a subject on, off or keep it up to date, by its last windows."""
    point = recent[-1]
    subject = point.subject
    if point.breach and (subject in members or sum(bool(p.breach) for p in recent) >= k):
        since = members[subject]["since"] if subject in members else point.start
        known = {"subject": subject, "value": point.value, "weight": weight_of(point), "since": since}
        members[subject] = {**point.detail, **known}
    elif subject in members and len(recent) >= k and not any(p.breach for p in recent[-k:]):
        del members[subject]


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


def _open(conn: Connection, branch: str, monitor: Monitor, measure: str, episode: Episode) -> Alert:
    moment = now()
    row = {
        "id": new_id("alert"),
        "branch": branch,
        "monitor": monitor.name,
        "measure": measure,
        "severity": SEVERITY[measure],
        "status": "resolved" if episode.over else "firing",
        "window_start": episode.start,
        "opened_at": moment,
        "closed_at": moment if episode.over else None,
        **_values(monitor, measure, episode),
    }
    conn.execute(insert(table).values(**row))
    return _from_row(conn.execute(select(table).where(table.c.id == row["id"])).one())


def _values(monitor: Monitor, measure: str, episode: Episode) -> dict[str, Any]:
    """What of a record goes with the windows, as columns."""
    members = sorted(episode.members.values(), key=lambda one: (-one["weight"], one["subject"]))
    worst = members[0]
    own = {key: value for key, value in worst.items() if key not in ("subject", "value", "since")}
    detail = {
        **own,
        "persistence": list(monitor.persistence_of(measure)),
        "members": members,
        "seen": sorted(episode.seen),
    }
    return {
        "subject": worst["subject"],
        "value": worst["value"],
        "threshold": worst.get("threshold"),
        "window_end": episode.end,
        "detail_json": msgspec.json.encode(detail).decode(),
    }


def _resolve(conn: Connection, name: str) -> str:
    conn.execute(update(table).where(table.c.id == name).values(status="resolved", closed_at=now()))
    return name


def _firing(conn: Connection, branch: str, monitor: str, measure: str) -> Episode | None:
    """The alert of a measure that is open: there is one at most."""
    here = (table.c.branch == branch, table.c.monitor == monitor, table.c.measure == measure)
    row = conn.execute(select(table).where(*here, table.c.status == "firing")).one_or_none()
    if row is None:
        return None
    detail = msgspec.json.decode(row.detail_json)
    members = {one["subject"]: one for one in detail["members"]}
    return Episode(row.id, row.window_start, row.window_end, members, set(detail["seen"]))


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
