"""The rows of a view as a timeline: for each key, from when on which row is the answer.

A timeline has the key columns, `__from` (µs: from then on this row is what is known), `__event` (µs: the row's own
event time, for the time to live) and the fields. For each key, `__from` is unique: whoever looks for the newest
`__from <= t` gets exactly one row, offline by ASOF JOIN and online by one seek.

Which row is the answer at t: among rows with equal keys, none of them null, `event_time <= t` and `known_time <= t`,
the greatest by event_time, then known_time, then the fields in order (nulls lowest). The last makes ties definite on
any engine, whatever the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from bascule.features.columns import body, microseconds, quoted
from bascule.features.definitions import Entity, FeatureView

ALWAYS = -(2**62)
TIMESTAMPS = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")  # µs since 1970 in Arrow


def timeline_sql(view: FeatureView, entity: Entity, rows: str | None = None) -> str:
    """SQL of a row view's or a reference table's timeline. `view` is bound.

    Args:
        rows: SQL of some of its `rows_sql`, all columns; None: of all.
    """
    keys = ", ".join(map(quoted, entity.keys))
    fields = ", ".join(map(quoted, view.fields))
    best = f"__event DESC, __known DESC, {best_sql(view.fields)}"
    return f"""(
WITH __rows AS MATERIALIZED ({rows or rows_sql(view, entity, view.fields)}),
__tied AS MATERIALIZED (SELECT {keys}, __from FROM __rows GROUP BY ALL HAVING count(*) > 1),
__single AS (
  SELECT * FROM __rows ANTI JOIN __tied USING ({keys}, __from)
  UNION ALL
  SELECT * FROM (SELECT * FROM __rows SEMI JOIN __tied USING ({keys}, __from))
  QUALIFY row_number() OVER (PARTITION BY {keys}, __from ORDER BY {best}) = 1
)
SELECT {keys}, __from, __event, {fields} FROM __single{_newest_only(keys) if view.known_time else ""}
)"""


def best_sql(fields: Sequence[str]) -> str:
    """SQL of the order in which, of rows of one moment, the first is the answer."""
    return ", ".join(f"{quoted(field)} DESC NULLS LAST" for field in fields)


def rows_sql(view: FeatureView, entity: Entity, columns: Sequence[str], raw: bool = False) -> str:
    """SQL of a bound view's rows that can ever match: keys and times not null.

    Gives the keys, `columns` in their feature types, and in µs `__event`, `__known` and `__from`, the later of the two.

    Args:
        raw: whether `__event` may be a TIMESTAMP where that is its type, infinite ones among it: nothing is computed
            of each row. Not of a view with a known time.
    """
    keys = ", ".join(f"CAST({quoted(key)} AS {view.types[key]}) AS {quoted(key)}" for key in entity.keys)
    values = "".join(f", CAST({quoted(name)} AS {view.types[name]}) AS {quoted(name)}" for name in columns)
    event = (
        str(ALWAYS) if view.event_time is None else microseconds(quoted(view.event_time), view.types[view.event_time])
    )
    if raw and view.event_time is not None and view.types[view.event_time] in TIMESTAMPS:
        event = quoted(view.event_time)
    known = event if view.known_time is None else microseconds(quoted(view.known_time), view.types[view.known_time])
    present = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in entity.keys)
    return f"""
SELECT {keys}{values}, {event} AS __event, {known} AS __known, greatest({event}, {known}) AS __from
FROM (
{body(view.sql)}
) WHERE {present} AND {event} IS NOT NULL AND {known} IS NOT NULL"""


def _newest_only(keys: str) -> str:
    # A row that became known after a newer one is never the answer: only rows that beat all known before them stay.
    # Rows that are first known at different times differ in (event, known), so the fields need not be compared.
    return f"""
QUALIFY coalesce({{'e': __event, 'k': __known}} > max({{'e': __event, 'k': __known}}) OVER (
  PARTITION BY {keys} ORDER BY __from ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), TRUE)"""
