"""Window aggregates over [t - w, t), as SQL.

Running aggregates. Time is cut into buckets as long as the view's longest window, so that a window touches at most two
of them. Each event carries the aggregates of its bucket up to and including itself, and those with the bucket before.
A window is then the difference of two events: the last one before t, and the last one before t - w. That is done with
whole numbers alone, so it is exact. `online/windows.py` does the same when serving, and with doubles where it can tell
that their digits are there.

Sums of doubles, variances, min, max, first and last are computed over a moving frame, of the window's own values: a
huge one that is gone has left nothing behind. Where there are any, the counts go with them. Percentiles, distinct
counts and several values are, too, of keys with many examples, and the most frequent values where such a key has few
different ones (`frequent.py`). Else they need the events themselves: these are joined by bucket, and aggregated as they
are. So are all when rows also say when they became known, but for counts and whole numbers of keys with many examples
(`stays.py`): which events count then depends on two times.

Values that are NaN or infinite are left out of aggregates, as nulls are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bascule.features.aggregates import ENDS, HASHES, PERCENTILES, Aggregate, value_columns
from bascule.features.columns import FLOATS, quoted
from bascule.features.components import Component, components, difference
from bascule.features.definitions import Entity, FeatureView
from bascule.features.frames import MANY, framed_sql
from bascule.features.frequent import OTHERS, frequent_sql
from bascule.features.stays import stays_sql
from bascule.features.taking import end_sql, numeric_sql, percentile_sql, taken_sql
from bascule.features.timelines import rows_sql

DENSE = 64  # examples of a key within a longest window: from so many on, frames cost less than gathering


def bucket_length(view: FeatureView) -> int:
    """The length of a bucket in µs: the longest window."""
    return max(view.lengths.values())


def events_sql(view: FeatureView, entity: Entity) -> str:
    """SQL of a window view's events: keys, `__event`, `__known` (µs), `__bucket` (its start, µs), and the values."""
    keys = ", ".join(map(quoted, entity.keys))
    values = "".join(f", {_value(column, view)}" for column in value_columns(view.parsed.values()))
    rows = rows_sql(view, entity, value_columns(view.parsed.values()))
    bucket = bucket_sql("__event", bucket_length(view))
    return f"(SELECT {keys}, __event, __known, {bucket} AS __bucket{values} FROM ({rows}))"


def bucket_sql(time: str, length: int) -> str:
    """SQL of the start of a time's bucket; times before 1970 are rounded down too."""
    return f"({time} - ({time} % {length} + {length}) % {length})"


def running_sql(view: FeatureView, entity: Entity, parts: Sequence[Component]) -> str:
    """SQL of the running aggregates, one row for each key and event time.

    Gives the keys, `__event`, `__bucket`, each component in the bucket so far, and each with the bucket before (`_2`).
    """
    keys = ", ".join(map(quoted, entity.keys))
    values = "".join(f", {quoted(column)}" for column in value_columns(view.parsed.values()))
    names = ", ".join(part.name for part in parts)
    wide = ", ".join(with_before(part) for part in parts)
    return f"""(
WITH __running AS MATERIALIZED (
  SELECT {keys}, __event, __bucket, {", ".join(f"{_running(part)} AS {part.name}" for part in parts)}
  FROM {events_sql(view, entity)}
  WINDOW __so_far AS (PARTITION BY {keys}, __bucket ORDER BY __event{values} ROWS UNBOUNDED PRECEDING)
  QUALIFY lead(__event) OVER (PARTITION BY {keys}, __bucket ORDER BY __event{values}) IS DISTINCT FROM __event
),
__before AS (
  SELECT {keys}, __bucket + {bucket_length(view)} AS __bucket, {names} FROM __running
  QUALIFY row_number() OVER (PARTITION BY {keys}, __bucket ORDER BY __event DESC) = 1
)
SELECT {keys}, __event, __bucket, {", ".join(f"r.{part.name}" for part in parts)}, {wide}
FROM __running r LEFT JOIN __before b USING ({keys}, __bucket)
)"""


def _value(column: str, view: FeatureView) -> str:
    name, known = quoted(column), view.types[column]
    if known in FLOATS:
        return f"CASE WHEN isfinite({name}) THEN {name} END AS {name}"
    return name


def _running(part: Component) -> str:
    if part.kind == "n":
        return "count(*) OVER __so_far" if part.column is None else f"count({quoted(part.column)}) OVER __so_far"
    column = quoted(str(part.column))
    if part.exact:
        return f"CAST(coalesce(sum(CAST({column} AS HUGEINT)) OVER __so_far, 0) AS BIGINT)"
    double = f"CAST({column} AS DOUBLE)"
    if part.kind == "m":
        return f"coalesce(var_pop({double}) OVER __so_far * count({column}) OVER __so_far, 0)"
    return f"coalesce(fsum({double if part.kind == 's' else f'abs({double})'}) OVER __so_far, 0)"


def with_before(part: Component) -> str:
    """SQL of a component of a bucket (`r`) with the bucket before (`b`)."""
    if part.kind != "m":
        return f"coalesce(b.{part.name}, 0) + r.{part.name} AS {part.name}_2"
    n, s = part.name.replace("m", "n", 1), part.name.replace("m", "s", 1)
    between = f"pow(b.{s} / b.{n} - r.{s} / r.{n}, 2) * b.{n} * r.{n} / (b.{n} + r.{n})"
    return (
        f"CASE WHEN coalesce(b.{n}, 0) = 0 THEN r.{part.name} WHEN r.{n} = 0 THEN b.{part.name} "
        f"ELSE b.{part.name} + r.{part.name} + {between} END AS {part.name}_2"
    )


def window_sql(view: FeatureView, entity: Entity, spine: str, few: bool = False) -> str:
    """SQL of a window view's features: `__row` and the outputs, one row for each row of the spine.

    Args:
        spine: a relation with `__row`, the entity's keys and `__at` (µs).
        few: whether a key has so few events that each example may be joined with all of them.
    """
    if view.hop_us is not None:  # a tiled window ends where its last whole tile does
        spine = f"(SELECT * REPLACE ({bucket_sql('__at', view.hop_us)} AS __at) FROM {spine})"
    aggregates = view.parsed
    if few:
        return _joined_sql(view, entity, spine, aggregates, few)
    if view.known_time is not None:
        if all(a.subtractable(view.types) for a in aggregates.values()):
            gathered = _joined_sql(view, entity, OTHERS, aggregates)
            return stays_sql(view, entity, events_sql(view, entity), spine, gathered)
        return _joined_sql(view, entity, spine, aggregates)
    cheap = {n: a for n, a in aggregates.items() if a.framed}
    told = {n: a for n, a in aggregates.items() if not a.framed}
    parts = []
    if cheap and all(a.subtractable(view.types) for a in cheap.values()):
        parts.append(_subtracted_sql(view, entity, spine))
    elif cheap:
        framed = framed_sql(view, entity, events_sql(view, entity), spine, cheap)
        parts.append(f"(SELECT * EXCLUDE ({MANY}) FROM {framed})")
    counted = {n: a for n, a in told.items() if a.function == "top_k"}
    ranked = {n: a for n, a in told.items() if n not in counted}
    if ranked:
        parts.append(_ranked_sql(view, entity, spine, ranked))
    for name, aggregate in counted.items():
        gathered = _joined_sql(view, entity, OTHERS, {name: aggregate})
        parts.append(frequent_sql(view, entity, events_sql(view, entity), spine, name, gathered))
    first, *others = parts
    if not others:
        return first
    return f"(SELECT * FROM {first}{''.join(f' JOIN {part} USING (__row)' for part in others)})"


def _subtracted_sql(view: FeatureView, entity: Entity, spine: str) -> str:
    keys = ", ".join(map(quoted, entity.keys))
    # One look-up after another: each adds only what it found, so that no join carries more than it must.
    looks = f"(SELECT __row, {keys}, __at, {bucket_sql('(__at - 1)', bucket_length(view))} AS __now FROM {spine})"
    for place, width in enumerate((0, *view.lengths.values())):
        found = ", ".join(_reach(part, bucket_length(view), f"{part.name}_at{place}") for part in components(view))
        looks = f"""(
  SELECT s.*, {found} FROM {looks} s
  ASOF LEFT JOIN __timeline r ON {_same_keys(entity, "r")} AND s.__at - {width} > r.__event
)"""
    outputs = ", ".join(
        f"{difference(aggregate, view, place)} AS {quoted(f'{name}_{window}')}"
        for name, aggregate in view.parsed.items()
        for place, window in enumerate(view.windows, 1)
        if aggregate.subtractable(view.types)
    )
    timeline = f"__timeline AS MATERIALIZED (SELECT * FROM {running_sql(view, entity, components(view))})"
    return f"(WITH {timeline} SELECT __row, {outputs} FROM {looks})"


def _same_keys(entity: Entity, side: str) -> str:
    return " AND ".join(f"s.{quoted(key)} = {side}.{quoted(key)}" for key in entity.keys)


def _reach(part: Component, length: int, name: str) -> str:
    """What a component had reached at an event, counted from the start of the bucket before the current one."""
    return (
        f"CASE WHEN r.__bucket = s.__now THEN r.{part.name}_2 "
        f"WHEN r.__bucket = s.__now - {length} THEN r.{part.name} ELSE 0 END AS {name}"
    )


def _ranked_sql(view: FeatureView, entity: Entity, spine: str, aggregates: Mapping[str, Aggregate]) -> str:
    """SQL of what needs all values of a window: over frames where many examples of a key share events, else gathered.

    Gathered, each example holds its events, which is little where a key has few examples.
    """
    keys, length = ", ".join(map(quoted, entity.keys)), bucket_length(view)
    now = bucket_sql("(__at - 1)", length)
    same, near = f"{keys}, __now", f"unnest([__now, __now - {length}]) AS __bucket"
    events = (
        f"(FROM {events_sql(view, entity)} SEMI JOIN (SELECT {keys}, {near} FROM __dense) USING ({keys}, __bucket))"
    )
    dense = f"coalesce(__now NOTNULL AND count(*) OVER (PARTITION BY {same}) >= {DENSE}, FALSE) AS __is_dense"
    return f"""(
WITH __asked AS MATERIALIZED (SELECT *, {dense} FROM (SELECT __row, {keys}, __at, {now} AS __now FROM {spine})),
__dense AS (FROM __asked WHERE __is_dense),
__found AS MATERIALIZED (FROM {framed_sql(view, entity, events, "__dense", aggregates)}),
__others AS (
  FROM __asked WHERE NOT __is_dense OR __row IN (SELECT __row FROM __found WHERE {MANY})
)
SELECT * EXCLUDE ({MANY}) FROM __found WHERE NOT {MANY}
UNION ALL BY NAME FROM {_joined_sql(view, entity, "__others", aggregates)}
)"""


def _joined_sql(
    view: FeatureView, entity: Entity, spine: str, aggregates: Mapping[str, Aggregate], few: bool = False
) -> str:
    keys, length = ", ".join(map(quoted, entity.keys)), bucket_length(view)
    outputs = ", ".join(
        f"{sql} AS {quoted(output)}"
        for name, a in aggregates.items()
        for window, width in view.lengths.items()
        for output, sql in zip(a.outputs(name, window), _direct(a, view, f"e.__event >= s.__at - {width}"), strict=True)
    )
    now = bucket_sql("(__at - 1)", length)
    buckets = "" if few else f", unnest([{now}, {now} - {length}]) AS __bucket"
    return f"""(
WITH __probe AS (SELECT __row, {keys}, __at{buckets} FROM {spine})
SELECT s.__row, {outputs}
FROM __probe s LEFT JOIN {events_sql(view, entity)} e
  ON {_same_keys(entity, "e")}{"" if few else " AND s.__bucket = e.__bucket"}
  AND e.__event < s.__at AND e.__event >= s.__at - {length} AND e.__known <= s.__at
GROUP BY s.__row
)"""


def _direct(aggregate: Aggregate, view: FeatureView, inside: str) -> list[str]:
    """SQL of what an aggregate gives over the joined events inside a window."""
    if aggregate.column is None:
        return [f"count(e.__event) FILTER ({inside})"]
    column = f"e.{quoted(aggregate.column)}"
    function = aggregate.function
    if function in ENDS:
        return end_sql(aggregate, "e.__event", column, f"FILTER ({inside})")
    if function == "top_k":
        return _most_frequent(aggregate, view, inside)
    if function == "distinct":
        return [f"count(DISTINCT {column}) FILTER ({inside})"]
    if function == "approx_distinct":
        return [_estimate(f"list(DISTINCT {taken_sql(aggregate, view, 'e.')}) FILTER ({inside} AND {column} NOTNULL)")]
    if function in PERCENTILES:
        taken = f"CAST({taken_sql(aggregate, view, 'e.')} AS DOUBLE)"
        values = f"list_sort(list({taken}) FILTER ({inside} AND {column} NOTNULL))"
        return [percentile_sql(aggregate, f"len({values})", f"{values}[{{}}]")]
    return [numeric_sql(aggregate, view, column, f"FILTER ({inside})")]


def _most_frequent(aggregate: Aggregate, view: FeatureView, inside: str) -> list[str]:
    counted = f"map_entries(histogram({taken_sql(aggregate, view, 'e.')}) FILTER ({inside}))"
    ordered = f"list_sort(list_transform({counted}, lambda o: {{'n': -CAST(o.value AS BIGINT), 'v': o.key}}))"
    return [f"({ordered})[{place}].v" for place in range(1, aggregate.several + 1)]


def _estimate(hashes: str) -> str:
    """SQL of how many different values there are, from the smallest of their hashes: up to so many it is exact."""
    found = f"coalesce({hashes}, [])"
    share = f"(CAST(list_sort({found})[{HASHES}] AS DOUBLE) / {2.0**64!r})"
    return (
        f"CASE WHEN len({found}) < {HASHES} THEN len({found}) "
        f"ELSE CAST(floor({HASHES - 1} / {share} + 0.5) AS BIGINT) END"
    )
