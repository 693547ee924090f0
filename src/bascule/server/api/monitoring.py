"""Measurements and alerts over HTTP."""

from __future__ import annotations

from typing import Literal

import msgspec

from bascule.server.api.history import BASE
from bascule.server.reads import history, monitoring
from bascule.server.routes import Call, Route


class BranchQuery(msgspec.Struct, frozen=True):
    """On which branch."""

    branch: str = "main"


class PointQuery(msgspec.Struct, frozen=True):
    """Which measurements. `since` is microseconds since the epoch."""

    branch: str = "main"
    monitor: str | None = None
    measure: str | None = None
    subject: str | None = None
    since: int | None = None


class AlertQuery(msgspec.Struct, frozen=True):
    """Which alerts."""

    branch: str | None = None
    monitor: str | None = None
    status: Literal["firing", "resolved"] | None = None


def monitors(call: Call[BranchQuery, None]) -> list[monitoring.MonitorInfo]:
    """The monitors of a branch and how they stand."""
    branch = history.demand_branch(call.workspace, call.query.branch)
    return monitoring.list_monitors(call.workspace, branch)


def points(call: Call[PointQuery, None]) -> list[monitoring.Measure]:
    """Measurements by monitor, measure and subject."""
    query = call.query
    return monitoring.measures(
        call.workspace,
        history.demand_branch(call.workspace, query.branch),
        query.monitor,
        measure=query.measure,
        subject=query.subject,
        since=query.since,
    )


def alerts(call: Call[AlertQuery, None]) -> list[monitoring.AlertInfo]:
    """Alerts: the firing ones first, then the youngest."""
    found = monitoring.list_alerts(call.workspace, **msgspec.structs.asdict(call.query))
    history.demand_known(call.workspace, call.query.branch, found)
    return found


def one_alert(call: Call[None, None]) -> monitoring.AlertInfo:
    """One alert."""
    return monitoring.get_alert(call.workspace, call.path["alert"])


def jobs(call: Call[BranchQuery, None]) -> list[monitoring.JobInfo]:
    """The jobs that triggers asked for, youngest first."""
    found = monitoring.list_jobs(call.workspace, call.query.branch)
    history.demand_known(call.workspace, call.query.branch, found)
    return found


ROUTES = [
    Route("GET", f"{BASE}/monitors", monitors, "read"),
    Route("GET", f"{BASE}/monitor-points", points, "read"),
    Route("GET", f"{BASE}/alerts", alerts, "read"),
    Route("GET", f"{BASE}/alerts/{{alert}}", one_alert, "read"),
    Route("GET", f"{BASE}/jobs", jobs, "read"),
]
