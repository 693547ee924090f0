"""Checks that are Python functions: what they are given, and what their answers mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from bascule.errors import BasculeError, InputError

Functions = Callable[[str], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a Python check is given: the rows that are checked, read when they are asked for.

    Attributes:
        table: the table's name.
        columns: name to SQL type.
        interrupt: ends the query that runs, from another thread.
    """

    table: str
    columns: dict[str, str]
    _answer: Callable[[str], pa.Table]
    interrupt: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, table: str, columns: dict[str, str], connection: duckdb.DuckDBPyConnection, relation: str) -> Rows:
        """The rows of a relation that a connection reads."""

        def answer(query: str) -> pa.Table:
            known = f"WITH rows AS NOT MATERIALIZED (SELECT * FROM {relation} AS t)"
            return connection.sql(f"{known} {query}").to_arrow_table()

        return cls(table, columns, answer, connection.interrupt)

    def sql(self, query: str) -> pa.Table:
        """Run a query in which `rows` is the checked rows."""
        return self._answer(query)

    def arrow(self, *columns: str) -> pa.Table:
        """All rows as an Arrow table; only some columns when they are named."""
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in columns) or "*"
        return self.sql(f"SELECT {listed} FROM rows")


@dataclass(frozen=True, slots=True)
class Said:
    """What a function said: how many rows fail, in words, and some of them."""

    failing: int
    text: str = ""
    rows: pa.Table | None = None


class Overran(InputError):
    """A check did not answer within its time and was stopped."""


def call(function: Callable[..., Any], name: str, rows: Rows) -> Said:
    """Call a check.

    Raises:
        InputError: it failed itself, or answered what means nothing.
    """
    try:
        said = function(rows)
    except BasculeError:
        raise
    except Exception as error:
        raise InputError(f"{name} failed: {type(error).__name__}: {error}") from error
    if isinstance(said, Said):
        return said
    if said is None or said is True:
        return Said(0)
    if said is False:
        return Said(1, "it does not hold")
    if isinstance(said, str) and said:
        return Said(1, said)
    if isinstance(said, pa.Table):
        return Said(said.num_rows, "", said)
    if isinstance(said, int) and said >= 0:
        return Said(said)
    raise InputError(
        f"{name} returned {type(said).__name__} {str(said)[:60]!r}; understood are None, a truth, the number of "
        "failing rows, an Arrow table of them and a sentence"
    )
