"""Looking at what is served: monitors measured, triggers asked, rollouts judged. The scheduler and the CLI call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from bascule.delivery import step as judge
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.monitoring import Alert, evaluate_trigger, measure, read_alerts, read_monitor
from bascule.project.querying import MAIN, logged


@dataclass(frozen=True)
class Watched:
    """What one look at a monitor found.

    Attributes:
        monitor: its name.
        windows: how many periods were measured.
        predictions: how many predictions they hold.
        firing: alerts that are open now, the most important first.
        opened: ids of those that were opened by this look.
        triggered: why a retraining was asked for, or None.
    """

    monitor: str
    windows: int
    predictions: int
    firing: tuple[Alert, ...]
    opened: tuple[str, ...]
    triggered: str | None

    def as_dict(self) -> dict[str, Any]:
        """The look as one JSON object."""
        return {**asdict(self), "firing": [asdict(alert) for alert in self.firing]}


def watch(workspace: Workspace, branch: str, name: str | None = None) -> list[Watched]:
    """Measure what is new for the monitors of a branch and ask their triggers.

    Args:
        name: one monitor; all when None.

    Raises:
        NotFound: there is no monitor of that name.
    """
    monitors = dict(workspace.history.entries(branch, "monitors/"))
    if name is not None and f"monitors/{name}" not in monitors:
        raise NotFound("monitor", name, [path.partition("/")[2] for path in monitors])
    chosen = [obj for path, obj in monitors.items() if name in (None, path.partition("/")[2])]
    with logged(workspace) as connection:
        return [_watch(workspace, connection, branch, obj) for obj in chosen]


def watch_all(workspace: Workspace) -> list[Watched]:
    """Watch every branch that people get answers from: `main`, and those whose own deployments have answered.

    A branch that was made for some work has inherited monitors and triggers; that it is there is no reason to measure,
    let alone to retrain.
    """
    history = workspace.history
    watched = [ref.name for ref in history.branches() if history.digests(ref.head, "monitors/")]
    if not watched:
        return []
    with logged(workspace) as connection:
        served = {row[0] for row in connection.execute("select distinct branch from predictions").fetchall()}
        return [
            _watch(workspace, connection, branch, obj)
            for branch in watched
            if branch == MAIN or branch in served
            for _, obj in history.entries(branch, "monitors/")
        ]


def _watch(workspace: Workspace, connection: duckdb.DuckDBPyConnection, branch: str, obj: dict[str, Any]) -> Watched:
    monitor = read_monitor(obj)
    found = measure(workspace, connection, branch, monitor)
    reasons = [
        job.reason
        for _, trigger in workspace.history.entries(branch, "triggers/")
        if trigger["monitor"] == monitor.name and (job := evaluate_trigger(workspace, branch, trigger)) is not None
    ]
    with workspace.catalog.read() as conn:
        firing = tuple(read_alerts(conn, branch, monitor.name, firing=True))
    rows = sum(point.rows for point in found.points if point.measure == "traffic")
    return Watched(
        monitor.name,
        found.windows,
        rows,
        firing,
        tuple(alert.id for alert in found.opened),
        reasons[0] if reasons else None,
    )


def judge_rollouts(workspace: Workspace, branch: str) -> Sequence[tuple[str, str, str]]:
    """Judge every rollout that is under way on a branch and carry the decisions out: (deployment, action, reason)."""
    under_way = [
        path.partition("/")[2]
        for path, obj in workspace.history.entries(branch, "deployments/")
        if obj.get("rollout") is not None
    ]
    if not under_way:
        return []
    found = []
    with logged(workspace) as connection:
        for name in under_way:
            decision = judge(connection, workspace, branch, name)
            found.append((name, decision.action, decision.reason))
    return found
