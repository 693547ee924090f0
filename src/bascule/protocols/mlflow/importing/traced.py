"""Traces of another server, with their spans and what people say of them, kept under their own ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from bascule.catalog import now
from bascule.catalog.schema import traces as table
from bascule.errors import InputError
from bascule.protocols.mlflow.assessments import assessment_row
from bascule.protocols.mlflow.messages import Fields
from bascule.protocols.mlflow.otlp import span_of_server
from bascule.protocols.mlflow.traces import duration_of, moment_of
from bascule.tracking import traces as kept
from bascule.tracking.traces.keeping import PLACE_OF_FILES, STATES, drop_assessment, put_assessment
from bascule.tracking.tracker import Tracker


def is_here(tracker: Tracker, trace: str) -> bool:
    """Tell whether all of a trace was taken already: what is said of the whole comes last."""
    with tracker.workspace.catalog.read() as conn:
        return bool(conn.execute(select(table.c.told).where(table.c.id == trace)).scalar())


def take_trace(
    tracker: Tracker, experiment: int, info: dict[str, Any], spans: list[dict[str, Any]], branch: str
) -> None:
    """Keep a trace, also of a deleted experiment. Taken again, after it was stopped anywhere, it is the same.

    Args:
        experiment: its number here.
        info: what the server says of the whole, as version 3 of the API has it.
        spans: as the server tells them.

    Raises:
        InputError: something of it cannot be kept; nothing is seen as whole then.
    """
    told = Fields(info, "trace_info")
    trace = str(info.get("trace_id", ""))
    started = moment_of(told, "request_time")
    whole = kept.Told(
        id=trace,
        experiment=experiment,
        started_at=now() if started is None else started,
        state=told.choice("state", STATES, dict(enumerate(STATES)), STATES[0]),
        duration_us=duration_of(told, "execution_duration"),
        request_preview=told.given("request_preview"),
        response_preview=told.given("response_preview"),
        client_request_id=told.given("client_request_id"),
        metadata=_texts(info.get("trace_metadata")),
        tags={key: value for key, value in _texts(info.get("tags")).items() if key != PLACE_OF_FILES},
    )
    kept.put_trace(tracker, whole, branch=branch, ended=False, active=False)
    read = [span_of_server(one) for one in spans]
    if any(span.trace_id != trace for span in read):
        raise InputError(f"The trace {trace[:80]} has spans of another one.", hint="They are left where they are.")
    if read:
        kept.keep_spans(tracker, experiment, read, branch=branch, active=False)
    for one in info.get("assessments") or ():
        row = assessment_row({**one, "trace_id": trace})
        drop_assessment(tracker, trace, row["id"])
        put_assessment(tracker, row)
    kept.put_trace(tracker, whole, branch=branch, active=False)


def _texts(held: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in held.items()} if isinstance(held, dict) else {}
