"""Skew of a branch's features: what was answered, compared with the join over its tables; kept, and alerted.

It is measured when somebody asks, and by the server's clock where `[monitoring.skew] every` says so.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.catalog import now
from bascule.durations import parse_duration
from bascule.errors import InputError, NotFound
from bascule.features import Entity, open_online
from bascule.features.online import ViewRecord, current
from bascule.history import Workspace
from bascule.monitoring.alerts import Alert, read_alerts, update_alerts
from bascule.monitoring.points import SKEW, SKEW_DRIFT, newest_windows, read_points, take_turns, write_points
from bascule.monitoring.skew import MONITOR, FeatureSkew, SkewLimits, measure_skew, monitor_of
from bascule.project.definitions import read_by_query
from bascule.project.file import FILE_NAME
from bascule.project.place import MAIN, Place
from bascule.project.querying import logged
from bascule.project.sections import Skew
from bascule.project.served import moment_of
from bascule.project.tables import opened_tables

MOST = 100_000
SPAN = 7 * 86_400_000_000


class SkewReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared.

    Attributes:
        rows: answers that were compared; `left_out` more there were.
        limit: the share of a feature's rows that may differ.
        drift: how far the two distributions may be apart.
        features: each feature, day by day.
        firing: ids of the alerts that are open now.
    """

    branch: str
    since: int
    rows: int
    left_out: int
    limit: float
    drift: float
    features: tuple[FeatureSkew, ...]
    firing: tuple[str, ...]

    @property
    def exceeded(self) -> list[str]:
        """The features that exceed a limit."""
        return list(dict.fromkeys(one.feature for one in self.features if one.exceeded))

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        features = [{**msgspec.to_builtins(one), "share": one.share} for one in self.features]
        return {**msgspec.to_builtins(self), "features": features, "exceeded": self.exceeded}


def feature_skew(
    place: Place, *, since: str | datetime | None = None, limit: float | None = None, drift: float | None = None
) -> SkewReport:
    """Compare what was served with the offline join; `OpenProject.feature_skew` says more."""
    rules = place.file.monitoring.skew if place.file.monitoring is not None else Skew()
    limits = SkewLimits(
        share=rules.limit if limit is None else limit,
        drift=rules.drift if drift is None else drift,
        rows=rules.minimum_rows,
    )
    asked, begun = moment_of(since, "since"), _begun(place)
    first = max(now() - SPAN if asked is None else asked, begun)
    records = _records(place)
    served, left_out = _served(place, first)
    views = [(record.bound, Entity(record.entity, record.keys)) for record in records if record.bound is not None]
    tables = sorted({table for view, _ in views for table in read_by_query(view.sql)})
    with opened_tables(place.workspace, place.branch, tables) as connection:
        found = measure_skew(connection, views, served, limits)
    firing = _kept(place, found, limits, begun if first == begun else None)
    return SkewReport(
        branch=place.branch,
        since=first,
        rows=served.num_rows,
        left_out=left_out,
        limit=limits.share,
        drift=limits.drift,
        features=tuple(found),
        firing=tuple(alert.id for alert in firing),
    )


def skew_every(place: Place) -> float | None:
    """How often (seconds) the project asks for a comparison by the clock; None when it does not."""
    rules = place.file.monitoring.skew if place.file.monitoring is not None else Skew()
    return None if rules.every is None else parse_duration(rules.every) / 1e6


def skew_watched(place: Place) -> SkewReport | None:
    """Compare as the project's rules say; None where nothing is served from an online store yet."""
    try:
        return feature_skew(place)
    except NotFound:
        return None


class SkewClock:
    """Compares as often as the project says, on each branch that has answered. For the server's clock.

    Args:
        folder: the project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: tuple[object, float | None] = (None, None)
        self._done: float | None = None

    def run(self, workspace: Workspace) -> None:
        """Compare if it is time to."""
        every = self._every(workspace)
        if every is None or (self._done is not None and time.monotonic() < self._done + every):
            return
        self._done = time.monotonic()
        for branch in _answered(workspace) if workspace.has_online else ():
            # What a branch's own views fail by is told to whoever works on it; the others are compared all the same.
            with suppress(InputError) if branch != MAIN else nullcontext():
                skew_watched(Place(self._folder, str(workspace.folder), branch))

    def _every(self, workspace: Workspace) -> float | None:
        try:
            seen = (self._folder / FILE_NAME).stat().st_mtime_ns
        except OSError:
            return None
        if self._file[0] != seen:
            self._file = (seen, skew_every(Place(self._folder, str(workspace.folder), MAIN)))
        return self._file[1]


def _answered(workspace: Workspace) -> list[str]:
    """The branches of which features were served, by themselves or to models."""
    sql = "SELECT branch FROM records.served_features UNION SELECT branch FROM predictions"
    with logged(workspace) as connection:
        answered = {branch for (branch,) in connection.execute(sql).fetchall()}
    return [ref.name for ref in workspace.history.branches() if ref.name in answered]


def _begun(place: Place) -> int:
    """Since when (µs) there is a branch: what another one of that name had answered is not its own."""
    return next((ref.created_at for ref in place.workspace.history.branches() if ref.name == place.branch), 0)


def _records(place: Place) -> list[ViewRecord]:
    if not place.workspace.has_online:
        raise NotFound("materialised feature view", "any", hint="Run: bascule features materialise")
    for branch in dict.fromkeys((place.branch, "main")):
        with open_online(place.workspace.online, place.workspace.namespace(branch)).snapshot() as snapshot:
            newest = current(snapshot)
        if newest:
            return list(newest.values())
    raise NotFound("materialised feature view", "any", hint="Run: bascule features materialise")


def _served(place: Place, since: int) -> tuple[pa.Table, int]:
    """Answers of the branch: feature vectors, and inputs of models that were joined by keys."""
    sql = f"""
WITH answers AS (
  SELECT "at", as_of, keys, features, false AS of_model FROM records.served_features WHERE branch = $branch
  UNION ALL
  SELECT "at", event_time, inputs, features, true FROM predictions
  WHERE branch = $branch AND list_has_any(
    list_filter(json_keys(features), lambda name: contains(name, '__')),
    list_filter(json_keys(features), lambda name: NOT list_contains(json_keys(inputs), name)))
)
SELECT "at", as_of, keys, features, of_model, count(*) OVER () AS n FROM answers
WHERE epoch_us("at") >= $since ORDER BY hash(keys), "at" LIMIT {MOST}"""
    with logged(place.workspace) as connection:
        table = _run(connection, sql, {"branch": place.branch, "since": since})
    total = table.column("n")[0].as_py() if table.num_rows else 0
    return table.drop_columns(["n"]), total - table.num_rows


def _run(connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> pa.Table:
    return connection.sql(sql, params=values).to_arrow_table()


def _kept(place: Place, found: list[FeatureSkew], limits: SkewLimits, begun: int | None) -> list[Alert]:
    """Write the points, and open, update and resolve the alerts, in one transaction.

    Args:
        begun: when the branch was made, if all of its days were compared: points from before are another one's.
    """
    monitor = monitor_of()
    with place.workspace.catalog.write() as conn:
        take_turns(conn)
        newest = newest_windows(conn, place.branch, MONITOR)
        points = [point for one in found for point in one.as_points(limits)]
        days = {point.start for point in points}
        if begun is not None:
            days |= {point.start for point in read_points(conn, place.branch, MONITOR) if point.start <= begun}
        write_points(conn, place.branch, MONITOR, points, {SKEW: days, SKEW_DRIFT: days})
        update_alerts(conn, place.branch, monitor, newest, lambda point: point.value or 0.0)
        return read_alerts(conn, place.branch, MONITOR, firing=True)
