"""Few examples among many events: only the rows near an example are sorted and looked through for ties.

Time is cut into cells, so long that a key has a few rows in each. An example looks at its own cell and the one before:
they hold every row since the earlier one began, so if the newest of them that counts is there at all, it is the answer.
Examples that find none there (keys with few rows, or gaps) look at all rows of their keys. No length of a cell changes
an answer, only what it costs. `joins.py` in benchmarks/ holds what it gains.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from bascule.features.columns import body, quoted, since
from bascule.features.definitions import Entity, FeatureSet, FeatureView
from bascule.features.timelines import rows_sql, timeline_sql

MANY_ROWS = 200_000  # with fewer rows, sorting them all costs less than choosing among them
ROWS_AN_EXAMPLE = 16  # from as many rows for each example on, most rows are near none
ROWS_A_CELL = 4
# What only reads: a count costs little beside the join, and reading twice gives the same rows.
_PLAIN = {"READ_PARQUET", "SEQ_SCAN", "COLUMN_DATA_SCAN", "DUMMY_SCAN", "PROJECTION", "FILTER", "UNGROUPED_AGGREGATE"}


def example_count(connection: duckdb.DuckDBPyConnection, spine_sql: str) -> int | None:
    """Return how many examples a query gives; None where it takes more than reading tables and Parquet files."""
    return row_count(connection, spine_sql)


def cell_lengths(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, asked: int | None) -> dict[str, int]:
    """Return the length of a cell in µs for each view of which few rows can matter, by the view's name.

    Views of tables and Parquet files are counted; what has to be computed, streamed or checked value by value is not.

    Args:
        asked: how many examples there are; None: it is not known, and no view has cells.
    """
    if asked is None:
        return {}
    # An error() tells a value that is refused: it must be met wherever it stands.
    views = [v for v in feature_set.views if v.event_time is not None and not v.windows and "error(" not in v.sql]
    many = []
    for view in views:
        rows = row_count(connection, view.sql)
        if rows is not None and rows >= MANY_ROWS:
            many.append((view, rows))
    few = [view for view, rows in many if rows >= ROWS_AN_EXAMPLE * asked]
    return {view.name: _length(connection, view, feature_set.entity(view)) for view in few}


def row_count(connection: duckdb.DuckDBPyConnection, sql: str) -> int | None:
    """Return the number of rows; None where it takes more than reading. Files and tables know theirs unread."""
    counted = f"SELECT count(*) FROM (\n{body(sql)}\n)"
    return int(connection.execute(counted).fetchall()[0][0]) if _plain(connection, counted) else None


def _length(connection: duckdb.DuckDBPyConnection, view: FeatureView, entity: Entity) -> int:
    keys = ", ".join(map(quoted, entity.keys))
    rows, span, known = connection.execute(
        "SELECT count(*), max(__event) - min(__event), approx_count_distinct(hash("
        f"{keys})) FROM ({rows_sql(view, entity, ())})"
    ).fetchall()[0]
    return max(1, ROWS_A_CELL * span * known // rows) if rows else 1


def _plain(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    waiting: list[dict[str, Any]] = json.loads(connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()[0][1])
    while waiting:
        node = waiting.pop()
        if node["name"].strip() not in _PLAIN:
            return False
        waiting.extend(node.get("children", ()))
    return True


def near_sql(view: FeatureView, entity: Entity, spine: str, cell: int) -> str:
    """SQL of each example's row of a view with an event time: `__row`, `__at`, `__event` and the fields.

    Args:
        spine: examples, with keys, `__row` and `__at` (µs).
        cell: the length of a cell, µs.
    """
    keys = ", ".join(map(quoted, entity.keys))
    asked = ", ".join(f"s.{quoted(key)}" for key in entity.keys)
    fields = ", ".join(f"v.{quoted(field)}" for field in view.fields)
    same = " AND ".join(f"s.{quoted(key)} = v.{quoted(key)}" for key in entity.keys)
    rows = f"({rows_sql(view, entity, view.fields)}) v"
    near = f"SELECT v.* FROM {rows} SEMI JOIN __cells s ON {same} AND v.__event // {cell} = s.__cell"
    far = f"SELECT v.* FROM {rows} SEMI JOIN __rest s ON {same}"
    # Division cuts towards 0: the cell around 0 is twice as long and begins earlier, which only lets more rows in.
    begins = f"(s.__at // {cell} - 1) * {cell}"
    settled = f"coalesce(v.__event >= {begins}, FALSE)"
    if view.ttl_us is not None:
        settled = f"({settled} OR {since('s.__at', view.ttl_us)} >= {begins})"
    asof = f"{same} AND s.__at >= v.__from"
    return f"""(
WITH __cells AS MATERIALIZED (
  SELECT {keys}, __at // {cell} AS __cell FROM {spine} UNION SELECT {keys}, __at // {cell} - 1 FROM {spine}
),
__near AS MATERIALIZED (
  SELECT s.__row, s.__at, {asked}, v.__event, {fields}, {settled} AS __settled
  FROM {spine} s ASOF LEFT JOIN {timeline_sql(view, entity, near)} v ON {asof}
),
__rest AS MATERIALIZED (SELECT __row, __at, {keys} FROM __near WHERE NOT __settled)
SELECT v.__row, v.__at, v.__event, {fields} FROM __near v WHERE __settled IS DISTINCT FROM FALSE
UNION ALL
SELECT s.__row, s.__at, v.__event, {fields} FROM __rest s ASOF LEFT JOIN {timeline_sql(view, entity, far)} v ON {asof}
)"""
