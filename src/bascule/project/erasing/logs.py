"""The logs of answers: predictions about the subject, the features they were made of, and the truth about them."""

from __future__ import annotations

from typing import Any

from bascule.catalog import actor
from bascule.lake import forget_rows, records
from bascule.lake.forgetting import Forgotten, Request
from bascule.lake.iceberg.types import literal, quoted
from bascule.project.erasing.contents import Sought
from bascule.project.querying import query
from bascule.serving.log import GROUND_TRUTH, PREDICTIONS, move_segments
from bascule.serving.log.vectors import SERVED_FEATURES


def from_logs(request: Request) -> list[Forgotten]:
    """Take the answers about the subject, and the truth about them, out of the logs."""
    workspace = request.workspace
    move_segments(workspace, sealing=True)
    known = records.names(workspace)
    if PREDICTIONS not in known and SERVED_FEATURES not in known:
        return []
    terms = [f"json_extract_string(inputs, '$.{quoted(c)}') = {literal(str(v))}" for c, v in request.key.items()]
    where = " AND ".join(terms)
    for value in Sought(request.key).values:  # also where an input is called otherwise
        where += f" OR contains(inputs::VARCHAR, {literal(value)}) OR contains(features::VARCHAR, {literal(value)})"
    said = f"SELECT prediction_id FROM predictions WHERE {where}"
    ids = [row["prediction_id"] for row in query(workspace, said)] if PREDICTIONS in known else []
    asked: dict[str, Any] = {"dry_run": request.dry_run, "author": actor(), "despite_hold": request.despite_hold}
    found = 0
    if ids and GROUND_TRUTH in known:  # first, as only the predictions know whose truths they are
        listed = ", ".join(literal(name) for name in ids)
        told = f"prediction_id IN ({listed})"
        found += forget_rows(workspace, GROUND_TRUTH, told, **asked).rows
    if SERVED_FEATURES in known:
        same = [f"json_extract_string(keys, '$.{quoted(c)}') = {literal(str(v))}" for c, v in request.key.items()]
        found += forget_rows(workspace, SERVED_FEATURES, " AND ".join(same), **asked).rows
    # Also when no answer is seen: one that was killed may have left a file behind.
    if PREDICTIONS in known:
        found += forget_rows(workspace, PREDICTIONS, where, **asked).rows
    if not found:
        return []
    return [Forgotten("logs", found)]
