"""What the query of a streamed view may be: each event by itself. The rest needs a stream engine, and is refused."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from bascule.errors import InputError
from bascule.features.definitions import FeatureView

SPARK = (
    "That needs a stream engine: let Spark Structured Streaming compute it and append its rows to a table of this lake "
    "through the Iceberg catalog of `bascule up` (docs/streams.md), and follow or aggregate that table."
)
_SESSIONS = ("session", "session_window", "tumble", "hop", "window", "time_bucket_gapfill")


def check_rowwise(view: FeatureView, stream: str) -> None:
    """Raise `InputError` unless a view's SQL reads one stream and makes each row from one event.

    Joins, aggregates, window functions, sorting, DISTINCT, sessions and subqueries all need more than one event;
    windows and aggregates are said in the view's own settings.
    """
    where = f"[features.{view.name}] sql"
    try:
        parsed = sqlglot.parse_one(view.sql, dialect="duckdb")
    except SqlglotError as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{where}: the query is not understood: {first}", hint="Write one plain SELECT.") from None
    tables = list(parsed.find_all(exp.Table))
    if parsed.find(exp.Join) or len(tables) > 1:
        others = sorted({table.name for table in tables} - {stream})
        beside = f" with {', '.join(others)}" if others else " with itself"
        raise InputError(f"{where}: a streamed view cannot join {stream!r}{beside}.", hint=SPARK)
    calls = {_name(call) for call in parsed.find_all(exp.Func)}
    session = next((name for name in _SESSIONS if name in calls), None)
    if session is not None:
        raise InputError(f"{where}: a streamed view has no sessions or engine windows ({session}).", hint=SPARK)
    for kind, told in (
        (exp.Window, "a window function"),
        (exp.Group, "GROUP BY"),
        (exp.AggFunc, "an aggregate"),
        (exp.Distinct, "DISTINCT"),
        (exp.Order, "ORDER BY"),
        (exp.Limit, "LIMIT"),
        (exp.SetOperation, "UNION"),
        (exp.Unnest, "unnest()"),
    ):
        if parsed.find(kind):
            hint = f"Say it in windows and aggregates of [features.{view.name}], which are tiled. Otherwise: {SPARK}"
            raise InputError(f"{where}: {told} looks at more than one event.", hint=hint)
    clocks = calls & {"now", "current_timestamp", "currenttimestamp", "today", "random", "rand", "uuid", "current_date"}
    if clocks:
        raise InputError(
            f"{where}: {sorted(clocks)[0]}() gives another value each time, so a replay would not give the same.",
            hint="Take the event's own columns.",
        )


def _name(call: exp.Func) -> str:
    return call.name.lower() if isinstance(call, exp.Anonymous) else call.key.lower()
