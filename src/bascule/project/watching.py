"""Looking at what is served: monitors measured, triggers asked, rollouts judged. The scheduler and the CLI call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import duckdb

from bascule.delivery import ship_waiting
from bascule.delivery import step as judge
from bascule.delivery.rollout import CONTROLLER
from bascule.delivery.strategies import queries_of
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.monitoring import Alert, evaluate_trigger, measure, read_alerts, read_monitor
from bascule.monitoring.skew import MONITOR as SERVED
from bascule.project.place import Place
from bascule.project.querying import MAIN, logged
from bascule.project.skewing import skew_every, skew_watched

T = TypeVar("T")


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
        waits: how many more periods have to come before drift is judged, such as "3 more days"; empty when it is.
    """

    monitor: str
    windows: int
    predictions: int
    firing: tuple[Alert, ...]
    opened: tuple[str, ...]
    triggered: str | None
    waits: str = ""

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


def watch_project(place: Place, name: str | None = None) -> list[Watched]:
    """As `watch`, of a project's branch; with the skew of served features where the project has it compared."""
    if not place.has_file or skew_every(place) is None:
        return watch(place.workspace, place.branch, name)
    found = [] if name == SERVED else watch(place.workspace, place.branch, name)
    with place.workspace.catalog.read() as conn:
        before = {alert.id for alert in read_alerts(conn, place.branch, SERVED, firing=True)}
    report = skew_watched(place) if name in (None, SERVED) else None
    if report is not None:
        days = len({one.start for one in report.features})
        with place.workspace.catalog.read() as conn:
            firing = tuple(read_alerts(conn, place.branch, SERVED, firing=True))
        opened = tuple(alert.id for alert in firing if alert.id not in before)
        found.append(Watched(SERVED, days, report.rows, firing, opened, None))
    return found


def watch_all(workspace: Workspace) -> list[Watched]:
    """Watch every branch that people get answers from: `main`, and those whose own deployments have answered.

    A branch that was made for some work has inherited monitors and triggers; that it is there is no reason to measure,
    let alone to retrain.
    """
    watched = _holding(workspace, "monitors/")
    if not watched:
        return []
    with logged(workspace) as connection:
        return [
            _watch(workspace, connection, branch, obj)
            for branch in _answering(connection, watched)
            for _, obj in watched[branch]
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
        f"{found.waits} more {monitor.by}{'s' if found.waits > 1 else ''}" if found.waits else "",
    )


def judge_rollouts(workspace: Workspace, branch: str) -> Sequence[tuple[str, str, str]]:
    """Judge every rollout that is under way on a branch and carry the decisions out: (deployment, action, reason)."""
    under_way = _rolling(workspace.history.entries(branch, "deployments/"))
    if not under_way:
        return []
    with logged(workspace, _queries(workspace, {branch: under_way})) as connection:
        return _judged(workspace, connection, branch, under_way)


def judge_all(workspace: Workspace) -> None:
    """Judge the rollouts of every branch that people get answers from; other branches have only inherited them.

    What waits for a rollout's end and was not shipped then, since a process was killed in between, is shipped now.
    """
    under_way = {
        branch: names for branch, held in _holding(workspace, "deployments/").items() if (names := _rolling(held))
    }
    if not under_way:
        return
    with logged(workspace, _queries(workspace, under_way)) as connection:
        _each(
            lambda branch: _judged(workspace, connection, branch, under_way[branch]), _answering(connection, under_way)
        )


def _each(work: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """Do something for each name and return what came of it. What fails of one is told when the others were seen to."""
    found: list[T] = []
    failed: Exception | None = None
    for name in names:
        try:
            found.append(work(name))
        except Exception as error:  # whatever spoils one rollout, the others go back in time
            failed = failed or error
    if failed is not None:
        raise failed
    return found


def _judged(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, branch: str, names: Iterable[str]
) -> list[tuple[str, str, str]]:
    def judged(name: str) -> tuple[str, str, str]:
        decision = judge(connection, workspace, branch, name)
        if decision.action == "idle":
            ship_waiting(workspace, branch, name, by=CONTROLLER)
        return name, decision.action, decision.reason

    return _each(judged, names)


def _queries(workspace: Workspace, under_way: Mapping[str, Iterable[str]]) -> list[str]:
    """The SQL that rollouts are judged by."""
    held = [
        workspace.history.read(branch, f"deployments/{name}") or {}
        for branch, names in under_way.items()
        for name in names
    ]
    return [sql for one in held for sql in queries_of(one)]


def _rolling(deployments: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """The deployments with a rollout under way, or a version that waits for the end of one."""
    return [path.partition("/")[2] for path, obj in deployments if obj.get("rollout") or obj.get("waits")]


def _holding(workspace: Workspace, prefix: str) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The objects below a prefix by branch. They are read at heads: a branch may be deleted meanwhile."""
    history = workspace.history
    found = {ref.name: list(history.entries(ref.head, prefix)) for ref in history.branches()}
    return {branch: held for branch, held in found.items() if held}


def _answering(connection: duckdb.DuckDBPyConnection, branches: Iterable[str]) -> list[str]:
    served = {row[0] for row in connection.execute("select distinct branch from predictions").fetchall()}
    return [branch for branch in branches if branch == MAIN or branch in served]
