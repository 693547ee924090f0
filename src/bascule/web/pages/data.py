"""Tables: the list, and one with its columns, checks, rows, versions and profile."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from bascule.errors import NotFound
from bascule.project.reviewing import words
from bascule.server.reads import profiles, tables
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
    )


def rows(call: Call[RowsView, None]) -> Response:
    """Which rows and columns differ in a table between two states."""
    query, name = call.query, call.path["table"]
    found = tables.rows_between(call.workspace, query.before, query.after, name)
    columns = list(dict.fromkeys(key for change in found.sample for key in (change.after or change.before or {})))
    values = [(one, *words.figures(one, found)) for one in words.telling(found)]
    return page(
        call,
        "rows.html",
        name=name,
        found=found,
        before=query.before,
        after=query.after,
        columns=columns,
        values=values,
        scope=words.scope(found),
        note=words.SHIFT_NOTE,
    )


def profile(call: Call[View, None]) -> Response:
    """What a table holds: meanings, missing values, distributions and what goes together, in a sample of its rows."""
    from bascule.project.profiling.page import body

    found = profiles.table_profile(call.workspace, call.query.ref, call.path["table"])
    return page(call, "profile.html", name=call.path["table"], found=found, body=body(found))


def checks(call: Call[View, None]) -> Response:
    """The checks of a table that were made at one time, with failing rows: also of a batch that was refused."""
    name, at = call.path["table"], call.path["at"]
    found = tables.checks_at(call.workspace, f"tables/{name}", int(at), call.query.ref) if at.isdecimal() else []
    if not found:
        raise NotFound("check", f"{name} at {at}", hint="The table's page lists its checks.")
    return page(call, "table_checks.html", name=name, at=int(at), checks=found)


ROUTES = [
    Route("GET", "/data", list_tables, "read", page=True),
    Route("GET", "/data/{table}", one_table, "read", page=True),
    Route("GET", "/data/{table}/profile", profile, "read", page=True),
    Route("GET", "/data/{table}/rows", rows, "read", page=True),
    Route("GET", "/data/{table}/checks/{at}", checks, "read", page=True),
]
