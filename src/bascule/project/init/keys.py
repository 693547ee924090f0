"""Which columns name a row: the smallest combination that is unique and is not unique by chance."""

from __future__ import annotations

import itertools
import math
import re

import duckdb

from bascule.project.init.sql import listed, one_row
from bascule.project.init.tables import Column, Table

MOST_COLUMNS = 4
MOST_CANDIDATES = 12
BLOCK = 20_000
_HINT = re.compile(
    r"(^|_)(id|uuid|guid|key|code|no|num|number|nr|index|iata|icao|faa|sku|isbn)$|[a-z](Id|ID|Key|Code|No)$"
)
_ROW_NUMBER = re.compile(
    r"(row_?(names?|num|number|no|id)?|index|level_0|x|column\d+|unnamed(:? ?\d+)?)", re.IGNORECASE
)


def find_key(connection: duckdb.DuckDBPyConnection, table: Table) -> tuple[str, ...]:
    """Return the columns that name a row of a loaded table; empty when there are none.

    Tried are columns without nulls that are no measurements and no row numbers: first alone, then in twos, threes and
    fours, those named like keys first. A combination must be unique in all rows, and it must be surprising that it is:
    had the values been drawn independently, repeats would be expected (the birthday problem: rows² / (2 ·
    combinations) of them). Otherwise any two wide columns would be a "key".
    """
    candidates = sorted(
        (one for one in table.columns if _may_be_key(one)),
        key=lambda one: (_rank(one, table), table.columns.index(one)),
    )[:MOST_CANDIDATES]
    for size in range(1, min(MOST_COLUMNS, len(candidates)) + 1):
        for columns in _combinations(candidates, size, table):
            if _is_surprising(columns, table) and _is_unique(connection, table, columns):
                ordered = sorted(columns, key=lambda one: (not one.is_time, table.columns.index(one)))
                return tuple(one.name for one in ordered)
    return ()


def is_hinted(column: Column, table: Table) -> bool:
    """Tell whether a column is named like a key: `id`, `customer_id`, `code`, or `flight` in the table `flights`."""
    name = column.name.lower()
    return bool(_HINT.search(column.name)) or name in singulars(table.name)


def singulars(name: str) -> set[str]:
    """Return what one row of a table may be called: `flights` gives `flight`, `countries` `country`."""
    lower = name.lower()
    forms = {lower, lower.removesuffix("s"), lower.removesuffix("es")}
    return forms | {lower.removesuffix("ies") + "y"} if lower.endswith("ies") else forms


def _may_be_key(column: Column) -> bool:
    return (
        column.filled == column.rows
        and column.distinct > 1
        and (column.is_text or column.is_whole or column.is_time)
        and not column.is_prose
        and not is_row_number(column)
    )


def is_row_number(column: Column) -> bool:
    """Tell whether a column only numbers the rows of its file, as tools write it: another file numbers others alike."""
    if column.low not in (0, 1) or column.high is None or column.distinct != column.rows:
        return False
    return column.high - column.low + 1 == column.rows and bool(_ROW_NUMBER.fullmatch(column.name))


def _rank(column: Column, table: Table) -> int:
    if is_hinted(column, table):
        return 0
    return 1 if column.is_text or column.is_time else 3


def _combinations(candidates: list[Column], size: int, table: Table) -> list[tuple[Column, ...]]:
    found = [
        columns
        for columns in itertools.combinations(candidates, size)
        if math.prod(one.distinct for one in columns) >= table.rows
    ]
    return sorted(
        found,
        key=lambda columns: (
            sum(_rank(one, table) for one in columns),
            sum(one.length for one in columns) if size == 1 else 0,
            sorted(table.columns.index(one) for one in columns),
        ),
    )


def _is_surprising(columns: tuple[Column, ...], table: Table) -> bool:
    if all(is_hinted(one, table) for one in columns):
        return True
    if len(columns) == 1 and not columns[0].is_whole:
        return True
    return table.rows**2 / (2 * math.prod(_values(one, alone=len(columns) == 1) for one in columns)) >= 3


def _values(column: Column, *, alone: bool) -> int:
    """Return how many values a column could take: its range when it stands alone, what was seen otherwise."""
    if alone and column.low is not None and column.high is not None:
        return column.high - column.low + 1
    return column.distinct


def _is_unique(connection: duckdb.DuckDBPyConnection, table: Table, columns: tuple[Column, ...]) -> bool:
    """Check a block of neighbouring rows first: they resemble each other, so most wrong guesses end there."""
    if len(columns) == 1:
        return columns[0].distinct == table.rows or _has_no_repeat(connection, table.sql, columns)
    block = f"(select * from {table.sql} limit {BLOCK})"
    return _has_no_repeat(connection, block, columns) and (
        table.rows <= BLOCK or _has_no_repeat(connection, table.sql, columns)
    )


def _has_no_repeat(connection: duckdb.DuckDBPyConnection, relation: str, columns: tuple[Column, ...]) -> bool:
    names = listed(one.name for one in columns)
    query = f"select 1 from {relation} group by {names} having count(*) > 1 limit 1"
    return not connection.execute(query).fetchall()


def copies(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    """Return how many rows are exact copies of another."""
    different = one_row(connection, f"select count(*) from (select distinct * from {table.sql})")[0]
    return table.rows - int(different)
