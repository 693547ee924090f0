"""Tables: the list, and one with its columns, checks, rows and versions."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from starlette.responses import Response

from bascule.server.reads import tables
from bascule.server.routes import Call, Route
from bascule.web.charts import Line, chart
from bascule.web.pages.common import View
from bascule.web.render import page


class RowsView(msgspec.Struct, frozen=True):
    """Between which states to compare a table's rows."""

    before: str
    after: str
    ref: str = "main"


def list_tables(call: Call[View, None]) -> Response:
    """The tables of a state."""
    return page(call, "data.html", tables=tables.list_tables(call.workspace, call.query.ref))


def one_table(call: Call[View, None]) -> Response:
    """A table with its columns, last checks, some rows, its contract and its versions."""
    ref, name = call.query.ref, call.path["table"]
    found = tables.get_table(call.workspace, ref, name)
    counted = [(version.commit.created_at, version.rows) for version in reversed(found.versions)]
    growth = chart("Rows", [Line("rows", [at for at, _ in counted], [rows for _, rows in counted])], from_zero=True)
    return page(
        call,
        "table.html",
        found=found,
        table=found.table,
        sample=tables.sample(call.workspace, ref, name),
        growth=growth if len(counted) > 1 else None,
        steps=_steps(found.versions),
    )


def rows(call: Call[RowsView, None]) -> Response:
    """Which rows and columns differ in a table between two states."""
    query, name = call.query, call.path["table"]
    found = tables.rows_between(call.workspace, query.before, query.after, name)
    columns = list(dict.fromkeys(key for change in found.sample for key in (change.after or change.before or {})))
    return page(
        call, "rows.html", name=name, found=found, before=query.before, after=query.after, columns=columns
    )


def _steps(versions: list[tables.TableVersion]) -> list[tuple[tables.TableVersion, int | None]]:
    """Each version with the rows that it added to the one before."""
    gained = [
        new.rows - old.rows if new.rows is not None and old.rows is not None else None
        for new, old in pairwise(versions)
    ]
    last = [versions[-1].rows] if versions else []
    return list(zip(versions, [*gained, *last], strict=True))


ROUTES = [
    Route("GET", "/data", list_tables, "read", page=True),
    Route("GET", "/data/{table}", one_table, "read", page=True),
    Route("GET", "/data/{table}/rows", rows, "read", page=True),
]
