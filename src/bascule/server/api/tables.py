"""Tables and SQL over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bascule.lake import TableDiff
from bascule.server.api.history import BASE, RefQuery
from bascule.server.reads import tables
from bascule.server.reads.asking import Answer, ask
from bascule.server.routes import Call, Route


class RowsQuery(msgspec.Struct, frozen=True):
    """How many rows of which state."""

    ref: str = "main"
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class TableDiffQuery(msgspec.Struct, frozen=True):
    """Between which states, how many rows of each kind to show, and whether to read all rows for columns' figures."""

    after: str
    before: str = "main"
    limit: Annotated[int, msgspec.Meta(ge=0, le=1000)] = tables.DIFF_ROWS
    whole: bool | None = None


class Sql(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query that only reads. `params` fill its `?` (a list) or `$name` (an object)."""

    sql: str
    ref: str = "main"
    params: list[Any] | dict[str, Any] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


def list_tables(call: Call[RefQuery, None]) -> list[tables.TableInfo]:
    """The tables of a state."""
    return tables.list_tables(call.workspace, call.query.ref)


def one_table(call: Call[RefQuery, None]) -> tables.TableDetail:
    """A table with its columns, contract, last checks and versions."""
    return tables.get_table(call.workspace, call.query.ref, call.path["table"])


def rows(call: Call[RowsQuery, None]) -> Answer:
    """Rows of a table, as they lie in its files."""
    return tables.sample(call.workspace, call.query.ref, call.path["table"], call.query.limit)


def diff(call: Call[TableDiffQuery, None]) -> TableDiff:
    """What columns, rows and values differ in a table between two states."""
    query = call.query
    return tables.rows_between(
        call.workspace, query.before, query.after, call.path["table"], query.limit, whole=query.whole
    )


def sql(call: Call[None, Sql]) -> Answer:
    """Answer one SQL query over tables at any ref and over the records. It cannot write."""
    most = call.settings.sql_rows
    return ask(
        call.workspace,
        call.body.sql,
        call.body.params,
        ref=call.body.ref,
        rows=min(call.body.limit or most, most),
        seconds=call.settings.sql_seconds,
    )


ROUTES = [
    Route("GET", f"{BASE}/tables", list_tables, "read"),
    Route("GET", f"{BASE}/tables/{{table}}", one_table, "read"),
    Route("GET", f"{BASE}/tables/{{table}}/rows", rows, "read"),
    Route("GET", f"{BASE}/tables/{{table}}/diff", diff, "read"),
    Route("POST", f"{BASE}/sql", sql, "read"),
]
