"""Predictions: the last ones, one with its chain, and the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from bascule.history import Workspace
from bascule.naming import model_path
from bascule.project.explaining import class_at, explain_prediction
from bascule.server.reads.asking import ask

PAGE = 50
_LIST = """
    WITH found AS (
        SELECT * FROM predictions
        WHERE branch = $branch AND ($deployment IS NULL OR deployment = $deployment)
            AND ($since IS NULL OR epoch_us(event_time) >= $since)
            AND ($until IS NULL OR epoch_us(event_time) < $until)
            AND ($before IS NULL OR epoch_us("at") < $before)
        ORDER BY "at" DESC LIMIT $limit
    ), truth AS (
        SELECT prediction_id, arg_max(label, received_at) AS label FROM ground_truth
        WHERE prediction_id IN (SELECT prediction_id FROM found) GROUP BY prediction_id
    )
    SELECT f.prediction_id, epoch_us(f."at"), epoch_us(f.event_time), f.deployment, f.revision, f.model, f.version,
        f.arm, f.score, f.latency_us, t.label
    FROM found f LEFT JOIN truth t USING (prediction_id) ORDER BY f."at" DESC"""


class PredictionInfo(msgspec.Struct, frozen=True):
    """One prediction; times in microseconds since the epoch. `label` is null until the truth is known.

    Of a classifier `label` is the place of what became true, and `outcome` the class there.
    """

    prediction_id: str
    at: int
    event_time: int | None
    deployment: str
    revision: int
    model: str
    version: int
    arm: str
    score: float | None
    latency_us: int
    label: float | None
    outcome: str | None = None


def list_predictions(
    ws: Workspace,
    branch: str,
    *,
    deployment: str | None = None,
    since: int | None = None,
    until: int | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> list[PredictionInfo]:
    """Return a branch's predictions, youngest first.

    Args:
        since: only those whose event time is not before this one, microseconds since the epoch.
        until: only those whose event time is before this one.
        before: only those made before this time.
    """
    values = {
        "branch": branch,
        "deployment": deployment,
        "since": since,
        "until": until,
        "before": before,
        "limit": limit,
    }
    found = [PredictionInfo(*row) for row in ask(ws, _LIST, values, ref=branch).rows]
    versions = {(one.model, one.version) for one in found if one.label is not None}
    known = {key: _version(ws, branch, *key) for key in versions}
    return [
        one if one.label is None else replace(one, outcome=class_at(known[one.model, one.version], one.label))
        for one in found
    ]


def _version(ws: Workspace, branch: str, model: str, version: int) -> Mapping[str, Any]:
    """Return a version as the branch has it; nothing where it has it no more."""
    held = ws.history.read(branch, model_path(model)) or {"versions": {}}
    found: Mapping[str, Any] = held["versions"].get(str(version), {})
    return found


def explain(ws: Workspace, prediction_id: str) -> dict[str, Any]:
    """Return what made an answer, link by link.

    Raises:
        NotFound: there is no such prediction.
    """
    return explain_prediction(ws, prediction_id)
