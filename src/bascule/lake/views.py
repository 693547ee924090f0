"""The catalog's records as Arrow tables, for DuckDB to query."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    LargeBinary,
    Subquery,
    select,
    text,
)
from sqlalchemy import Table as SqlTable

from bascule.catalog import Catalog, schema

ROWS_AT_ONCE = 50_000

# The catalog's tables that may be queried, by the names that SQL gives them. Tokens and settings are not among them.
RECORDS: dict[str, SqlTable | Subquery] = {
    name: getattr(schema, name)
    for name in (
        "alerts",
        "approvals",
        "audit",
        "check_results",
        "commits",
        "evaluations",
        "experiments",
        "expirations",
        "holds",
        "incidents",
        "jobs",
        "logged_models",
        "model_deletions",
        "model_versions",
        "monitor_points",
        "optimizations",
        "ref_log",
        "refs",
        "rollouts",
        "run_io",
        "runs",
        "spans",
        "step_cache",
        "trace_assessments",
        "trace_facts",
        "trace_runs",
        "traces",
        "training_sets",
        "webhook_deliveries",
    )
}


def _of_runs(table: SqlTable, *columns: Column[object]) -> Subquery:
    query = select(schema.runs.c.id.label("run_id"), schema.names.c.name.label("key"), *columns)
    query = query.join(schema.runs, schema.runs.c.number == table.c.subject)
    return query.join(schema.names, schema.names.c.number == table.c.name).subquery()


def _touched(direction: str) -> Subquery:
    i = schema.run_io.c
    return select(i.run_id, i.path, i.version, i.rows, i.bytes).where(i.direction == text(f"'{direction}'")).subquery()


_points = schema.metric_points.c
RECORDS |= {
    "inputs": _touched("in"),
    "outputs": _touched("out"),
    "metrics": _of_runs(schema.metric_points, _points.step, _points.at, _points.value, _points.is_nan),
    "params": _of_runs(schema.run_params, schema.run_params.c.value),
    "tags": _of_runs(schema.run_tags, schema.run_tags.c.value),
}

RECORDS["datasets"] = (
    select(
        schema.runs.c.id.label("run_id"),
        schema.dataset_uses.c.context,
        *(schema.datasets.c[name] for name in ("name", "digest", "source_type", "source", "schema", "profile")),
    )
    .join(schema.runs, schema.runs.c.number == schema.dataset_uses.c.subject)
    .join(schema.datasets, schema.datasets.c.id == schema.dataset_uses.c.dataset)
    .subquery()
)

_TIMES = ("at", "window_start", "window_end")


def load(catalog: Catalog, name: str) -> pa.Table:
    """Return one kind of record, whole. Times are TIMESTAMPTZ in UTC, all else is as in the catalog's schema."""
    table = RECORDS[name]
    wanted = pa.schema([pa.field(column.name, arrow_type(column)) for column in table.columns])
    with catalog.read() as conn:
        batches = list(_batches(conn, table, wanted))
    found = pa.Table.from_batches(batches, wanted)
    if "is_nan" not in found.column_names:
        return found
    values = pc.if_else(found["is_nan"], math.nan, found["value"])
    return found.set_column(found.column_names.index("value"), "value", values).drop_columns(["is_nan"])


def arrow_type(column: ColumnElement[Any]) -> pa.DataType:
    """Return the Arrow type of a catalog column. Microseconds since the epoch are times; their names say so."""
    kind = column.type
    if isinstance(kind, BigInteger):
        is_time = column.name in _TIMES or column.name.endswith("_at")
        return pa.timestamp("us", "UTC") if is_time else pa.int64()
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, Integer):
        return pa.int64()
    if isinstance(kind, Double):
        return pa.float64()
    return pa.binary() if isinstance(kind, LargeBinary) else pa.string()


def _batches(conn: Connection, table: SqlTable | Subquery, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    # The driver's own rows: with 50 metrics of 100,000 runs, making SQLAlchemy's of them would cost most of the time.
    result = conn.exec_driver_sql(str(select(table).compile(conn.engine)))
    cursor = result.cursor
    assert cursor is not None
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        columns = [
            _array(list(values), field.type) for values, field in zip(zip(*rows, strict=True), wanted, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=wanted)


def _array(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):  # SQLite keeps 0 and 1
        values = [None if value is None else bool(value) for value in values]
    return pa.array(values, kind)
