"""How other tables belong to the examples: by columns with the same name, or with the same values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb

from bascule.project.init.keys import is_hinted, singulars
from bascule.project.init.sql import one_row, quoted
from bascule.project.init.tables import Column, Table

SAMPLE = 10_000
SAME_NAME = 0.3
LIKE_NAME = 0.5
OTHER_NAME = 0.9
FEWEST_VALUES = 3
MANY_NUMBERS, GAPS = 20, 4
MOST_ALIASES = 4

#: Names of people by what they do: `orders.customer` is somebody of the table `people`, `users` or `accounts`.
PEOPLE = {
    *(
        "account",
        "author",
        "buyer",
        "client",
        "contact",
        "customer",
        "driver",
        "employee",
        "guest",
        "holder",
        "manager",
    ),
    *("holder", "member", "owner", "parent", "party", "passenger", "patient", "payer", "person", "people", "player"),
    *(
        "reader",
        "recipient",
        "seller",
        "sender",
        "staff",
        "student",
        "subscriber",
        "supplier",
        "teacher",
        "user",
        "vendor",
    ),
}
#: Names of keys that say nothing about what they name.
NO_NAMES = ("id", "key", "no", "nr", "num", "number", "code", "uuid", "guid")


@dataclass(frozen=True)
class Join:
    """A table that says something about the examples.

    Attributes:
        table: the other table.
        pairs: (column of the examples, column of the other table).
        how: `reference`, one row for each entity; `state`, rows that hold from a moment on; `events`, many
            rows that are counted and averaged over windows.
        time: the moment of each row, for `state` and `events`.
        share: how many of the examples' values are found, 0 to 1; the smallest over the pairs.
    """

    table: Table
    pairs: tuple[tuple[str, str], ...]
    how: Literal["reference", "state", "events"]
    time: Column | None
    share: float

    @property
    def left(self) -> tuple[str, ...]:
        """The columns of the examples."""
        return tuple(left for left, _ in self.pairs)


@dataclass(frozen=True)
class Apart:
    """A table that was not joined, and why."""

    table: str
    reason: str


@dataclass(frozen=True)
class _Match:
    left: Column
    right: Column
    share: float
    same_name: bool


def find_joins(
    connection: duckdb.DuckDBPyConnection, examples: Table, others: Sequence[Table], usable: set[str]
) -> tuple[list[Join], list[Apart]]:
    """Find how each other table is joined to the examples.

    A column matches another when the names are equal and the values overlap at all (30 % of the examples' distinct
    values), when the name says so (`plane` or `plane_id` for `planes.id`; 50 %), or when the names differ and 90 % of
    at least three distinct texts, or of twenty whole numbers with gaps between them, are found. Only keys are matched:
    `planes.year` is no key of `planes`, so it is not joined to a column `year` of the examples.

    Args:
        usable: columns of the examples that may be joined on; what tells the answer may not.
    """
    joins: list[Join] = []
    apart: list[Apart] = []
    columns = [one for one in examples.columns if one.name in usable and not one.is_prose and not one.is_nested]
    for other in others:
        found = _joins(connection, examples, columns, other)
        joins += found
        if not found:
            apart.append(Apart(other.name, _why_not(other)))
    return joins, apart


def _joins(connection: duckdb.DuckDBPyConnection, examples: Table, columns: list[Column], other: Table) -> list[Join]:
    time = _row_time(other)
    whole_key = _assignments(connection, examples, columns, other, other.key, "reference", None)
    if time is None or (whole_key and time.name not in other.key):
        return whole_key
    rest = other.entity_key(time)
    if time.name in other.key and rest:
        return _assignments(connection, examples, columns, other, rest, "state", time)
    return _event_joins(connection, examples, columns, other, time)


def _row_time(table: Table) -> Column | None:
    """Return the time of a table's rows: the one in its key, or else its first."""
    in_key = [one for one in table.times if one.name in table.key]
    always = [one for one in table.times if one.filled == one.rows]
    return next(iter((*in_key, *always)), None)


def _assignments(
    connection: duckdb.DuckDBPyConnection,
    examples: Table,
    columns: list[Column],
    other: Table,
    key: tuple[str, ...],
    how: Literal["reference", "state", "events"],
    time: Column | None,
) -> list[Join]:
    """Return a join for each way to match a key: all ways for a key of one column, the best one for a longer key."""
    matches = [_matches(connection, examples, columns, other, other[name]) for name in key]
    if not key or not all(matches):
        return []
    ways: list[tuple[_Match, ...]]
    if len(key) == 1:
        ways = [(one,) for one in matches[0][:MOST_ALIASES]]
    else:
        different = (way for way in itertools.product(*matches) if len({one.left.name for one in way}) == len(key))
        ways = list(itertools.islice(different, 1))
    return [
        Join(other, tuple((one.left.name, one.right.name) for one in way), how, time, min(one.share for one in way))
        for way in ways
    ]


def _event_joins(
    connection: duckdb.DuckDBPyConnection, examples: Table, columns: list[Column], other: Table, time: Column
) -> list[Join]:
    """Return a join for a log of events: by the column that is named alike and names something."""
    best: list[_Match] = []
    for right in other.columns:
        if right.is_time or right.distinct >= right.rows or not (right.is_text or right.is_whole) or right.is_prose:
            continue
        found = [one for one in _matches(connection, examples, columns, other, right) if one.same_name]
        best += [one for one in found if is_hinted(one.right, other) or is_hinted(one.left, examples) or right.is_text]
    best.sort(key=lambda one: (-one.left.distinct, one.left.name))
    return [Join(other, ((one.left.name, one.right.name),), "events", time, one.share) for one in best[:1]]


def _matches(
    connection: duckdb.DuckDBPyConnection, examples: Table, columns: list[Column], other: Table, right: Column
) -> list[_Match]:
    """Return the columns of the examples that match one column, the best first."""
    found = []
    for left in columns:
        if _family(left) != _family(right):
            continue
        same, like = left.name.lower() == right.name.lower(), _named_like(left.name, right.name, other)
        if same and left.name.lower() in NO_NAMES and examples.key == (left.name,):
            continue  # each table numbers its own rows
        if not (same or like or (left.is_text and left.distinct >= FEWEST_VALUES) or _are_sparse(left, right)):
            continue
        needed = SAME_NAME if same else LIKE_NAME if like else OTHER_NAME
        share = _contained(connection, examples, left, other, right)
        if share >= needed:
            found.append(_Match(left, right, share, same or like))
    by_name = [one for one in found if one.same_name]
    return sorted(by_name or found, key=lambda one: (-one.share, examples.columns.index(one.left)))


def _are_sparse(left: Column, right: Column) -> bool:
    """Tell whether whole numbers leave so many gaps that two columns do not hold the same ones by chance."""
    if not (left.is_whole and right.is_whole) or right.low is None or right.high is None:
        return False
    return left.distinct >= MANY_NUMBERS and right.high - right.low + 1 >= GAPS * right.distinct


def _family(column: Column) -> str:
    return "time" if column.is_time else "text" if column.is_text else "whole" if column.is_whole else column.type


def _named_like(left: str, right: str, other: Table) -> bool:
    """Tell whether `left` is how one would call the column `right` of another table: `plane_id` for `planes.id`."""
    names = singulars(other.name)
    if right.lower() in NO_NAMES and names & PEOPLE:
        names = names | PEOPLE
    alike = {f"{one}_{right.lower()}" for one in names} | {f"{one}{right.lower()}" for one in names}
    return left.lower() in names | alike or left.lower().endswith(tuple(f"_{one}" for one in alike))


def _contained(
    connection: duckdb.DuckDBPyConnection, examples: Table, left: Column, other: Table, right: Column
) -> float:
    """Return the share of the examples' distinct values, at most 10,000 of them, that the other column has."""
    # Times may be typed in one file and texts in another.
    a, b = left.time_sql or quoted(left.name), right.time_sql or quoted(right.name)
    row = one_row(
        connection,
        f"with seen as (select distinct {a} as v from {examples.sql} where {a} is not null "
        f"order by hash({a}) limit {SAMPLE}) "
        f"select count(*), count(*) filter (v in (select {b} from {other.sql} where {b} is not null)) from seen",
    )
    return float(row[1] / row[0]) if row[0] else 0.0


def _why_not(other: Table) -> str:
    if not other.key:
        return "it has several rows for what the examples could be joined by, and no time to choose between them"
    return f"no column of the examples has the values of its key ({', '.join(other.key)})"
