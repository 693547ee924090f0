"""The records `monitor_points`: one number with its interval for each measure, subject and window."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, text

from bascule.catalog import now
from bascule.catalog.schema import monitor_points as table

# What a point is about: how many rows, how many labels, drift of a column, share of drifted columns, drift of the
# score, a metric on arrived labels, features that were served otherwise than the join gives them: how many answers, and
# how far the distributions are apart.
TRAFFIC, COVERAGE, DRIFT, DRIFT_SHARE, PREDICTION_DRIFT, QUALITY, SKEW, SKEW_DRIFT = (
    "traffic",
    "coverage",
    "drift",
    "drift_share",
    "prediction_drift",
    "quality",
    "skew",
    "skew_drift",
)
BATCH = 500
# Any fixed number will do: it names the lock that makes PostgreSQL monitors take turns.
MONITOR_LOCK = 7_400_002


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Attributes:
        start: the window's begin, microseconds since the epoch.
        end: the window's end, not included.
        rows: how many rows it rests on.
        version: the model version that served most of the window.
        detail: what else is known; `breach` says whether the rules are broken, where there is a rule.
    """

    measure: str
    subject: str
    start: int
    end: int
    value: float | None
    low: float | None
    high: float | None
    rows: int
    version: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def breach(self) -> bool | None:
        """Whether the rules are broken here; None where there is no rule."""
        return self.detail.get("breach")


def take_turns(conn: Connection) -> None:
    """Wait until no other monitor writes; SQLite's writers take turns by themselves."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MONITOR_LOCK})


def write_points(
    conn: Connection, branch: str, monitor: str, points: Sequence[Point], windows: Mapping[str, Collection[int]]
) -> None:
    """Write points in the caller's transaction, in the place of all that these windows had. Repeating changes nothing.

    Args:
        windows: measure to the starts of the windows that were measured again, also of those without a point now.
    """
    here = (table.c.branch == branch, table.c.monitor == monitor)
    for measure, starts in windows.items():
        for part in _parts(sorted(starts)):
            conn.execute(delete(table).where(*here, table.c.measure == measure, table.c.window_start.in_(part)))
    if points:
        moment = now()
        conn.execute(insert(table), [_row(branch, monitor, point, moment) for point in points])


def read_points(
    conn: Connection, branch: str, monitor: str, measures: Iterable[str] | None = None, since: int | None = None
) -> list[Point]:
    """Read points by time, then measure and subject.

    Args:
        measures: which ones; None means all.
        since: microseconds since the epoch; earlier windows are left out.
    """
    query = select(table).where(table.c.branch == branch, table.c.monitor == monitor)
    if measures is not None:
        query = query.where(table.c.measure.in_(list(measures)))
    if since is not None:
        query = query.where(table.c.window_start >= since)
    rows = conn.execute(query.order_by(table.c.window_start, table.c.measure, table.c.subject))
    return [
        Point(
            row.measure,
            row.subject,
            row.window_start,
            row.window_end,
            row.value,
            row.low,
            row.high,
            row.rows,
            row.model_version,
            msgspec.json.decode(row.detail_json),
        )
        for row in rows
    ]


def newest_windows(conn: Connection, branch: str, monitor: str) -> dict[str, int]:
    """The start of the newest window of each measure."""
    query = select(table.c.measure, func.max(table.c.window_start)).where(
        table.c.branch == branch, table.c.monitor == monitor
    )
    return {row[0]: row[1] for row in conn.execute(query.group_by(table.c.measure))}


def windows_before(conn: Connection, branch: str, monitor: str, measure: str, newest: int, count: int) -> list[int]:
    """The starts of the last `count` windows of a measure up to `newest`, that one included, youngest first."""
    query = (
        select(table.c.window_start)
        .distinct()
        .where(
            table.c.branch == branch,
            table.c.monitor == monitor,
            table.c.measure == measure,
            table.c.window_start <= newest,
        )
    )
    return list(conn.execute(query.order_by(table.c.window_start.desc()).limit(count)).scalars())


def _row(branch: str, monitor: str, point: Point, moment: int) -> dict[str, Any]:
    return {
        "branch": branch,
        "monitor": monitor,
        "measure": point.measure,
        "subject": point.subject,
        "window_start": point.start,
        "window_end": point.end,
        "value": point.value,
        "low": point.low,
        "high": point.high,
        "rows": point.rows,
        "model_version": point.version,
        "detail_json": msgspec.json.encode(point.detail).decode(),
        "computed_at": moment,
    }


def _parts(values: Sequence[int]) -> Iterable[Sequence[int]]:
    return (values[i : i + BATCH] for i in range(0, len(values), BATCH))
