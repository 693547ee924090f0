"""Window aggregates over [t - w, t), as SQL.

Running aggregates. Time is cut into buckets as long as the view's longest window, so that a window touches at most two
of them. Each event carries the aggregates of its bucket up to and including itself, and those with the bucket before.
A window is then the difference of two events: the last one before t, and the last one before t - w. Sums stay small
(a bucket's, not a lifetime's), so little is lost when they are subtracted; integers are exact. `online/reading.py` does
the same arithmetic when serving.

min, max, first and last cannot be subtracted: they are computed over a moving frame. The others (percentiles, distinct
counts, several values) need the events themselves: these are joined by bucket, and aggregated as they are. So are all
when rows also say when they became known: which events count then depends on two times.

Values that are NaN or infinite are left out of aggregates, as nulls are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bascule.features.aggregates import ENDS, GROWTH, HASHES, PERCENTILES, Aggregate, value_columns
from bascule.features.columns import FLOATS, INTEGERS, family, microseconds, quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.timelines import rows_sql


class Component(NamedTuple):
    """One running number: rows (`n`), values (`n`), their sum (`s`) or their squared deviations from the mean (`m`).

    Attributes:
        kind: n, s or m.
        column: the view's column; None for rows.
        exact: whether it is an integer.
    """

    kind: str
    column: str | None
    exact: bool
    name: str


def components(view: FeatureView) -> tuple[Component, ...]:
    """The running numbers that a bound view's subtractable aggregates need, in the order in which they are stored."""
    wanted = [a for a in view.parsed.values() if a.subtractable]
    found: list[Component] = []
    if any(a.column is None for a in wanted):
        found.append(Component("n", None, True, "__n"))
    for place, column in enumerate(value_columns(wanted)):
        functions = {a.function for a in wanted if a.column == column}
        found.append(Component("n", column, True, f"__n{place}"))
        if functions - {"count"}:
            found.append(Component("s", column, view.types[column] not in FLOATS, f"__s{place}"))
        if functions & {"variance", "stddev"}:
            found.append(Component("m", column, False, f"__m{place}"))
    return tuple(found)


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


def running_sql(view: FeatureView, entity: Entity) -> str:
    """SQL of the running aggregates, one row for each key and event time.

    Gives the keys, `__event`, `__bucket`, each component in the bucket so far, and each with the bucket before (`_2`).
    """
    keys = ", ".join(map(quoted, entity.keys))
    parts = components(view)
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
    if part.kind == "m":
        return f"coalesce(var_pop(CAST({column} AS DOUBLE)) OVER __so_far * count({column}) OVER __so_far, 0)"
    if part.exact:
        return f"CAST(coalesce(sum(CAST({column} AS HUGEINT)) OVER __so_far, 0) AS BIGINT)"
    # Compensated, so that the sum does not depend on how the engine cuts the rows into pieces.
    return f"coalesce(fsum(CAST({column} AS DOUBLE)) OVER __so_far, 0)"


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
    if view.known_time is not None or few:
        return _joined_sql(view, entity, spine, view.parsed, few)
    aggregates = view.parsed
    told = {n: a for n, a in aggregates.items() if not a.subtractable and not a.framed}
    parts = []
    if any(a.subtractable for a in aggregates.values()):
        parts.append(_subtracted_sql(view, entity, spine))
    if any(a.framed for a in aggregates.values()):
        parts.append(_framed_sql(view, entity, spine))
    if told:
        parts.append(_joined_sql(view, entity, spine, told))
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
        if aggregate.subtractable
    )
    timeline = f"__timeline AS MATERIALIZED (SELECT * FROM {running_sql(view, entity)})"
    return f"(WITH {timeline} SELECT __row, {outputs} FROM {looks})"


def _same_keys(entity: Entity, side: str) -> str:
    return " AND ".join(f"s.{quoted(key)} = {side}.{quoted(key)}" for key in entity.keys)


def _reach(part: Component, length: int, name: str) -> str:
    """What a component had reached at an event, counted from the start of the bucket before the current one."""
    return (
        f"CASE WHEN r.__bucket = s.__now THEN r.{part.name}_2 "
        f"WHEN r.__bucket = s.__now - {length} THEN r.{part.name} ELSE 0 END AS {name}"
    )


def difference(aggregate: Aggregate, view: FeatureView, place: int) -> str:
    """SQL of an aggregate of one window, from its components at the window's end (`_at0`) and start (`_atPLACE`)."""
    parts = {(part.kind, part.column): part for part in components(view)}

    def taken(kind: str) -> str:
        name = parts[kind, aggregate.column].name
        return f"({name}_at0 - {name}_at{place})"

    count = taken("n")
    if aggregate.function == "count":
        return f"CAST({count} AS BIGINT)"
    total = taken("s")
    if aggregate.function == "sum":
        kind = "BIGINT" if parts["s", aggregate.column].exact else "DOUBLE"
        return f"CASE WHEN {count} > 0 THEN CAST({total} AS {kind}) END"
    mean = f"CAST({total} AS DOUBLE) / {count}"
    if aggregate.function == "mean":
        return f"CASE WHEN {count} > 0 THEN {mean} END"
    n, s, m = (parts[kind, aggregate.column].name for kind in "nsm")
    gone = f"CAST({s}_at{place} AS DOUBLE) / {n}_at{place}"
    between = f"CASE WHEN {n}_at{place} > 0 THEN pow({mean} - {gone}, 2) * {count} * {n}_at{place} / {n}_at0 ELSE 0 END"
    variance = f"greatest({m}_at0 - {m}_at{place} - {between}, 0) / ({count} - 1)"
    root = f"sqrt({variance})" if aggregate.function == "stddev" else variance
    return f"CASE WHEN {count} > 1 THEN {root} END"


def _framed_sql(view: FeatureView, entity: Entity, spine: str) -> str:
    keys = ", ".join(map(quoted, entity.keys))
    extremes = {name: a for name, a in view.parsed.items() if a.framed}
    columns = value_columns(extremes.values())
    outputs = ", ".join(
        f"{_framed(a, keys, width)} AS {quoted(f'{name}_{window}')}"
        for name, a in extremes.items()
        for window, width in view.lengths.items()
    )
    return f"""(
SELECT __row, {outputs} FROM (
  SELECT {keys}, __event AS __time, NULL AS __row, {", ".join(map(quoted, columns))} FROM {events_sql(view, entity)}
  UNION ALL
  SELECT {keys}, __at, __row, {", ".join("NULL" for _ in columns)} FROM {spine}
) QUALIFY __row IS NOT NULL
)"""


def _framed(aggregate: Aggregate, keys: str, width: int) -> str:
    frame = f"OVER (PARTITION BY {keys} ORDER BY __time RANGE BETWEEN {width} PRECEDING AND 1 PRECEDING)"
    column = quoted(str(aggregate.column))
    if aggregate.function not in ENDS:
        return f"{aggregate.function}({column}) {frame}"
    return f"struct_extract({_end(aggregate)}({_placed('__time', column)}) {frame}, 'v')"


def _end(aggregate: Aggregate) -> str:
    return "max" if aggregate.function == "last" else "min"


def _placed(time: str, column: str) -> str:
    """A value with its time, by which it is compared, then by itself; null where there is no value."""
    return f"CASE WHEN {column} IS NOT NULL THEN {{'t': {time}, 'v': {column}}} END"


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
        found = f"{_end(aggregate)}({_placed('e.__event', column)}, {aggregate.several or 1}) FILTER ({inside})"
        return [f"({found})[{place}].v" for place in range(1, max(aggregate.several, 1) + 1)]
    if function == "top_k":
        return _most_frequent(aggregate, view, inside)
    if function == "distinct":
        return [f"count(DISTINCT {column}) FILTER ({inside})"]
    if function == "approx_distinct":
        return [_estimate(f"list(DISTINCT {taken_sql(aggregate, view, 'e.')}) FILTER ({inside} AND {column} NOTNULL)")]
    if function in PERCENTILES:
        taken = f"CAST({taken_sql(aggregate, view, 'e.')} AS DOUBLE)"
        values = f"list_sort(list({taken}) FILTER ({inside} AND {column} NOTNULL))"
        return [_between(values, aggregate.share) if function == "percentile" else _nearest(values, aggregate.share)]
    return [_numeric(aggregate, view, column, inside)]


def taken_sql(aggregate: Aggregate, view: FeatureView, source: str = "") -> str:
    """SQL of what an aggregate takes of its column: offline and online the same, and computed here alone."""
    column = f"{source}{quoted(str(aggregate.column))}"
    floating = view.types[str(aggregate.column)] in FLOATS
    if floating and aggregate.taken in ("plain", "hash"):
        column = f"CASE WHEN {column} = 0 THEN 0.0 ELSE {column} END"  # 0.0 and -0.0 are one value
    if aggregate.taken == "hash":
        known = view.types[str(aggregate.column)]
        # A moment's text depends on the session's time zone.
        text = microseconds(column, known) if family(known) == "time" else column
        return f"md5_number_upper(CAST({text} AS VARCHAR))"
    if aggregate.taken != "round":
        return column
    number = f"CAST({column} AS DOUBLE)"
    grown = f"pow({GROWTH}, ceil(ln(abs({number})) / ln({GROWTH}))) * {2 / (1 + GROWTH)!r}"
    return f"CASE WHEN {number} = 0 THEN 0.0 ELSE sign({number}) * {grown} END"


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


def _between(values: str, share: float) -> str:
    place = f"((len({values}) - 1) * CAST({share!r} AS DOUBLE))"
    low = f"{values}[CAST(floor({place}) AS BIGINT) + 1]"
    high = f"{values}[CAST(ceil({place}) AS BIGINT) + 1]"
    return f"{low} + ({high} - {low}) * ({place} - floor({place}))"


def _nearest(values: str, share: float) -> str:
    return f"{values}[greatest(CAST(ceil(len({values}) * CAST({share!r} AS DOUBLE)) AS BIGINT), 1)]"


def _numeric(aggregate: Aggregate, view: FeatureView, column: str, inside: str) -> str:
    exact = view.types[str(aggregate.column)] in (*INTEGERS, "BOOLEAN")
    total = f"sum(CAST({column} AS HUGEINT))" if exact else f"fsum(CAST({column} AS DOUBLE))"
    if aggregate.function == "count":
        return f"count({column}) FILTER ({inside})"
    if aggregate.function == "sum":
        return f"CAST({total} FILTER ({inside}) AS {'BIGINT' if exact else 'DOUBLE'})"
    if aggregate.function == "mean":
        return f"CAST({total} FILTER ({inside}) AS DOUBLE) / nullif(count({column}) FILTER ({inside}), 0)"
    if aggregate.subtractable:
        name = "var_samp" if aggregate.function == "variance" else "stddev_samp"
        return f"{name}(CAST({column} AS DOUBLE)) FILTER ({inside})"
    return f"{aggregate.function}({column}) FILTER ({inside})"
