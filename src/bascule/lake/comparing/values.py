"""What happened to the values of each column: in the rows that differ, and in the whole table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
from numpy.typing import NDArray

from bascule.lake.comparing import profiles, shift
from bascule.lake.comparing.matching import DIFFERING
from bascule.lake.comparing.profiles import Profile, scale
from bascule.lake.comparing.schemas import Column
from bascule.lake.comparing.shift import Shift

# Quantiles and shifts are taken from about so many rows of each side, drawn by a hash: exact below, within 0.01 above.
SAMPLE = 50_000
HASHES = 2**64

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Sides:
    """A column's values before and after, in some rows.

    Attributes:
        shift: None when a side has no value to compare, or nobody looked.
        exact: whether quantiles and shift were taken from all rows, and not from about 50,000 of each side.
    """

    before: Profile
    after: Profile
    shift: Shift | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """What happened to the values of one column.

    Attributes:
        changed: in how many rows that are on both sides the value is another.
        rows: the values in the rows that differ: removed and changed ones before, added and changed ones after.
        table: the values in all rows; what only a full read tells is left out unless one was asked for.
    """

    column: str
    type: str
    changed: int
    rows: Sides
    table: Sides


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of one side.

    Attributes:
        source: SQL for FROM, with a column `pick`, a hash of the row.
        prefix: what comes before a column's place in its name.
        rows: how many.
    """

    source: str
    prefix: str
    rows: int


def changes(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column]) -> dict[int, int]:
    """Return in how many changed rows each column has another value, by the columns' places."""
    found: dict[int, int] = {}
    compared = [column for column in columns if column.compared]
    for first in range(0, len(compared), profiles.COLUMNS_PER_SCAN):
        part = compared[first : first + profiles.COLUMNS_PER_SCAN]
        wanted = ", ".join(f"count_if(o{c.place} IS DISTINCT FROM n{c.place})" for c in part)
        row = connection.execute(f"SELECT {wanted} FROM {DIFFERING} WHERE kind = 'changed'").fetchall()[0]
        found.update({column.place: int(count) for column, count in zip(part, row, strict=True)})
    return found


def measure(
    connection: duckdb.DuckDBPyConnection,
    before: Relation,
    after: Relation,
    columns: Sequence[Column],
    unchanged: Sequence[Column] = (),
) -> dict[int, Sides]:
    """Profile the columns of two sides and say how far each lies from what it was, by the columns' places.

    Args:
        unchanged: columns that have the same values on both sides, which are looked at once.
    """
    moving = [column for column in columns if column not in unchanged]
    olds = profiles.measure(connection, before.source, columns, before.prefix, before.rows)
    news = olds | profiles.measure(connection, after.source, moving, after.prefix, after.rows)
    share = SAMPLE / max(before.rows, after.rows, 1)  # one for both sides: a row is drawn on both or on neither
    found = {place: Sides(olds[place], news[place], exact=share >= 1) for place in olds}
    drawn = [_drawn(connection, relation, columns, share) for relation in (before, after)]
    ordered = [column for column in columns if scale(column) in ("number", "time")]
    for first in range(0, len(ordered), profiles.COLUMNS_PER_SCAN):
        part = ordered[first : first + profiles.COLUMNS_PER_SCAN]
        named = ", ".join(f"v{column.place}" for column in part)
        old, new = (connection.sql(f"SELECT {named} FROM {source}").to_arrow_table() for source in drawn)
        for column in part:
            values = shift.ordered(old[f"v{column.place}"])
            later = values if column in unchanged else shift.ordered(new[f"v{column.place}"])
            found[column.place] = _with_order(found[column.place], values, later, column)
    for column in columns:
        if column in ordered or not (before.rows and after.rows):
            continue
        if column in unchanged:
            found[column.place] = replace(found[column.place], shift=Shift("total_variation", 0.0))
        else:
            moved = shift.of_categories(connection, drawn[0], drawn[1], column)
            found[column.place] = replace(found[column.place], shift=moved)
    return found


def _with_order(sides: Sides, old: NDArray[Any], new: NDArray[Any], column: Column) -> Sides:
    value = shift.of_numbers(old, new) if new is not old else (0.0 if old.size else None)
    return replace(
        sides,
        before=replace(sides.before, quantiles=shift.quantiles(old, column)),
        after=replace(sides.after, quantiles=shift.quantiles(new, column)),
        shift=None if value is None else Shift("kolmogorov_smirnov", value),
    )


def _drawn(connection: duckdb.DuckDBPyConnection, relation: Relation, columns: Sequence[Column], share: float) -> str:
    """Return SQL for FROM: a sample of a side's rows, or all of them when they are few; columns are `v0`, `v1`, …"""
    named = ", ".join(f"{relation.prefix}{c.place} AS v{c.place}" for c in columns)
    if share >= 1:
        return f"(SELECT {named} FROM {relation.source})"
    name = f"drawn_{next(_numbers)}"
    most = int(HASHES * share)
    connection.execute(f"CREATE TEMP TABLE {name} AS SELECT {named} FROM {relation.source} WHERE pick <= {most}")
    return name
