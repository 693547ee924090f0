"""Predictions and the truth about them over HTTP."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from bascule.catalog import now
from bascule.errors import InputError
from bascule.server.api.history import BASE
from bascule.server.reads import history, predictions
from bascule.server.routes import Call, Route
from bascule.serving.ids import is_prediction_id
from bascule.serving.log import Truth, TruthLog

TRUTH_BYTES = 32 << 20


class PredictionQuery(msgspec.Struct, frozen=True):
    """Which predictions. Times are microseconds since the epoch: `since` and `until` bound the event time."""

    branch: str = "main"
    deployment: str | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = predictions.PAGE


class TruthRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became true about one prediction.

    Attributes:
        label: 0 or 1 for a binary model, the class' place for a multiclass one, else the value.
        label_time: when it became true, microseconds since the epoch; now when it is null.
    """

    prediction_id: str
    label: bool | float
    label_time: int | None = None
    deployment: str | None = None


class TruthRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many at once."""

    rows: Annotated[list[TruthRow], msgspec.Meta(max_length=100_000)]


class Received(msgspec.Struct, frozen=True):
    """How many rows were taken. They are on the disk."""

    rows: int


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


def ground_truth(call: Call[None, TruthRows]) -> Received:
    """Take what became true about predictions: all rows, or none. Sent again, a row is kept once."""
    received = now()
    rows = [_truth(place, row, received) for place, row in enumerate(call.body.rows)]
    # A journal of its own: it is closed, and so on the disk, when the answer leaves.
    log = TruthLog(call.workspace.log_folder)
    try:
        for row in rows:
            log.append(row)
    finally:
        log.journal.close()
    return Received(len(rows))


def _truth(place: int, row: TruthRow, received: int) -> Truth:
    if not is_prediction_id(row.prediction_id):
        raise InputError(
            f"Row {place} names no prediction of this system: {row.prediction_id[:60]!r}.",
            hint="Send the prediction_id that came with the answer: pred_…",
        )
    label = float(row.label)
    if not math.isfinite(label):
        raise InputError(
            f"Row {place} has the label {row.label!r}; it must be a number.",
            hint="Send 0 or 1, the class' place, or the value.",
        )
    moment = received if row.label_time is None else row.label_time
    return Truth(row.prediction_id, row.deployment, label, moment, received)


ROUTES = [
    Route("POST", f"{BASE}/ground-truth", ground_truth, "write", max_body=TRUTH_BYTES),
    Route("GET", f"{BASE}/predictions", list_predictions, "read"),
    Route("GET", f"{BASE}/predictions/{{prediction:path}}", explain, "read"),
]
