"""The profiles that `init` writes: pages of the tables that it has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import duckdb

from bascule.contracts.sql import quoted
from bascule.profiles import Source
from bascule.project.init.label import Label
from bascule.project.init.tables import Table
from bascule.project.profiling.looking import look
from bascule.project.profiling.page import html

PROFILES = "profiles"


def pages(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], label: Label | None) -> dict[str, str]:
    """Return a page for each table of a connection, by the file that it goes to.

    Args:
        tables: loaded under their names, with their keys and times.
        label: what is learned from one of them, if anything is.
    """
    catalog = connection.execute("SELECT current_catalog()").fetchall()[0][0]
    found = {}
    for table in tables:
        # The profile works under a view of the table's name, so the table itself is called by its whole name.
        relation = f"{quoted(catalog)}.main.{quoted(table.name)}"
        source = Source(table.name, relation, table.rows, relation, "rowid").of(connection)
        asked = label.expression if label is not None and label.table.name == table.name else ""
        others = [other for other in tables if other.name != table.name]
        made = look(connection, source, key=table.key, label=asked, declared=True, others=partial(_known, others))
        connection.execute(f"DROP VIEW IF EXISTS temp.main.{quoted(table.name)}")
        found[f"{PROFILES}/{table.name}.html"] = html(made)
    return found


def _known(others: Sequence[Table], _: duckdb.DuckDBPyConnection) -> Sequence[Table]:
    return others
