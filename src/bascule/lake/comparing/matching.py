"""Which rows differ: matched by a key, or as multisets.

Two values are equal as SQL's `IS NOT DISTINCT FROM` has it: null equals null, NaN equals NaN, 0.0 equals -0.0, and two
maps are equal when they have the same entries in the same order.

What differs is put into the relation `differing` of a DuckDB connection: `kind`, `pick` (a hash of the row, so that
`pick <= p` is a sample that anybody draws again) and each column's value before (`o0`, `o1`, …) and after (`n0`, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from bascule.lake.comparing.schemas import Column

DIFFERING = "differing"


@dataclass(frozen=True, slots=True)
class Side:
    """The rows of one state that may differ.

    Attributes:
        source: SQL for FROM; the columns are called `c0`, `c1`, …
        rows: how many.
    """

    source: str
    rows: int


@dataclass(frozen=True, slots=True)
class Matched:
    """How many rows differ, and how many keys belonged to several rows, which were matched as a multiset then."""

    added: int
    removed: int
    changed: int
    repeated_keys: int = 0


def one_sided(
    connection: duckdb.DuckDBPyConnection, side: Side, columns: Sequence[Column], kind: str, *, copy: bool
) -> Matched:
    """Say that all rows of a side were added or removed.

    Args:
        side: with a column `row`, the row's number in its file.
        copy: bring the rows together, so that the files are read once; else each question reads what it needs.
    """
    other = {c.place: f"NULL::{c.kind}" for c in columns}
    here = {c.place: f"c{c.place}" for c in columns}
    old, new = (other, here) if kind == "added" else (here, other)
    values = _values(columns, old, new)
    connection.execute(
        f"CREATE TEMP {'TABLE' if copy else 'VIEW'} {DIFFERING} AS "
        f"SELECT '{kind}' AS kind, hash(row) AS pick, {values} FROM {side.source}"
    )
    return Matched(side.rows if kind == "added" else 0, side.rows if kind == "removed" else 0, 0)


def by_key(
    connection: duckdb.DuckDBPyConnection, old: Side, new: Side, columns: Sequence[Column], key: Sequence[Column]
) -> Matched:
    """Match rows by a key; those whose key is there more than once on a side, as multisets among themselves."""
    connection.execute("CREATE TEMP SEQUENCE equal_rows MINVALUE 0 START 0")
    connection.execute(f"CREATE TEMP TABLE {DIFFERING} AS {_joined(old.source, new.source, columns, key)}")
    found = _counts(connection)
    equal = int(connection.execute("SELECT nextval('equal_rows')").fetchall()[0][0])
    pairs = equal + found.changed
    if pairs + found.removed == old.rows and pairs + found.added == new.rows:
        return found
    # More pairs than rows: a key is there twice. (Twice on one side and never on the other does no harm.)
    connection.execute(f"DROP TABLE {DIFFERING}")
    repeated = _repeated(connection, old, new, key)
    on = _same([("data", "again", f"c{c.place}") for c in key])
    single = [f"(SELECT * FROM {side.source} AS data ANTI JOIN repeated AS again ON {on})" for side in (old, new)]
    several = [f"(SELECT * FROM {side.source} AS data SEMI JOIN repeated AS again ON {on})" for side in (old, new)]
    connection.execute(
        f"CREATE TEMP TABLE {DIFFERING} AS {_joined(single[0], single[1], columns, key)}"
        f" UNION ALL {_unequal(several[0], several[1], columns)}"
    )
    found = _counts(connection)
    return Matched(found.added, found.removed, found.changed, repeated)


def as_multisets(connection: duckdb.DuckDBPyConnection, old: Side, new: Side, columns: Sequence[Column]) -> Matched:
    """Match rows by all their values: a row that is there n times before and m times after was added m - n times."""
    connection.execute(f"CREATE TEMP TABLE {DIFFERING} AS {_unequal(old.source, new.source, columns)}")
    return _counts(connection)


def differs(columns: Sequence[Column], old: str = "o", new: str = "n") -> str:
    """Return the SQL condition that two rows differ in one of some columns."""
    terms = [f"{old}{c.place} IS DISTINCT FROM {new}{c.place}" for c in columns if c.compared]
    return " OR ".join(terms) or "false"


def _joined(old: str, new: str, columns: Sequence[Column], key: Sequence[Column]) -> str:
    on = _same([("o", "n", f"c{c.place}") for c in key])
    others = [c for c in columns if c not in key]
    values = _values(columns, {c.place: f"o.c{c.place}" for c in columns}, {c.place: f"n.c{c.place}" for c in columns})
    kind = (
        "CASE WHEN o.here IS NULL THEN 'added' WHEN n.here IS NULL THEN 'removed' "
        f"WHEN {differs(others, 'o.c', 'n.c')} THEN 'changed' END"
    )
    pick = ", ".join(f"CASE WHEN n.here THEN n.c{c.place} ELSE o.c{c.place} END" for c in key)
    sides = f"(SELECT true AS here, * FROM {old}) AS o FULL JOIN (SELECT true AS here, * FROM {new}) AS n ON {on}"
    # The rows that are equal are not kept but counted, by drawing a number for each: the count tells whether the key
    # is unique, which a look at the keys alone would cost as much again as the join.
    return (
        f"SELECT * FROM (SELECT {kind} AS kind, hash({pick}) AS pick, {values} FROM {sides}) "
        "WHERE CASE WHEN kind IS NULL THEN nextval('equal_rows') < 0 ELSE true END"
    )


def _unequal(old: str, new: str, columns: Sequence[Column]) -> str:
    compared = [f"c{c.place}" for c in columns if c.compared]
    rest = [f"c{c.place}" for c in columns if not c.compared]  # an example's value: it has no say in what is equal
    if not compared:  # nothing to hold them together: all rows of the one were replaced by all of the other
        here, gone = {c.place: f"c{c.place}" for c in columns}, {c.place: f"NULL::{c.kind}" for c in columns}
        return (
            f"SELECT 'removed' AS kind, hash(0) AS pick, {_values(columns, here, gone)} FROM {old} UNION ALL "
            f"SELECT 'added' AS kind, hash(0) AS pick, {_values(columns, gone, here)} FROM {new}"
        )
    listed, examples = ", ".join(compared), "".join(f", any_value({name}) AS {name}" for name in rest)
    every = ", ".join([*compared, *rest])
    counted = (
        f"SELECT {listed}{examples}, sum(side) AS count FROM "
        f"(SELECT {every}, 1 AS side FROM {new} UNION ALL SELECT {every}, -1 AS side FROM {old}) "
        f"GROUP BY {listed} HAVING sum(side) <> 0"
    )
    before = {c.place: f"CASE WHEN count < 0 THEN c{c.place} END" for c in columns}
    after = {c.place: f"CASE WHEN count > 0 THEN c{c.place} END" for c in columns}
    return (
        f"SELECT CASE WHEN count > 0 THEN 'added' ELSE 'removed' END AS kind, hash({listed}) AS pick, "
        f"{_values(columns, before, after)} FROM ({counted}), range(abs(count)::BIGINT)"
    )


def _repeated(connection: duckdb.DuckDBPyConnection, old: Side, new: Side, key: Sequence[Column]) -> int:
    names = ", ".join(f"c{c.place}" for c in key)
    sides = [f"SELECT {names} FROM {side.source} GROUP BY {names} HAVING count(*) > 1" for side in (old, new)]
    connection.execute(f"CREATE TEMP TABLE repeated AS {sides[0]} UNION {sides[1]}")
    return int(connection.execute("SELECT count(*) FROM repeated").fetchall()[0][0])


def _values(columns: Sequence[Column], old: dict[int, str], new: dict[int, str]) -> str:
    return ", ".join(f"{old[c.place]} AS o{c.place}, {new[c.place]} AS n{c.place}" for c in columns)


def _same(pairs: Sequence[tuple[str, str, str]]) -> str:
    return " AND ".join(f"{a}.{name} IS NOT DISTINCT FROM {b}.{name}" for a, b, name in pairs)


def _counts(connection: duckdb.DuckDBPyConnection) -> Matched:
    found = connection.execute(f"SELECT kind, count(*) FROM {DIFFERING} GROUP BY kind").fetchall()
    counts = {kind: int(count) for kind, count in found}
    return Matched(*(counts.get(kind, 0) for kind in ("added", "removed", "changed")))
