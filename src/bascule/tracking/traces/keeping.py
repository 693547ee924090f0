"""Writing traces: spans as they end, what a client says of the whole, tags, links to runs; and deleting them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from bascule.catalog import now, upsert
from bascule.catalog.schema import spans as span_table
from bascule.catalog.schema import trace_assessments, trace_facts, trace_runs, traces
from bascule.errors import InputError, NotFound
from bascule.tracking import experiments as kept
from bascule.tracking.remote import demand_run
from bascule.tracking.traces.reading import demand_trace, stored_spans
from bascule.tracking.traces.spans import (
    COST,
    INPUTS,
    NAME_TAG,
    OUTPUTS,
    PLACE,
    PLACE_TAG,
    SESSIONS,
    TAGGED,
    TRACE_COST,
    TRACE_SESSION,
    TRACE_USAGE,
    TRACE_USER,
    USAGE,
    USER,
    Span,
    plain,
    preview,
    totals,
)
from bascule.tracking.tracker import Tracker

TAG, METADATA = "tag", "metadata"
PLACE_OF_FILES = "mlflow.artifactLocation"
OK, ERROR, RUNNING = "OK", "ERROR", "IN_PROGRESS"
STATES = ("STATE_UNSPECIFIED", OK, ERROR, RUNNING)
MOST_OF_A_TRACE = 100_000  # spans
MOST_LINKED = 100
MOST_VALUE = 8_000
_AT_ONCE = 500


@dataclass(frozen=True)
class Told:
    """What a client says of a whole trace. Times are microseconds.

    Attributes:
        state: one of `STATES`.
    """

    id: str
    experiment: int
    started_at: int
    state: str
    duration_us: int | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    client_request_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def put_trace(
    tracker: Tracker, told: Told, *, branch: str | None = None, ended: bool = True, active: bool = True
) -> None:
    """Keep what is said of a trace; said again it replaces what was said, and adds to tags and metadata.

    Args:
        ended: nothing that its spans imply may change it any more.
        active: a deleted experiment takes none.

    Raises:
        NotFound, InputError: there is no such experiment, it is deleted, or the trace is another experiment's.
    """
    row = {
        "id": told.id,
        "experiment_id": told.experiment,
        "branch": branch,
        "started_at": told.started_at,
        "duration_us": told.duration_us,
        "state": told.state,
        "request_preview": _cut(told.request_preview),
        "response_preview": _cut(told.response_preview),
        "client_request_id": _cut(told.client_request_id),
        "told": ended,
    }

    def work(conn: Connection) -> None:
        place = kept.demand(conn, told.experiment, active=active).artifact_location
        before = conn.execute(select(traces).where(traces.c.id == told.id)).first()
        if before is None:
            conn.execute(insert(traces).values(**row))
            _facts(conn, told.id, TAG, {PLACE_OF_FILES: f"{place.rstrip('/')}/traces/{told.id}/artifacts"})
        else:
            if before.experiment_id != told.experiment:
                raise _elsewhere(told.id, before.experiment_id)
            changes = {key: value for key, value in row.items() if value is not None and key not in ("id", "branch")}
            conn.execute(update(traces).where(traces.c.id == told.id).values(**changes))
        _facts(conn, told.id, METADATA, told.metadata)
        reserved = {PLACE_TAG} if before is not None else set()
        _facts(conn, told.id, TAG, {key: value for key, value in told.tags.items() if key not in reserved})

    tracker.write(work)


def keep_spans(
    tracker: Tracker,
    experiment: int,
    spans: Sequence[Span],
    *,
    branch: str | None = None,
    run: str = "",
    active: bool = True,
) -> None:
    """Keep spans, all or none. Their traces are made when they are not there yet.

    Args:
        run: the run that their traces belong to.
        active: a deleted experiment takes none.

    Raises:
        NotFound, InputError: there is no such experiment or run, it is deleted, or a trace has too many spans.
    """
    by_trace: dict[str, list[Span]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, []).append(span)

    def work(conn: Connection) -> None:
        place = kept.demand(conn, experiment, active=active).artifact_location
        if run:
            demand_run(conn, run)
        for trace_id, mine in by_trace.items():
            _of_one_trace(conn, trace_id, experiment, place, mine, branch)
            if run:
                _link(conn, trace_id, run)

    tracker.write(work)


def _of_one_trace(
    conn: Connection, trace_id: str, experiment: int, place: str, mine: Sequence[Span], branch: str | None
) -> None:
    before = conn.execute(select(traces).where(traces.c.id == trace_id)).first()
    fresh = list({span.id: span for span in mine}.values())
    told = _implied(fresh, before)
    if before is None:
        row = {"id": trace_id, "experiment_id": experiment, "branch": branch, "told": False}
        conn.execute(insert(traces).values(**row, **told))
        _facts(conn, trace_id, TAG, {PLACE_OF_FILES: f"{place.rstrip('/')}/traces/{trace_id}/artifacts"})
    elif told:
        conn.execute(update(traces).where(traces.c.id == trace_id).values(**told))
    _insert_spans(conn, fresh)
    count = conn.execute(select(func.count()).where(span_table.c.trace_id == trace_id)).scalar_one()
    if count > MOST_OF_A_TRACE:
        raise InputError(
            f"The trace {trace_id} would have {count:,} spans; at most {MOST_OF_A_TRACE:,} are kept.",
            hint="Begin a new trace for each request.",
        )
    _facts(conn, trace_id, METADATA, _metadata(conn, trace_id, fresh), overwrite=before is None or not before.told)
    _facts(conn, trace_id, TAG, _tags(fresh), overwrite=False)
    _facts(conn, trace_id, TAG, {PLACE_TAG: PLACE})


def _insert_spans(conn: Connection, fresh: Sequence[Span]) -> None:
    rows = [_row(span) for span in fresh]
    query = upsert(conn, span_table)
    changed = {c.name: query.excluded[c.name] for c in span_table.columns if not c.primary_key}
    query = query.on_conflict_do_update(index_elements=["trace_id", "span_id"], set_=changed)
    for start in range(0, len(rows), _AT_ONCE):
        conn.execute(query, rows[start : start + _AT_ONCE])


def _implied(fresh: Sequence[Span], before: Any) -> dict[str, Any]:
    """What spans say of their trace, where nobody said it of the whole; `before` is the trace's row, if there is one.

    Only the spans that just came are looked at, so a trace that grows span by span costs no more for each.
    """
    root = next((span for span in fresh if not span.parent), None)
    said: dict[str, Any] = {}
    if root is not None:
        said["state"] = RUNNING if root.ended_ns is None else ERROR if root.status == ERROR else OK
        said["request_preview"] = preview(root.attributes.get(INPUTS))
        said["response_preview"] = preview(root.attributes.get(OUTPUTS))
    started = min(span.started_ns for span in fresh) // 1000
    ended = max((span.ended_ns // 1000 for span in fresh if span.ended_ns is not None), default=None)
    if before is None:
        said = {"state": RUNNING, **said}
    elif before.told:
        return {key: value for key, value in said.items() if getattr(before, key) is None}
    else:
        started = min(started, before.started_at)
        if before.duration_us is not None:
            ended = max(ended or 0, before.started_at + before.duration_us)
    return said | {"started_at": started, "duration_us": None if ended is None else max(ended - started, 0)}


def _metadata(conn: Connection, trace_id: str, fresh: Sequence[Span]) -> dict[str, str]:
    found = {}
    if any(key in span.attributes for span in fresh for key in (USAGE, COST)):
        everything = stored_spans(conn, [trace_id])
        for key, name in ((USAGE, TRACE_USAGE), (COST, TRACE_COST)):
            if used := totals(everything, key):
                found[name] = msgspec.json.encode(used).decode()
    for span in fresh:
        for key, name in ((SESSIONS[0], TRACE_SESSION), (SESSIONS[1], TRACE_SESSION), (USER, TRACE_USER)):
            value = span.attributes.get(key)
            if isinstance(value, str) and value:
                found.setdefault(name, value)
    return found


def _tags(fresh: Sequence[Span]) -> dict[str, str]:
    root = next((span for span in fresh if not span.parent), None)
    if root is None:
        return {}
    told = {k.removeprefix(TAGGED): str(v) for k, v in root.attributes.items() if k.startswith(TAGGED)}
    return {NAME_TAG: root.name, **{key: value for key, value in told.items() if 0 < len(key) <= 250}}


def _row(span: Span) -> dict[str, Any]:
    more = {
        "message": span.message,
        "kind": span.kind,
        "state": span.state,
        "events": list(span.events),
        "links": list(span.links),
    }
    return {
        "trace_id": span.trace_id,
        "span_id": span.id,
        "parent_id": span.parent,
        "name": plain(span.name),
        "type": span.type,
        "status": span.status,
        "started_ns": span.started_ns,
        "ended_ns": span.ended_ns,
        "attributes_json": msgspec.json.encode(dict(span.attributes)).decode(),
        "more_json": msgspec.json.encode({key: value for key, value in more.items() if value}).decode(),
    }


def put_tag(tracker: Tracker, trace: str, key: str, value: str) -> None:
    """Set a tag of a trace.

    Raises:
        NotFound: there is no such trace.
    """

    def work(conn: Connection) -> None:
        demand_trace(conn, trace)
        _facts(conn, trace, TAG, {key: value})

    tracker.write(work)


def drop_tag(tracker: Tracker, trace: str, key: str) -> None:
    """Take a tag of a trace away.

    Raises:
        NotFound: there is no such trace, or it has no such tag.
    """
    c = trace_facts.c

    def work(conn: Connection) -> None:
        demand_trace(conn, trace)
        gone = conn.execute(delete(trace_facts).where(c.trace_id == trace, c.kind == TAG, c.key == key))
        if not gone.rowcount:
            raise NotFound(f"tag of the trace {trace}", key, hint="No tag of that key was set.")

    tracker.write(work)


def link_runs(tracker: Tracker, found: Sequence[str], run: str) -> None:
    """Link traces to a run; said again it changes nothing.

    Raises:
        NotFound: there is no such run or trace.
        InputError: more than 100 traces.
    """
    if len(found) > MOST_LINKED:
        raise InputError(f"At most {MOST_LINKED} traces are linked at once; got {len(found)}.", hint="Do it in parts.")

    def work(conn: Connection) -> None:
        demand_run(conn, run)
        for trace in found:
            demand_trace(conn, trace)
            _link(conn, trace, run)

    tracker.write(work)


def delete_traces(
    tracker: Tracker,
    experiment: int,
    *,
    ids: Sequence[str] | None = None,
    before: int | None = None,
    most: int | None = None,
) -> list[str]:
    """Delete traces of an experiment with their spans, assessments and links, for good; return their ids.

    Args:
        ids: these; those that are not there are gone already.
        before: those that began until then (microseconds since 1970 UTC), the oldest first.
        most: at most so many of them.
    """
    query = select(traces.c.id).where(traces.c.experiment_id == experiment)
    query = query.where(traces.c.id.in_(list(ids))) if ids is not None else query
    query = query.where(traces.c.started_at <= before) if before is not None else query
    query = query.order_by(traces.c.started_at, traces.c.id).limit(most)

    def work(conn: Connection) -> list[str]:
        kept.demand(conn, experiment)
        found = list(conn.execute(query).scalars())
        for start in range(0, len(found), _AT_ONCE):
            part = found[start : start + _AT_ONCE]
            for table in (span_table, trace_facts, trace_runs, trace_assessments):
                conn.execute(delete(table).where(table.c.trace_id.in_(part)))
            conn.execute(delete(traces).where(traces.c.id.in_(part)))
        return found

    return tracker.write(work)


def put_assessment(tracker: Tracker, row: Mapping[str, Any], *, replace: bool = False) -> None:
    """Keep an assessment of a trace.

    Args:
        row: as the table has it, without the times.
        replace: there is one of that id.

    Raises:
        NotFound: there is no such trace, or no such assessment to replace.
    """
    c, at = trace_assessments.c, now()

    def work(conn: Connection) -> None:
        demand_trace(conn, str(row["trace_id"]))
        if not replace:
            conn.execute(insert(trace_assessments).values(**row, created_at=at, updated_at=at))
            return
        where = (c.id == row["id"], c.trace_id == row["trace_id"])
        done = conn.execute(update(trace_assessments).where(*where).values(**row, updated_at=at))
        if not done.rowcount:
            raise NotFound(f"assessment of the trace {row['trace_id']}", str(row["id"]), hint="Read the trace again.")

    tracker.write(work)


def drop_assessment(tracker: Tracker, trace: str, assessment: str) -> None:
    """Delete an assessment of a trace; one that is not there is gone already.

    Raises:
        NotFound: there is no such trace.
    """
    c = trace_assessments.c

    def work(conn: Connection) -> None:
        demand_trace(conn, trace)
        conn.execute(delete(trace_assessments).where(c.id == assessment, c.trace_id == trace))

    tracker.write(work)


def _link(conn: Connection, trace: str, run: str) -> None:
    conn.execute(upsert(conn, trace_runs).values(trace_id=trace, run_id=run).on_conflict_do_nothing())


def _facts(conn: Connection, trace: str, kind: str, values: Mapping[str, str], *, overwrite: bool = True) -> None:
    rows = [
        {"trace_id": trace, "kind": kind, "key": plain(key)[:250], "value": plain(value)[:MOST_VALUE]}
        for key, value in values.items()
    ]
    if not rows:
        return
    query = upsert(conn, trace_facts)
    if overwrite:
        keys = ["trace_id", "kind", "key"]
        query = query.on_conflict_do_update(index_elements=keys, set_={"value": query.excluded.value})
    else:
        query = query.on_conflict_do_nothing()
    conn.execute(query, rows)


def _cut(text: str | None) -> str | None:
    return None if text is None else plain(text)[:MOST_VALUE]


def _elsewhere(trace: str, experiment: int) -> InputError:
    return InputError(
        f"The trace {trace} belongs to the experiment {experiment} already.", hint="Name that experiment."
    )
