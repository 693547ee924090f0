"""Points of metrics: each kept once, and of each metric the latest.

The latest point is the one with the greatest (step, time, value), not the last that was written; so points may arrive
late, twice or from several processes, and everyone reads the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from bascule.catalog import upsert
from bascule.catalog.schema import metric_contexts

_POINT = (
    "INSERT INTO metric_points (subject, name, at, step, value, is_nan, context) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_LATEST = (
    "INSERT INTO latest_metrics (subject, name, at, step, value, is_nan, context) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (subject, name) DO UPDATE SET at = excluded.at, step = excluded.step, value = excluded.value, "
    "is_nan = excluded.is_nan, context = excluded.context "
    "WHERE (excluded.step, excluded.at, excluded.value) > "
    "(latest_metrics.step, latest_metrics.at, latest_metrics.value)"
)


class Point(NamedTuple):
    """One point of a metric.

    Attributes:
        at: microseconds since 1970 UTC.
        context: the number of what it was measured on; 0 for nothing.
    """

    name: str
    value: float
    at: int
    step: int = 0
    context: int = 0


class Context(NamedTuple):
    """What a metric was measured on.

    Attributes:
        other_id: the logged model, for a run's point; the run, for a logged model's.
    """

    other_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


def add_points(conn: Connection, subject: int, points: Iterable[Point], numbers: Mapping[str, int]) -> None:
    """Keep points of a subject; those that are there already stay as they are."""
    rows = []
    latest: dict[int, tuple[tuple[int, int, float], tuple[object, ...]]] = {}
    for name, value, at, step, context in points:
        nan = math.isnan(value)
        kept = 0.0 if nan else value
        number = numbers[name]
        row = (subject, number, at, step, kept, nan, context)
        rows.append(row)
        rank = (step, at, kept)
        if number not in latest or rank > latest[number][0]:
            latest[number] = (rank, row)
    if rows:
        conn.exec_driver_sql(dialect(conn, _POINT), rows)
        conn.exec_driver_sql(dialect(conn, _LATEST), [row for _, row in latest.values()])


def context_numbers(conn: Connection, wanted: set[Context]) -> dict[Context, int]:
    """Return the numbers of contexts; new ones get theirs. The empty one is 0."""
    found = {Context(): 0}
    columns = metric_contexts.c
    for one in wanted - found.keys():
        conn.execute(upsert(conn, metric_contexts).values(**one._asdict()).on_conflict_do_nothing())
        query = select(columns.number).where(
            columns.other_id == one.other_id,
            columns.dataset_name == one.dataset_name,
            columns.dataset_digest == one.dataset_digest,
        )
        found[one] = conn.execute(query).scalar_one()
    return found


def dialect(conn: Connection, sql: str) -> str:
    """Return a statement with the marks for values that the database's driver knows."""
    return sql.replace("?", "%s") if conn.dialect.name == "postgresql" else sql


def value_of(value: float, is_nan: bool) -> float:
    """Return the value that a row stands for."""
    return math.nan if is_nan else value
