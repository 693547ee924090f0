"""Searching traces: by what they are, what was said of them and what their spans hold, a page at a time.

Regular expressions are matched by RE2, whose time grows with the text and not with the pattern's power, on the rows
that all other conditions left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, case, cast, exists, func, or_, select
from sqlalchemy import Double as DoubleType

from bascule.catalog.schema import spans as span_table
from bascule.catalog.schema import trace_assessments, trace_facts, trace_runs, traces
from bascule.errors import InputError
from bascule.tracking.search.conditions import LISTS, NULLS, NUMBERS, TEXTS, demand, of_number, of_text
from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.traces.reading import Trace, of_ids
from bascule.tracking.traces.spans import NAME_TAG
from bascule.tracking.tracker import Tracker

ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr", "trace"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("metadata", "request_metadata"), "metadata"),
    "span": "span",
    "feedback": "feedback",
    "expectation": "expectation",
}
RUN, PROMPTS = "mlflow.sourceRun", "mlflow.linkedPrompts"
REGEX = "RLIKE"
LIKE = ("LIKE", "ILIKE")
MOST_REGEX = 1_000
_BATCH = 500
t, s, a = traces.c, span_table.c, trace_assessments.c
_END = t.started_at + t.duration_us
# What an attribute is, whether it is a text, and microseconds in its unit.
ATTRIBUTES: dict[str, tuple[ColumnElement[Any], bool]] = {
    "request_id": (t.id, True),
    "trace_id": (t.id, True),
    "client_request_id": (t.client_request_id, True),
    "status": (t.state, True),
    "state": (t.state, True),
    "timestamp": (t.started_at, False),
    "timestamp_ms": (t.started_at, False),
    "execution_time": (t.duration_us, False),
    "execution_time_ms": (t.duration_us, False),
    "end_time": (_END, False),
    "end_time_ms": (_END, False),
}
_ELSEWHERE = ("name", "run_id", "prompt", "text")
ORDERS = {**ATTRIBUTES, "experiment_id": (t.experiment_id, False)}
_SPAN = {"name": s.name, "type": s.type, "status": s.status}
# Given a transaction and traces' ids, those of them for which a regular expression holds.
Sieve = Callable[[Connection, Sequence[str]], set[str]]


def search_traces(
    tracker: Tracker,
    experiments: Sequence[int],
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    limit: int = 100,
    token: str = "",
) -> Page[Trace]:
    """Return a page of traces, youngest first unless ordered otherwise.

    Raises:
        InputError: for a filter, an order or a token that cannot be read.
    """
    conditions, order = parse_filter(filter, ENTITIES), parse_order(order_by, ENTITIES)
    offset = offset_of(token)
    with tracker.workspace.catalog.read() as conn:
        query = select(t.id).where(t.experiment_id.in_(list(experiments)))
        sieves = []
        for one in conditions:
            if one.operator == REGEX:
                sieves.append(_sieve(one))
            else:
                query = query.where(_condition(conn, one))
        query = _ordered(query, order)
        ids = _chosen(conn, query, sieves, offset, limit + 1)
        found = of_ids(conn, ids[:limit])
    return Page(found, next_token(offset + limit) if len(ids) > limit else "")


def _chosen(conn: Connection, query: Select[Any], sieves: list[Sieve], offset: int, limit: int) -> list[str]:
    if not sieves:
        return list(conn.execute(query.offset(offset).limit(limit)).scalars())
    found: list[str] = []
    for batch in _batches(conn, query):
        kept = set(batch)
        for sieve in sieves:
            kept &= sieve(conn, batch)
        found += [one for one in batch if one in kept]
        if len(found) >= offset + limit:
            break
    return found[offset : offset + limit]


def _batches(conn: Connection, query: Select[Any]) -> Iterator[list[str]]:
    at = 0
    while batch := list(conn.execute(query.offset(at).limit(_BATCH)).scalars()):
        yield batch
        at += len(batch)


def _ordered(query: Select[Any], order: Sequence[Ordering]) -> Select[Any]:
    keys: list[Any] = []
    for one in order:
        if one.entity == "attribute" and one.key in ORDERS:
            column: Any = ORDERS[one.key][0]
        elif one.entity == "attribute" and one.key in ("name", "run_id"):
            column = _fact_of("tag", NAME_TAG) if one.key == "name" else _fact_of("metadata", RUN)
        elif one.entity in ("tag", "metadata"):
            column = _fact_of(one.entity, one.key)
        else:
            hint = f"Valid keys are {', '.join((*ORDERS, 'name', 'run_id'))}, tag.KEY and metadata.KEY."
            raise InputError(f"Invalid order by key {one.key[:60]!r} specified.", hint=hint)
        keys += [column.is_(None), column.asc() if one.ascending else column.desc()]
    return query.order_by(*keys, t.started_at.desc(), t.id)


def _fact_of(kind: str, key: str) -> Any:
    f = trace_facts.alias().c
    return select(f.value).where(f.trace_id == t.id, f.kind == kind, f.key == key).correlate(traces).scalar_subquery()


def _condition(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    if one.entity == "attribute":
        return _of_attribute(conn, one)
    if one.entity in ("tag", "metadata"):
        return _of_fact(conn, one, one.entity, one.key)
    if one.entity == "span":
        return _of_span(conn, one)
    return _of_assessment(conn, one)


def _of_attribute(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    if one.key == "name":
        return _of_fact(conn, one, "tag", NAME_TAG)
    if one.key == "run_id":
        demand(one, TEXTS + LISTS, text=True)
        linked = trace_runs.alias().c
        there = exists().where(linked.trace_id == t.id, of_text(conn, linked.run_id, _positive(one)))
        made = _of_fact(conn, _positive(one), "metadata", RUN)
        return or_(there, made) if one == _positive(one) else ~or_(there, made)
    if one.key == "prompt":
        return _of_prompt(conn, one)
    if one.key == "text":
        return _of_content(conn, one)
    column, is_text = _attribute(one.key)
    if not is_text:
        demand(one, NUMBERS, text=False)
        return of_number(column, one, 1000)
    demand(one, TEXTS + LISTS, text=True)
    return of_text(conn, column, one)


def _positive(one: Comparison) -> Comparison:
    """Return the comparison whose contrary this one is, or itself."""
    turned = {"!=": "=", "NOT IN": "IN"}.get(one.operator)
    return one if turned is None else Comparison(one.entity, one.key, turned, one.value, one.quoted)


def _attribute(key: str) -> tuple[ColumnElement[Any], bool]:
    found = ATTRIBUTES.get(key)
    if found is None:
        known = ", ".join((*ATTRIBUTES, *_ELSEWHERE))
        raise InputError(f"Invalid attribute key {key[:60]!r} specified.", hint=f"Valid keys are {known}.")
    return found


def _of_fact(conn: Connection, one: Comparison, kind: str, key: str) -> ColumnElement[bool]:
    demand(one, TEXTS + LISTS + NULLS, text=True)
    f = trace_facts.alias().c
    mine = [f.trace_id == t.id, f.kind == kind, f.key == key]
    if one.operator in NULLS:
        there = exists().where(*mine)
        return there if one.operator == "IS NOT NULL" else ~there
    return exists().where(*mine, of_text(conn, f.value, one))


def _of_prompt(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    name, _, version = str(one.value).partition("/")
    if one.operator != "=" or not name or not version or "/" in version:
        raise InputError("A prompt is searched by name and version.", hint="Write it like: prompt = 'greeting/2'")
    f = trace_facts.alias().c
    held = [f.value.contains(f'"{part}"', autoescape=True) for part in (name, version)]
    return exists().where(f.trace_id == t.id, f.kind == "tag", f.key == PROMPTS, *held)


def _of_content(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    demand(one, LIKE, text=True)
    named = of_text(conn, s.name, one)
    return exists().where(s.trace_id == t.id, or_(named, of_text(conn, s.attributes_json, one)))


def _of_span(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    if one.key == "content":
        return _of_content(conn, one)
    demand(one, TEXTS + LISTS, text=True)
    return exists().where(s.trace_id == t.id, of_text(conn, _span_column(conn, one.key), one))


def _span_column(conn: Connection, key: str) -> ColumnElement[Any]:
    if key in _SPAN:
        return _SPAN[key]
    name = key.removeprefix("attributes.")
    if name == key or not name:
        raise InputError(
            f"Invalid span attribute {key[:60]!r}.", hint=f"Valid keys are {', '.join(_SPAN)}, content, attributes.KEY."
        )
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import JSONB

        return cast(s.attributes_json, JSONB).op("->>", return_type=Text())(name)
    quoted = name.replace('"', "")
    return cast(func.json_extract(s.attributes_json, f'$."{quoted}"'), Text)


def _of_assessment(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    mine = [a.trace_id == t.id, a.kind == one.entity, a.name == one.key]
    if one.operator in NULLS:
        there = exists().where(*mine)
        return there if one.operator == "IS NOT NULL" else ~there
    if isinstance(one.value, int | float) and not one.quoted:
        demand(one, NUMBERS, text=False)
        digits = or_(*(a.value_json.like(f"{sign}%") for sign in "-0123456789"))
        number = cast(a.value_json, DoubleType)
        if conn.dialect.name == "postgresql":  # it would convert what the other condition leaves out, too
            number = cast(case((digits, a.value_json), else_=None), DoubleType)
        return exists().where(*mine, digits, of_number(number, one))
    demand(one, TEXTS, text=True)
    # A text is kept in quotes, a number or a truth without; both may be asked for as a text.
    bare = func.trim(a.value_json, '"')
    return exists().where(and_(*mine), of_text(conn, bare, one))


def _sieve(one: Comparison) -> Sieve:
    demand(one, (REGEX,), text=True)
    pattern = str(one.value)
    if len(pattern) > MOST_REGEX:
        raise InputError(
            f"The pattern has {len(pattern):,} signs; at most {MOST_REGEX:,} are read.", hint="Shorten it."
        )
    import pyarrow as pa  # not loaded by a server that nobody asks this
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise InputError(f"Invalid regular expression {pattern[:80]!r}: {error}.", hint="It is read as RE2.") from None
    texts = _texts(one)

    def sieve(conn: Connection, ids: Sequence[str]) -> set[str]:
        rows = conn.execute(texts(conn, ids)).all()
        held = pc.match_substring_regex(pa.array([row[1] for row in rows], pa.string()), pattern).to_pylist()
        return {row[0] for row, fits in zip(rows, held, strict=True) if fits}

    return sieve


def _texts(one: Comparison) -> Callable[[Connection, Sequence[str]], Select[Any]]:
    """Return what asks for the ids of traces and the texts that a regular expression is about."""
    kind, key = one.entity, one.key
    if kind == "attribute" and key in ("name", "run_id"):
        kind, key = ("tag", NAME_TAG) if key == "name" else ("metadata", RUN)
    f = trace_facts.c
    if kind in ("tag", "metadata"):
        return lambda _, ids: select(f.trace_id, f.value).where(f.trace_id.in_(list(ids)), f.kind == kind, f.key == key)
    if kind == "span" and key != "content":
        return lambda conn, ids: select(s.trace_id, _span_column(conn, key)).where(s.trace_id.in_(list(ids)))
    if kind in ("feedback", "expectation"):
        return lambda _, ids: select(a.trace_id, func.trim(a.value_json, '"')).where(
            a.trace_id.in_(list(ids)), a.kind == kind, a.name == key
        )
    column, is_text = _attribute(key) if kind == "attribute" and key not in ("prompt", "text") else (t.id, False)
    if not is_text:
        raise InputError(f"Invalid comparator '{REGEX}' for {kind} {key!r}.", hint="It takes LIKE or ILIKE.")
    return lambda _, ids: select(t.id, column).where(t.id.in_(list(ids)))
