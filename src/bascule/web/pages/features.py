"""Features and streams: who owns them, how fresh they are served, what they are made from, and who reads them."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from bascule.errors import BasculeError, NotFound
from bascule.project.impact import Impact, impact_at
from bascule.project.streaming.status import StreamInfo, info_of
from bascule.server.api.streams import project_of
from bascule.server.reads import features
from bascule.server.reads.monitoring import Point
from bascule.server.routes import Call, Route
from bascule.web.charts import Chart, Line, Mark, chart
from bascule.web.pages.common import View
from bascule.web.render import page


class Column(View, frozen=True):
    """A column, as TABLE.COLUMN, of a state."""

    column: str = ""


def list_features(call: Call[View, None]) -> Response:
    """The views, services and streams of a state."""
    ws, ref = call.workspace, call.query.ref
    streams, problem = _streams(call)
    return page(
        call,
        "features.html",
        views=features.list_views(ws, ref),
        services=features.list_services(ws, ref),
        streams=streams,
        problem=problem,
    )


def one_view(call: Call[View, None]) -> Response:
    """A view: what each feature is made from and who reads it, statistics and skew."""
    found = features.get_view(call.workspace, call.query.ref, call.path["view"])
    charts = [_drawn(one.subject.partition("__")[2], one.points) for one in found.skew]
    figures = {one.feature: one for one in found.statistics.features}
    return page(call, "feature.html", found=found, view=found.view, figures=figures, charts=charts)


def column(call: Call[Column, None]) -> Response:
    """What breaks when a column of a table changes."""
    wanted, found, error = call.query.column.strip(), list[Impact](), ""
    if wanted:
        try:
            found = impact_at(call.workspace, call.query.ref, wanted)
        except NotFound as unknown:
            error = " ".join(filter(None, (unknown.message, unknown.hint)))
    return page(call, "impact.html", column=wanted, found=found, error=error)


def _streams(call: Call[View, None]) -> tuple[list[StreamInfo], str]:
    """The branch's streams; none of a tag or a commit, and why they cannot be told, if so."""
    ws, ref = call.workspace, call.query.ref
    try:
        project = project_of(call)
    except NotFound:  # a workspace without a project has none
        return [], ""
    except BasculeError as error:
        return [], error.message
    if not any(ref == one.name for one in ws.history.branches()):
        return [], ""
    try:
        return [info_of(project, ws, name, ref) for name in project.stream], ""
    except BasculeError as error:
        return [], error.message


def _drawn(name: str, points: list[Point]) -> Chart:
    limits = [msgspec.to_builtins(point.detail).get("threshold") for point in points[-1:]]
    marks = [Mark("limit", y=float(one), tone="bad") for one in limits if isinstance(one, (int, float))]
    line = Line(name, [point.window_start for point in points], [point.value for point in points], tone=2)
    return chart(name, [line], unit="%", from_zero=True, marks=marks)


ROUTES = [
    Route("GET", "/features", list_features, "read", page=True),
    Route("GET", "/features/impact", column, "read", page=True),
    Route("GET", "/features/views/{view}", one_view, "read", page=True),
]
