"""Predictions, and what made each of them."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from bascule.project.explaining import added
from bascule.server.reads import deployments, predictions
from bascule.server.routes import Call, Route
from bascule.web.graph import LINE_CHARACTERS, TITLE_CHARACTERS, layout, order
from bascule.web.lineage import lineage, people
from bascule.web.pages.common import View
from bascule.web.render import page
from bascule.web.waterfall import waterfall


class PredictionsView(msgspec.Struct, frozen=True):
    """Which predictions; `since` and `until` bound the event time, `before` pages through the time of the request."""

    ref: str = "main"
    deployment: str | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None


def list_predictions(call: Call[PredictionsView, None]) -> Response:
    """A branch's predictions, youngest first."""
    query = call.query
    found = predictions.list_predictions(
        call.workspace,
        query.ref,
        deployment=query.deployment,
        since=query.since,
        until=query.until,
        before=query.before,
    )
    return page(
        call,
        "predictions.html",
        predictions=found,
        query=query,
        names=[one.name for one in deployments.list_deployments(call.workspace, query.ref)],
        older=found[-1].at if len(found) == predictions.PAGE else None,
    )


def one_prediction(call: Call[View, None]) -> Response:
    """A prediction with its lineage as a graph and as a list."""
    chain = predictions.explain(call.workspace, call.path["prediction"])
    nodes, edges = lineage(chain)
    told = added(chain["prediction"])
    return page(
        call,
        "prediction.html",
        chain=chain,
        prediction=chain["prediction"],
        added=told and (told[0], waterfall(told[1])),
        people=people(chain),
        truth=chain.get("truth") or {},
        drawing=layout(nodes, edges),
        nodes=order(nodes, edges),
        most_title=TITLE_CHARACTERS,
        most_line=LINE_CHARACTERS,
    )


ROUTES = [
    Route("GET", "/predictions", list_predictions, "read", page=True),
    Route("GET", "/predictions/{prediction:path}", one_prediction, "read", page=True),
]
