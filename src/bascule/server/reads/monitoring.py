"""What the monitors measured, and what they raised."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, func, select

from bascule.catalog import schema
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake.masking import hidden_names
from bascule.monitoring.alerts import named

POINTS = 20_000
ALERTS = 200


class Point(msgspec.Struct, frozen=True):
    """One measurement over one window (microseconds since the epoch), between `low` and `high` where known."""

    window_start: int
    window_end: int
    value: float | None
    low: float | None
    high: float | None
    rows: int
    model_version: int
    detail: dict[str, Any]


class Measure(msgspec.Struct, frozen=True):
    """One measure of one subject over time, oldest point first."""

    monitor: str
    measure: str
    subject: str
    points: list[Point]


class AlertInfo(msgspec.Struct, frozen=True):
    """One alert, firing or resolved. `subject` is the most important of `detail.members`, which all drift together."""

    id: str
    branch: str
    monitor: str
    measure: str
    subject: str
    severity: str
    status: str
    value: float | None
    threshold: float | None
    window_start: int | None
    window_end: int | None
    detail: dict[str, Any]
    opened_at: int
    closed_at: int | None

    @property
    def about(self) -> str:
        """What it is about, in a line: `wind, age, origin and 4 more`."""
        return named([one["subject"] for one in self.detail.get("members") or [{"subject": self.subject}]])

    def since(self, subject: str) -> int | None:
        """Return the window in which a subject joined; None when the alert never was about it."""
        members = {one["subject"]: one["since"] for one in self.detail.get("members", ())}
        known = subject == self.subject or subject in self.detail.get("seen", ())
        return members.get(subject, self.window_start if known else None)


class MonitorInfo(msgspec.Struct, frozen=True):
    """A monitor on a branch, and how it stands."""

    name: str
    deployment: str
    object: dict[str, Any]
    triggers: list[dict[str, Any]]
    firing: int
    last_window_end: int | None
    points: int


class JobInfo(msgspec.Struct, frozen=True):
    """Work that a trigger asked for."""

    id: str
    kind: str
    branch: str
    reason: str
    status: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    result: dict[str, Any] | None


def list_monitors(ws: Workspace, branch: str) -> list[MonitorInfo]:
    """Return the monitors of a branch."""
    triggers = [value for _, value in ws.history.entries(branch, "triggers/")]
    p, a = schema.monitor_points.c, schema.alerts.c
    with ws.catalog.read() as conn:
        counted = select(p.monitor, func.count(), func.max(p.window_end)).where(p.branch == branch).group_by(p.monitor)
        points = {name: (total, last) for name, total, last in conn.execute(counted)}
        open_alerts = (
            select(a.monitor, func.count()).where(a.branch == branch, a.status == "firing").group_by(a.monitor)
        )
        firing = {row[0]: row[1] for row in conn.execute(open_alerts)}
    found = []
    for path, value in ws.history.entries(branch, "monitors/"):
        name = path.partition("/")[2]
        total, last = points.get(name, (0, None))
        own = [trigger for trigger in triggers if trigger.get("monitor") == name]
        found.append(MonitorInfo(name, value.get("deployment", ""), value, own, firing.get(name, 0), last, total))
    return found


def get_monitor(ws: Workspace, branch: str, name: str) -> MonitorInfo:
    """Return one monitor.

    Raises:
        NotFound: with the nearest name.
    """
    ws.history.get(branch, f"monitors/{name}")
    return next(found for found in list_monitors(ws, branch) if found.name == name)


def measures(
    ws: Workspace,
    branch: str,
    monitor: str | None = None,
    *,
    measure: str | None = None,
    subject: str | None = None,
    since: int | None = None,
) -> list[Measure]:
    """Return the measurements of a branch's monitors, by monitor, measure and subject; at most `POINTS`, the latest."""
    p = schema.monitor_points.c
    wanted = select(schema.monitor_points).where(p.branch == branch)
    for column, value in ((p.monitor, monitor), (p.measure, measure), (p.subject, subject)):
        wanted = wanted.where(column == value) if value else wanted
    wanted = wanted.where(p.window_start >= since) if since is not None else wanted
    grouped: dict[tuple[str, str, str], list[Point]] = {}
    with ws.catalog.read() as conn:
        for row in reversed(conn.execute(wanted.order_by(p.window_start.desc()).limit(POINTS)).all()):
            grouped.setdefault((row.monitor, row.measure, row.subject), []).append(_point(row))
    return [Measure(*key, points) for key, points in sorted(grouped.items())]


def list_alerts(
    ws: Workspace,
    *,
    branch: str | None = None,
    monitor: str | None = None,
    status: str | None = None,
    limit: int = ALERTS,
) -> list[AlertInfo]:
    """Return alerts: the firing ones first, then the youngest."""
    a = schema.alerts.c
    wanted = select(schema.alerts).order_by(a.status != "firing", a.opened_at.desc()).limit(limit)
    for column, value in ((a.branch, branch), (a.monitor, monitor), (a.status, status)):
        wanted = wanted.where(column == value) if value else wanted
    with ws.catalog.read() as conn:
        return [_alert(row) for row in conn.execute(wanted)]


def count_firing(ws: Workspace, branch: str) -> int:
    """Return how many alerts of a branch are firing."""
    a = schema.alerts.c
    wanted = select(func.count()).select_from(schema.alerts).where(a.branch == branch, a.status == "firing")
    with ws.catalog.read() as conn:
        return int(conn.execute(wanted).scalar_one())


def get_alert(ws: Workspace, alert_id: str) -> AlertInfo:
    """Return one alert.

    Raises:
        NotFound: with the nearest id.
    """
    with ws.catalog.read() as conn:
        row = conn.execute(select(schema.alerts).where(schema.alerts.c.id == alert_id)).first()
        if row is None:
            raise NotFound("alert", alert_id, conn.execute(select(schema.alerts.c.id).limit(ALERTS)).scalars())
    return _alert(row)


def list_jobs(ws: Workspace, branch: str | None = None, limit: int = 20) -> list[JobInfo]:
    """Return the jobs that triggers asked for, youngest first."""
    j = schema.jobs.c
    wanted = select(schema.jobs).order_by(j.created_at.desc()).limit(limit)
    wanted = wanted.where(j.branch == branch) if branch else wanted
    hidden = bool(hidden_names(ws))  # what a failed job says quotes values
    with ws.catalog.read() as conn:
        return [
            JobInfo(
                r.id, r.kind, r.branch, r.reason, r.status, r.created_at, r.started_at, r.finished_at,
                msgspec.json.decode(r.result_json) if r.result_json and not hidden else None,
            )
            for r in conn.execute(wanted)
        ]  # fmt: skip


def _point(row: Row[Any]) -> Point:
    return Point(
        row.window_start,
        row.window_end,
        row.value,
        row.low,
        row.high,
        row.rows,
        row.model_version,
        msgspec.json.decode(row.detail_json or "{}"),
    )


def _alert(row: Row[Any]) -> AlertInfo:
    values = {key: value for key, value in row._mapping.items() if key != "detail_json"}
    return AlertInfo(**values, detail=msgspec.json.decode(row.detail_json or "{}"))
