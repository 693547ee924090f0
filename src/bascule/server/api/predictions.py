"""Predictions and the truth about them over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bascule.server.api.history import BASE
from bascule.server.reads import history, predictions
from bascule.server.routes import Call, Route


class PredictionQuery(msgspec.Struct, frozen=True):
    """Which predictions. Times are microseconds since the epoch: `since` and `until` bound the event time."""

    branch: str = "main"
    deployment: str | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = predictions.PAGE


def list_predictions(call: Call[PredictionQuery, None]) -> list[predictions.PredictionInfo]:
    """A branch's predictions, youngest first."""
    query = call.query
    return predictions.list_predictions(
        call.workspace,
        history.demand_branch(call.workspace, query.branch),
        deployment=query.deployment,
        since=query.since,
        until=query.until,
        before=query.before,
        limit=query.limit,
    )


def explain(call: Call[None, None]) -> dict[str, Any]:
    """What made one answer: prediction, deployment, version, run, code, data, contracts, people."""
    return predictions.explain(call.workspace, call.path["prediction"])


ROUTES = [
    Route("GET", f"{BASE}/predictions", list_predictions, "read"),
    Route("GET", f"{BASE}/predictions/{{prediction:path}}", explain, "read"),
]
