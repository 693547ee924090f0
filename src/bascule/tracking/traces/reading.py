"""Reading traces back: what is known of them, their spans, and what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog.schema import spans as span_table
from bascule.catalog.schema import trace_assessments, trace_facts, traces
from bascule.errors import NotFound
from bascule.tracking.traces.spans import PREFIX, Span
from bascule.tracking.tracker import Tracker


@dataclass(frozen=True)
class Trace:
    """A trace without its spans. Times are microseconds; assessments are as the client sent them."""

    id: str
    experiment_id: int
    branch: str | None
    started_at: int
    duration_us: int | None
    state: str
    request_preview: str | None
    response_preview: str | None
    client_request_id: str | None
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    assessments: list[dict[str, Any]] = field(default_factory=list)


def demand_trace(conn: Connection, trace: str) -> Any:
    """Return a trace's row inside a transaction.

    Raises:
        NotFound: there is none.
    """
    row = conn.execute(select(traces).where(traces.c.id == trace)).first()
    if row is None:
        raise NotFound("trace", trace, hint="Search the traces for what there is.")
    return row


def read_traces(tracker: Tracker, ids: Sequence[str]) -> list[Trace]:
    """Return traces in the order of their ids; those that are not there are left out."""
    with tracker.workspace.catalog.read() as conn:
        return of_ids(conn, ids)


def of_ids(conn: Connection, ids: Sequence[str]) -> list[Trace]:
    """`read_traces` inside a transaction."""
    rows = {row.id: row for row in conn.execute(select(traces).where(traces.c.id.in_(list(ids))))}
    found = {}
    for name in ids:
        row = rows.get(name)
        if row is not None:
            found[name] = Trace(**{key: value for key, value in row._mapping.items() if key != "told"})
    facts = select(trace_facts).where(trace_facts.c.trace_id.in_(list(found))).order_by(trace_facts.c.key)
    for one in conn.execute(facts):
        trace = found[one.trace_id]
        (trace.tags if one.kind == "tag" else trace.metadata)[one.key] = one.value
    a = trace_assessments.c
    said = select(a.trace_id, a.body_json).where(a.trace_id.in_(list(found))).order_by(a.created_at, a.id)
    for one in conn.execute(said):
        found[one.trace_id].assessments.append(msgspec.json.decode(one.body_json))
    return list(found.values())


def read_spans(tracker: Tracker, ids: Sequence[str]) -> dict[str, list[Span]]:
    """Return the spans of traces, each trace's by their beginning."""
    found: dict[str, list[Span]] = {}
    with tracker.workspace.catalog.read() as conn:
        for span in stored_spans(conn, ids):
            found.setdefault(span.trace_id, []).append(span)
    return found


def stored_spans(conn: Connection, ids: Sequence[str]) -> list[Span]:
    """Return the spans of traces inside a transaction."""
    c = span_table.c
    query = select(span_table).where(c.trace_id.in_(list(ids))).order_by(c.trace_id, c.started_ns, c.span_id)
    return [_span(row) for row in conn.execute(query)]


def read_assessment(tracker: Tracker, trace: str, assessment: str) -> dict[str, Any]:
    """Return an assessment as the client sent it.

    Raises:
        NotFound: there is no such trace or assessment.
    """
    c = trace_assessments.c
    with tracker.workspace.catalog.read() as conn:
        demand_trace(conn, trace)
        query = select(c.body_json).where(c.trace_id == trace, c.id == assessment)
        body = conn.execute(query).scalar()
    if body is None:
        raise NotFound(f"assessment of the trace {trace}", assessment, hint="Read the trace for what there is.")
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def _span(row: Any) -> Span:
    more = msgspec.json.decode(row.more_json)
    return Span(
        trace=row.trace_id.removeprefix(PREFIX),
        id=row.span_id,
        parent=row.parent_id,
        name=row.name,
        started_ns=row.started_ns,
        ended_ns=row.ended_ns,
        status=row.status,
        attributes=msgspec.json.decode(row.attributes_json),
        message=more.get("message", ""),
        kind=more.get("kind", 0),
        state=more.get("state", ""),
        events=tuple(more.get("events", ())),
        links=tuple(more.get("links", ())),
    )
