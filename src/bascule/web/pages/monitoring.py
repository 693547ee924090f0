"""Monitors: drift and quality over time, and what they raised."""

from __future__ import annotations

import math
from collections.abc import Sequence

from starlette.responses import Response

from bascule.server.reads import monitoring
from bascule.server.reads.monitoring import AlertInfo, Measure
from bascule.server.routes import Call, Route
from bascule.web.charts import Chart, Line, Mark, chart, sparkline
from bascule.web.pages.common import View
from bascule.web.render import page

# The metrics' names are those of the evaluation; shares are shown in percent.
UNITS = {"coverage": "%", "drift_share": "%"}
TITLES = {
    "traffic": "Predictions",
    "coverage": "Share of predictions whose outcome is known",
    "drift_share": "Share of columns that drifted",
    "prediction_drift": "Drift of the predictions",
}


def list_monitors(call: Call[View, None]) -> Response:
    """The monitors of a branch, their alerts, and the work that they asked for."""
    ws, ref = call.workspace, call.query.ref
    monitors = monitoring.list_monitors(ws, ref)
    return page(
        call,
        "monitoring.html",
        monitors=monitors,
        alerts=monitoring.list_alerts(ws, branch=ref),
        jobs=monitoring.list_jobs(ws, ref),
    )


def one_monitor(call: Call[View, None]) -> Response:
    """A monitor with quality, drift and alerts over time."""
    ws, ref, name = call.workspace, call.query.ref, call.path["monitor"]
    found = monitoring.get_monitor(ws, ref, name)
    measures = monitoring.measures(ws, ref, name)
    alerts = monitoring.list_alerts(ws, branch=ref, monitor=name)
    return page(
        call,
        "monitor.html",
        monitor=found,
        alerts=alerts,
        quality=[draw(one, alerts) for one in measures if one.measure == "quality"],
        overall=[draw(one, alerts) for one in measures if one.measure in TITLES and one.measure != "drift"],
        columns=_columns([one for one in measures if one.measure == "drift"], alerts),
        waits=next((one.points[-1].detail.get("waits", 0) for one in measures if one.measure == "drift_share"), 0),
    )


def one_alert(call: Call[View, None]) -> Response:
    """An alert: what moved, in which window, against which limit."""
    ws = call.workspace
    alert = monitoring.get_alert(ws, call.path["alert"])
    (measure, *_) = [
        *monitoring.measures(ws, alert.branch, alert.monitor, measure=alert.measure, subject=alert.subject),
        Measure(alert.monitor, alert.measure, alert.subject, []),
    ]
    return page(call, "alert.html", alert=alert, chart=draw(measure, [alert]))


def column(call: Call[View, None]) -> Response:
    """The drift of one column over time."""
    ws, ref, name, subject = call.workspace, call.query.ref, call.path["monitor"], call.path["column"]
    monitoring.get_monitor(ws, ref, name)
    alerts = monitoring.list_alerts(ws, branch=ref, monitor=name)
    found = monitoring.measures(ws, ref, name, measure="drift", subject=subject)
    points = found[0].points if found else []
    return page(
        call,
        "column.html",
        monitor=name,
        column=subject,
        chart=draw(found[0], alerts) if found else None,
        points=points[::-1][:60],
        alerts=[alert for alert in alerts if alert.measure == "drift" and alert.since(subject) is not None],
    )


def draw(measure: Measure, alerts: Sequence[AlertInfo]) -> Chart:
    """A measure over time with its interval, its limit, the value at release, and the windows that raised an alert."""
    points = measure.points
    xs = [point.window_start for point in points]
    line = Line(
        measure.subject,
        xs,
        [point.value for point in points],
        [point.low for point in points],
        [point.high for point in points],
        tone=1 if measure.measure in ("quality", "traffic", "coverage") else 2,
    )
    title = TITLES.get(measure.measure, measure.subject)
    return chart(
        title,
        [line],
        unit=UNITS.get(measure.measure, "a window" if measure.measure == "traffic" else ""),
        from_zero=measure.measure in ("traffic", "drift", "prediction_drift", *UNITS),
        marks=[*_limits(measure), *_raised(measure, alerts, xs)],
    )


def _limits(measure: Measure) -> list[Mark]:
    """The limits of the last window: an alert's, and for quality the value at release."""
    if not measure.points:
        return []
    detail = measure.points[-1].detail
    marks = []
    for name, label, tone in (("threshold", "limit", "bad"), ("release", "at release", "ok")):
        value = detail.get(name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            marks.append(Mark(label, y=float(value), tone=tone))
    return marks


def _raised(measure: Measure, alerts: Sequence[AlertInfo], xs: Sequence[int]) -> list[Mark]:
    if not xs:
        return []
    return [
        Mark("alert", x=since, tone="bad")
        for alert in alerts
        if alert.measure == measure.measure and (since := alert.since(measure.subject)) is not None
    ]


def _columns(
    measures: Sequence[Measure], alerts: Sequence[AlertInfo]
) -> list[tuple[str, float | None, float | None, float, str, bool]]:
    """(column, last effect, its limit, importance, sparkline, firing), the ones that matter most first."""
    firing = {
        one["subject"]
        for alert in alerts
        if alert.status == "firing" and alert.measure == "drift"
        for one in alert.detail.get("members") or [{"subject": alert.subject}]
    }
    found = []
    for one in measures:
        last = one.points[-1]
        importance = last.detail.get("importance", 0.0)
        line = sparkline([point.value for point in one.points])
        found.append((one.subject, last.value, last.detail.get("threshold"), importance, line, one.subject in firing))
    return sorted(found, key=lambda row: (not row[5], -(row[1] or 0.0) * (row[3] or 0.0), -(row[1] or 0.0)))


ROUTES = [
    Route("GET", "/monitoring", list_monitors, "read", page=True),
    Route("GET", "/monitoring/{monitor}", one_monitor, "read", page=True),
    Route("GET", "/monitoring/{monitor}/columns/{column:path}", column, "read", page=True),
    Route("GET", "/alerts/{alert}", one_alert, "read", page=True),
]
