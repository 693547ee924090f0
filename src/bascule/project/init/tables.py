"""The tables of a folder as `init` sees them: types, counts, and how the columns are filled."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import duckdb

from bascule.errors import InputError
from bascule.lake import read_source
from bascule.lake.origins.local import readable_files
from bascule.lake.sources.moments import NO_DATES, Dates
from bascule.project.init.folder import FileGroup, Folder
from bascule.project.init.sql import one_row, quoted

TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S")
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
LONG_TEXT = 60
MANY_ROWS = 2_000_000
AT_ONCE = 32  # columns counted in one scan: distinct values are held in memory


@dataclass(frozen=True)
class Column:
    """One column: its DuckDB type and what a scan found.

    Attributes:
        time_sql: the expression that gives its values as moments; None when it is no time.
        parts: other columns that `time_sql` reads, such as the month beside the year.
        over_sql: for a time in whole years, the expression that gives the moment when a row's period is over.
        low, high: the least and the greatest value, for whole numbers only.
        length: the mean length of a text.
    """

    name: str
    type: str
    rows: int
    filled: int
    distinct: int
    low: int | None = None
    high: int | None = None
    length: float = 0.0
    time_sql: str | None = None
    parts: tuple[str, ...] = ()
    over_sql: str | None = None

    @property
    def is_time(self) -> bool:
        """Whether its values are moments."""
        return self.time_sql is not None

    @property
    def known_sql(self) -> str:
        """The expression that gives the moment from which a row is known: what a year brought is known after it."""
        return self.over_sql or self.time_sql or ""

    @property
    def is_text(self) -> bool:
        """Whether it holds texts that are no moments."""
        return self.type == "VARCHAR" and not self.is_time

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers that are no moments."""
        return self.type in WHOLE and not self.is_time

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.is_whole or self.type.startswith(("DOUBLE", "FLOAT", "DECIMAL"))

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value."""
        return self.distinct <= 1 and self.filled == self.rows

    @property
    def is_prose(self) -> bool:
        """Texts that people wrote, rather than names or codes."""
        return self.is_text and self.length > LONG_TEXT

    @property
    def is_nested(self) -> bool:
        """Whether its values are lists or structures."""
        return self.type.startswith(("STRUCT", "MAP", "UNION")) or self.type.endswith("]")


@dataclass(frozen=True)
class Table:
    """One table, loaded under its own name into the connection that `init` works with.

    Attributes:
        dates: in which order its days and months were read, where both look the same.
        texts: the same for columns that stay texts in the table and are read in SQL.
        assumed: what else its files left open, and how they were read, a sentence each.
    """

    name: str
    group: FileGroup
    rows: int
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    dates: Dates = NO_DATES
    texts: Dates = NO_DATES
    assumed: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The table's name as SQL."""
        return quoted(self.name)

    def __getitem__(self, name: str) -> Column:
        return next(one for one in self.columns if one.name == name)

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self.columns)

    def named(self, name: str) -> Column | None:
        """Return the column of this name, whatever its case; None when there is none."""
        return next((one for one in self.columns if one.name.lower() == name.lower()), None)

    @property
    def times(self) -> list[Column]:
        """The columns that hold moments."""
        return [one for one in self.columns if one.is_time]

    def entity_key(self, time: Column) -> tuple[str, ...]:
        """Return what names a row beside its time: the thing that the row is about at that moment."""
        return tuple(one for one in self.key if one != time.name and one not in time.parts)

    def with_key(self, key: Iterable[str]) -> Table:
        """Return the table with its key."""
        return replace(self, key=tuple(key))


def load_tables(connection: duckdb.DuckDBPyConnection, folder: Folder) -> list[Table]:
    """Load every table of a folder into the connection and describe it.

    Raises:
        InputError: a file cannot be read, or a table has no rows.
    """
    with ExitStack() as held:
        found = [held.enter_context(readable_files(folder.root / group.pattern)) for group in folder.groups]
        scans = [read_source([part.path for part in parts], connection) for parts in found]
        order = shown_order(scan.dates for scan in scans)
        tables = []
        for group, parts, scan in zip(folder.groups, found, scans, strict=True):
            if scan.dates.unsure and order:  # the other tables of the folder show what this one leaves open
                scan = read_source([part.path for part in parts], connection, dates=order)
            connection.execute(f"create table {quoted(group.name)} as select * from {scan.relation}")
            assumed = tuple(one for part in parts for one in part.assumed)
            tables.append(replace(describe(connection, group), dates=scan.dates, assumed=assumed))
    return tables


def shown_order(dates: Iterable[Dates]) -> str:
    """Return the order of day and month that the values show; empty when they show none, or both."""
    shown = {order for one in dates for name, order in one.orders.items() if name not in one.open}
    return shown.pop() if len(shown) == 1 else ""


def describe(connection: duckdb.DuckDBPyConnection, group: FileGroup) -> Table:
    """Count a loaded table: rows, and for each column values, distinct values and limits."""
    name = quoted(group.name)
    types = [(row[0], str(row[1])) for row in connection.execute(f"describe {name}").fetchall()]
    rows: int = one_row(connection, f"select count(*) from {name}")[0]
    if not rows:
        raise InputError(f"{group.pattern} has a header and no rows.", hint="Give a file with data.")
    columns: list[Column] = []
    for first in range(0, len(types), AT_ONCE):
        columns += _described(connection, name, rows, types[first : first + AT_ONCE])
    return Table(group.name, group, rows, tuple(columns))


def _described(
    connection: duckdb.DuckDBPyConnection, name: str, rows: int, types: list[tuple[str, str]]
) -> list[Column]:
    parts = []
    for column, kind in types:
        text = quoted(column)
        distinct = f"approx_count_distinct({text})" if rows > MANY_ROWS else f"count(distinct {text})"
        limits = f"min({text}), max({text})" if kind in WHOLE else "null, null"
        length = f"avg(length({text}))" if kind == "VARCHAR" else "0"
        parts.append(f"count({text}), {distinct}, {limits}, {length}")
    values = one_row(connection, f"select {', '.join(parts)} from {name}")
    found = []
    for place, (column, kind) in enumerate(types):
        filled, distinct_values, low, high, mean = values[5 * place : 5 * place + 5]
        found.append(Column(column, kind, rows, filled, distinct_values, low, high, float(mean or 0)))
    return found
