"""Measuring a monitor: new windows, and those whose labels have arrived since; then points and alerts, in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
from sqlalchemy import Connection

from bascule.history import Workspace
from bascule.monitoring.alerts import Alert, Changes, update_alerts
from bascule.monitoring.drift import ColumnDrift, WindowCounts, count_windows, drift_share, joined, measure_drift
from bascule.monitoring.monitors import Monitor, read_monitor
from bascule.monitoring.points import (
    COVERAGE,
    DRIFT,
    DRIFT_SHARE,
    PREDICTION_DRIFT,
    QUALITY,
    TRAFFIC,
    Point,
    newest_windows,
    read_points,
    take_turns,
    write_points,
)
from bascule.monitoring.quality import STABLE, Volume, count_volumes, is_worse, measure_quality, worst_allowed
from bascule.monitoring.reference import Column, Numeric, Profile, decode_profile, literal, quoted
from bascule.naming import model_path

# The score's cells go through the same scan as the features'; no feature can have this name.
SCORE = "\N{BULLET}score"
NO_PROFILE = Profile("", 0, ())


@dataclass(frozen=True, slots=True)
class Measurement:
    """What measuring a monitor found.

    Attributes:
        windows: how many windows were measured, anew or again.
        points: what was written.
        opened: alerts that were opened, the most important first.
        resolved: ids of the alerts that were resolved.
        waits: how many more windows have to come before drift is judged: `over` are counted together, of one version.
    """

    windows: int
    points: tuple[Point, ...]
    opened: tuple[Alert, ...]
    resolved: tuple[str, ...]
    waits: int = 0


def measure(
    ws: Workspace,
    connection: duckdb.DuckDBPyConnection,
    branch: str,
    monitor: Monitor | Mapping[str, Any],
    since: int | None = None,
) -> Measurement:
    """Measure what is new for a monitor. Doing it twice changes nothing the second time.

    A window is measured again when it has more predictions, or more or later labels, than when it was measured last.
    Drift is counted in one scan for all windows and columns; windows keep the reference they were measured against.

    Args:
        connection: sees the relations `predictions` and `ground_truth`.
        since: microseconds since the epoch; earlier windows are left as they are.

    Raises:
        InputError: the monitor or its profile cannot be used.
        NotFound: the profile's blob is not in the store.
    """
    watched = monitor if isinstance(monitor, Monitor) else read_monitor(monitor)
    profile = decode_profile(ws.store.get(watched.reference.profile)) if watched.reference.profile else NO_PROFILE
    profile = _kept(profile, ws.history.read(branch, f"deployments/{watched.deployment}"))
    volumes = count_volumes(connection, branch, watched)
    asked = [volume for volume in volumes if since is None or volume.start >= since]
    with ws.catalog.read() as conn:
        known = {point.start: point for point in read_points(conn, branch, watched.name, [TRAFFIC], since)}
    grown = [v for v in asked if v.start not in known or known[v.start].rows != v.rows]
    changed = [v for v in asked if v.start not in known or known[v.start].detail != _labelled(v)]
    fresh = {volume.start: volume for volume in (*grown, *changed)}
    spans = _spans(volumes, grown, watched.drift.over)
    points = [
        *(point for volume in fresh.values() for point in _traffic(volume)),
        *_drift(connection, branch, watched, profile, spans),
        *_quality(ws, connection, branch, watched, list(fresh.values())),
    ]
    changes = Changes((), ())
    if fresh:
        with ws.catalog.write() as conn:
            changes = _write(conn, branch, watched, profile, points, list(spans), list(fresh))
    waits = _waits(volumes, watched.drift.over) if _columns(profile) else 0
    return Measurement(len(fresh), tuple(points), changes.opened, changes.resolved, waits)


def release_metrics(ws: Workspace, branch: str, deployment: str, version: int) -> dict[str, float]:
    """The metrics that a version of a deployment's model had on its test data at release; empty when not known."""
    served = ws.history.read(branch, f"deployments/{deployment}") or {}
    model = (ws.history.read(branch, model_path(served["model"])) or {}) if served.get("model") else {}
    found = model.get("versions", {}).get(str(version), {}).get("metrics", {})
    return {
        name.removeprefix("test."): float(value)
        for name, value in found.items()
        if "." not in name.removeprefix("test.")
    }


def _kept(profile: Profile, deployment: Mapping[str, Any] | None) -> Profile:
    """Return a profile without the columns whose values the prediction log does not keep."""
    gone = ((deployment or {}).get("log") or {}).get("fields") or {}
    if not gone:
        return profile
    return msgspec.structs.replace(profile, columns=tuple(one for one in profile.columns if one.name not in gone))


def predictions_relation(branch: str, monitor: Monitor, columns: Sequence[Column], windows: Sequence[Volume]) -> str:
    """The predictions of some windows, their features unpacked once into one struct `f`, as SQL usable in FROM."""
    kinds = {c.name: "DOUBLE" if isinstance(c, Numeric) else "VARCHAR" for c in columns if c.name != SCORE}
    shape = msgspec.json.encode(kinds).decode()
    kept = "and features <> '{}' " if kinds else ""  # requests beyond the log's sample
    unpacked = f"json_transform(features, {literal(shape)})" if kinds else "null"
    where = STABLE.replace("$branch", literal(branch)).replace("$deployment", literal(monitor.deployment))
    first, last = min(v.start for v in windows), max(v.end for v in windows)
    return (
        f"(select event_time, score, {unpacked} as f from predictions where {where} {kept}"
        f"and cast(event_time as timestamp) >= make_timestamp({first}) "
        f"and cast(event_time as timestamp) < make_timestamp({last}))"
    )


def _spans(volumes: Sequence[Volume], grown: Sequence[Volume], over: int) -> dict[int, list[Volume]]:
    """The windows whose drift is to be measured, by start, each with those it is counted together with, itself last."""
    new, found = {volume.start for volume in grown}, {}
    for place, volume in enumerate(volumes):
        span = _span(volumes, place, over)
        if any(one.start in new for one in span):
            found[volume.start] = span
    return found


def _span(volumes: Sequence[Volume], place: int, over: int) -> list[Volume]:
    """The windows that one is counted together with, itself last; fewer than `over` in the first days of a version."""
    before = volumes[max(0, place - over + 1) : place + 1]
    return [one for one in before if one.version == volumes[place].version]


def _waits(volumes: Sequence[Volume], over: int) -> int:
    """How many more windows it takes until drift is judged."""
    if not volumes:
        return over if over > 1 else 0
    return over - len(_span(volumes, len(volumes) - 1, over))


def _columns(profile: Profile) -> list[Column]:
    """What drift is measured of: the features, and the score if it is known."""
    score = [msgspec.structs.replace(profile.score, name=SCORE)] if profile.score is not None else []
    return [*profile.columns, *score]


def _drift(
    connection: duckdb.DuckDBPyConnection,
    branch: str,
    monitor: Monitor,
    profile: Profile,
    spans: Mapping[int, Sequence[Volume]],
) -> list[Point]:
    columns, over = _columns(profile), monitor.drift.over
    if not columns or not spans:
        return []
    early = [_waiting(span[-1], over - len(span)) for span in spans.values() if len(span) < over]
    spans = {start: span for start, span in spans.items() if len(span) == over}
    if not spans:
        return early
    read = {volume.start: volume for span in spans.values() for volume in span}
    relation = predictions_relation(branch, monitor, columns, list(read.values()))
    expressions = {column.name: f"f.{quoted(column.name)}" for column in columns} | {SCORE: "score"}
    counted = {
        counts.start: counts
        for counts in count_windows(connection, relation, columns, by=monitor.by, expressions=expressions)
    }
    return early + [
        point
        for span in spans.values()
        if (counts := [counted[volume.start] for volume in span if volume.start in counted])
        for point in _drift_points(joined(counts), span[-1].version, columns, monitor, profile)
    ]


def _waiting(volume: Volume, windows: int) -> Point:
    """A window that is not judged, for fewer than it is to be judged with have come: a few days are no climate."""
    detail = {"waits": windows}
    return Point(DRIFT_SHARE, "share", volume.start, volume.end, None, None, None, volume.rows, volume.version, detail)


def _drift_points(
    counts: WindowCounts, version: int, columns: Sequence[Column], monitor: Monitor, profile: Profile
) -> list[Point]:
    features = measure_drift(counts, [c for c in columns if c.name != SCORE], monitor.drift)
    scores = measure_drift(counts, [c for c in columns if c.name == SCORE], monitor.drift)
    found = [
        *(
            _column_point(DRIFT, one.column, one, counts, version, monitor, profile.weight(one.column))
            for one in features
        ),
        *(_column_point(PREDICTION_DRIFT, "score", one, counts, version, monitor, 1.0) for one in scores),
    ]
    if features:
        detail = {"drifted": [one.column for one in features if one.drifted], "columns": len(features)}
        share = drift_share(features)
        found.append(
            Point(DRIFT_SHARE, "share", counts.start, counts.end, share, None, None, counts.rows, version, detail)
        )
    return found


def _column_point(
    measure: str,
    subject: str,
    one: ColumnDrift,
    counts: WindowCounts,
    version: int,
    monitor: Monitor,
    importance: float,
) -> Point:
    found = one.difference
    cell, before, after = one.moved
    detail = {
        "breach": one.drifted,
        "threshold": monitor.drift.effect,
        "p": found.p,
        "q": one.q,
        "distance": found.distance,
        "null_level": found.null_level,
        "nulls": one.nulls,
        "reference_nulls": one.reference_nulls,
        "moved": {"cell": cell, "before": before, "after": after},
        "importance": importance,
    }
    return Point(
        measure, subject, counts.start, counts.end, found.effect, found.low, found.high, one.rows, version, detail
    )


def _quality(
    ws: Workspace, connection: duckdb.DuckDBPyConnection, branch: str, monitor: Monitor, windows: Sequence[Volume]
) -> list[Point]:
    by_start = {volume.start: volume for volume in windows}
    release = {v: release_metrics(ws, branch, monitor.deployment, v) for v in {w.version for w in windows}}
    rules, found = monitor.quality, []
    for measured in measure_quality(connection, branch, monitor, windows):
        volume = by_start[measured.start]
        for metric, estimate in measured.metrics.items():
            detail: dict[str, Any] = {"coverage": volume.coverage, "predictions": volume.rows}
            at_release = release[volume.version].get(metric)
            if at_release is not None:
                limit = worst_allowed(metric, at_release, rules.tolerance)
                detail |= {"release": at_release, "threshold": limit}
                if metric == rules.metric:
                    detail["breach"] = is_worse(metric, estimate, limit)
            found.append(
                Point(
                    QUALITY,
                    metric,
                    volume.start,
                    volume.end,
                    estimate.value,
                    estimate.low,
                    estimate.high,
                    measured.rows,
                    volume.version,
                    detail,
                )
            )
    return found


def _traffic(volume: Volume) -> list[Point]:
    base = (volume.start, volume.end)
    return [
        Point(TRAFFIC, "rows", *base, volume.rows, None, None, volume.rows, volume.version, _labelled(volume)),
        Point(COVERAGE, "labels", *base, volume.coverage, None, None, volume.rows, volume.version),
    ]


def _labelled(volume: Volume) -> dict[str, int]:
    """What tells that a window's labels are still those that were measured."""
    return {"labels": volume.labels, "received": volume.received}


def _write(
    conn: Connection,
    branch: str,
    monitor: Monitor,
    profile: Profile,
    points: Sequence[Point],
    drifting: Sequence[int],
    fresh: Sequence[int],
) -> Changes:
    take_turns(conn)
    newest = newest_windows(conn, branch, monitor.name)
    windows = dict.fromkeys((TRAFFIC, COVERAGE, QUALITY), fresh) | dict.fromkeys(
        (DRIFT, DRIFT_SHARE, PREDICTION_DRIFT), drifting
    )
    write_points(conn, branch, monitor.name, points, windows)
    return update_alerts(conn, branch, monitor, newest, lambda point: _weight(point, profile))


def _weight(point: Point, profile: Profile) -> float:
    """What an alert is ranked by: effect times importance, or how far quality is below what is allowed."""
    value = point.value or 0.0
    if point.measure == DRIFT:
        return value * profile.weight(point.subject)
    if point.measure == QUALITY:
        return abs(value - float(point.detail["threshold"]))
    return value
