"""Windows over frames that move along a key's events and examples together: what enters and leaves them is counted.

A frame costs each event and each example about the same, however many events a window has. Sums, means, variances and
extremes move along; for percentiles and distinct counts the engine keeps what it needs in trees over the key's rows,
which costs a hundred times as much, so they are worth it where many examples share many events.
"""

from __future__ import annotations

from collections.abc import Mapping

from bascule.features.aggregates import ENDS, HASHES, PERCENTILES, Aggregate, value_columns
from bascule.features.columns import quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.taking import end_sql, numeric_sql, percentile_sql, taken_sql

MANY = "__many"


def framed_sql(view: FeatureView, entity: Entity, events: str, spine: str, aggregates: Mapping[str, Aggregate]) -> str:
    """SQL of `__row`, some aggregates over all windows, and `__many`.

    Args:
        events: a relation with the keys, `__event` (µs) and the columns that the aggregates read.
        spine: a relation with `__row`, the keys and `__at` (µs).
        aggregates: any but `top_k`. `__many` says where an approximate distinct count is beyond what is exact, and so
            is none.
    """
    keys, columns = ", ".join(map(quoted, entity.keys)), value_columns(aggregates.values())
    values, none = "".join(f", {quoted(column)}" for column in columns), ", NULL" * len(columns)
    outputs = "".join(
        f", {sql} AS {quoted(output)}"
        for name, a in aggregates.items()
        for window in view.lengths
        for output, sql in zip(a.outputs(name, window), _framed(a, view, keys, window), strict=True)
    )
    estimated = [name for name, a in aggregates.items() if a.function == "approx_distinct"]
    most = ", ".join(quoted(f"{name}_{window}") for name in estimated for window in view.lengths)
    return f"""(
SELECT *, {f"greatest({most}) >= {HASHES}" if most else "FALSE"} AS {MANY} FROM (
  SELECT __row{outputs} FROM (
    SELECT *{_counts(view, keys, aggregates)} FROM (
      SELECT {keys}, __event AS __time, NULL AS __row, TRUE AS __is_event{values} FROM {events}
      UNION ALL
      SELECT {keys}, __at, __row, NULL{none} FROM {spine}
    )
  ) QUALIFY __row IS NOT NULL
))"""


def _frame(keys: str, view: FeatureView, window: str) -> str:
    width = view.lengths[window]
    return f"OVER (PARTITION BY {keys} ORDER BY __time RANGE BETWEEN {width} PRECEDING AND 1 PRECEDING)"


def _counts(view: FeatureView, keys: str, aggregates: Mapping[str, Aggregate]) -> str:
    """SQL of how many values each window has of the columns whose percentiles are asked for."""
    columns = value_columns(a for a in aggregates.values() if a.function in PERCENTILES)
    return "".join(
        f", count({quoted(column)}) {_frame(keys, view, window)} AS {_count(column, window)}"
        for column in columns
        for window in view.lengths
    )


def _count(column: str, window: str) -> str:
    return quoted(f"__count_{window}_{column}")


def _framed(aggregate: Aggregate, view: FeatureView, keys: str, window: str) -> list[str]:
    frame = _frame(keys, view, window)
    if aggregate.column is None:
        return [f"count(__is_event) {frame}"]
    column, function = quoted(aggregate.column), aggregate.function
    if function in ENDS:
        return end_sql(aggregate, "__time", column, frame)
    if function in ("distinct", "approx_distinct"):
        taken = (
            column if function == "distinct" else f"CASE WHEN {column} NOTNULL THEN {taken_sql(aggregate, view)} END"
        )
        return [f"count(DISTINCT {taken}) {frame}"]
    if function in PERCENTILES:
        taken = f"CAST({taken_sql(aggregate, view)} AS DOUBLE)"
        nth = f"nth_value({taken}, {{}} ORDER BY {taken} NULLS LAST) {frame}"
        return [percentile_sql(aggregate, _count(aggregate.column, window), nth)]
    return [numeric_sql(aggregate, view, column, frame)]
