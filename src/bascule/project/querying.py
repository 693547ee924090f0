"""SQL over everything: the lake at any state, the records, and the answers that are still in the workers' logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import duckdb

from bascule.errors import BasculeError, NotFound
from bascule.history import Workspace
from bascule.lake import Session, cells, engine, quarantined
from bascule.lake.masking import ADMIN
from bascule.lake.session import Extra
from bascule.seeing import seeing_as
from bascule.serving.log import TABLES, unmoved

MAIN = "main"
READING = ("reader", "writer", "deployer")  # the roles that a contract may mask columns for
Row = dict[str, Any]
_ASKS = re.compile(r"\bpredict(_label)?\s*\(", re.IGNORECASE)


def seen_as(role: str | None) -> AbstractContextManager[None]:
    """Let what is read be read as the role that is named, else as the one that is set already.

    Raises:
        NotFound: there is no such role.
    """
    if role is None:
        return nullcontext()
    if role not in (*READING, ADMIN):
        raise NotFound("role", role, [*READING, ADMIN])
    return seeing_as(role)


@contextmanager
def session(workspace: Workspace, ref: str = MAIN, sql: str = "") -> Iterator[Session]:
    """Open a session that sees the record tables whole: what is in the lake and what is still in log segments.

    Args:
        sql: what will be asked; when it names `predict`, models are functions in it.
    """
    extra: dict[str, Extra] = {name: partial(unmoved, workspace, name) for name in TABLES}
    extra[quarantined.NAME] = quarantined.SCHEMA.empty_table  # so that it is there before its first row
    with Session(workspace, ref, extra=extra) as opened:
        if not _ASKS.search(sql):
            yield opened
            return
        from bascule.project.sqlmodels import teach  # it loads the engines

        asked = teach(opened)
        try:
            yield opened
        except BasculeError:
            if asked.failure is not None:  # what the engine says is about its own inside
                raise asked.failure from None
            raise
        finally:
            asked.forget()


@contextmanager
def logged(workspace: Workspace, queries: Iterable[str] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection in which `predictions` and `ground_truth` are relations, as they are now.

    Args:
        queries: what will be asked beside them: the tables and records that these name are relations, too. One that
            cannot run is told when it is asked.
    """
    with session(workspace) as opened:
        for query in queries:
            with suppress(BasculeError):
                opened.sql(query)
        for name in TABLES:
            opened.sql(f"SELECT * FROM records.{name} LIMIT 0")
            opened.connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM records.{name}")
        yield opened.connection


def query(
    workspace: Workspace, sql: str, params: Sequence[Any] | None = None, ref: str = MAIN, role: str | None = None
) -> list[Row]:
    """Return the rows of a query as dicts.

    Args:
        role: read as this role does, with its masks on.

    Raises:
        InputError, NotFound: as `Session.sql`.
    """
    with seen_as(role), session(workspace, ref, sql) as opened:
        return cells.rows(opened.arrow(sql, params))


def ask(
    workspace: Workspace, sql: str, ref: str, limit: int, role: str | None = None
) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Return the columns and the first rows of a query, and whether there are more; read as a role, if one is given."""
    with seen_as(role), session(workspace, ref, sql) as opened:
        found = opened.sql(sql)
        with engine.told("This SQL cannot run"):
            table = found.limit(limit + 1).to_arrow_table()
    rows = list(zip(*map(cells.values, table.slice(0, limit).columns), strict=True))
    return table.column_names, rows, table.num_rows > limit
