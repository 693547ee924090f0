"""INSERT that says what to do about a row that is there: each database has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def upsert(conn: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT into a table with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    # Only the dialect that is in use: importing the other one would cost every command a tenth of a second.
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
