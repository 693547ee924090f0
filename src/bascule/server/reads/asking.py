"""SQL over the lake and the records, bounded in rows and in time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import msgspec

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake.engine import message
from bascule.project.querying import session

ROWS = 10_000
SECONDS = 30


class Answer(msgspec.Struct, frozen=True):
    """What a query returned. `more` when there were more rows than were asked for."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    more: bool

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(
    ws: Workspace,
    sql: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    ref: str = "main",
    rows: int = ROWS,
    seconds: float = SECONDS,
) -> Answer:
    """Run one query that only reads.

    Args:
        rows: most rows to return.
        seconds: the query is ended after this time.

    Raises:
        InputError: the query is wrong, would write, or took too long.
        NotFound: it names a table that there is not.
    """
    with session(ws, ref) as opened:
        timer = threading.Timer(seconds, opened.connection.interrupt)
        timer.start()
        try:
            relation = opened.sql(sql, params)
            # Through Arrow, because DuckDB's own rows need another package for times with a zone.
            found = relation.limit(rows + 1).to_arrow_table()
        except duckdb.InterruptException as error:
            raise InputError(
                f"The query took more than {seconds:g} s and was ended.", hint="Ask for less, or use: bascule sql"
            ) from error
        except duckdb.Error as error:
            raise InputError(f"This SQL cannot run: {message(error)}") from error
        finally:
            timer.cancel()
        types = [str(kind) for kind in relation.types]
        columns = [column.to_pylist() for column in found.slice(0, rows).columns]
        values = [list(row) for row in zip(*columns, strict=True)]
        return Answer(list(relation.columns), types, values, found.num_rows > rows)
