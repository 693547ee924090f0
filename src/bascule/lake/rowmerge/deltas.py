"""What each side did to the rows since the common ancestor, and where the two exclude each other.

On a DuckDB connection: `ours_delta` and `theirs_delta` have a row for every key that a side added, removed or changed:
the key (`k0`, …), `present` (false when it removed the row), the row before (`b0`, …; `known` tells whether there was
one) and after (`v0`, …). `shared` joins the keys that both touched; `incoming` is what has to be done to our rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from bascule.lake.comparing import matching
from bascule.lake.comparing.matching import DIFFERING, Matched
from bascule.lake.comparing.matching import Side as Rows
from bascule.lake.comparing.schemas import Column

Side = Literal["ours", "theirs"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowConflict:
    """A row that both sides changed, and differently.

    Attributes:
        key: the key's columns.
        base, ours, theirs: the row then and on each side; None where it is not.
        columns: the columns that both sides changed differently; none when one side removed the row.
    """

    key: Row
    base: Row | None
    ours: Row | None
    theirs: Row | None
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is done to our rows: how many are put in, taken out and replaced, and in how many cells were merged."""

    added: int
    removed: int
    changed: int
    mixed: int


def delta(
    connection: duckdb.DuckDBPyConnection,
    side: Side,
    before: Rows,
    after: Rows,
    columns: Sequence[Column],
    key: Sequence[Column],
) -> Matched:
    """Put what a side did into `ours_delta` or `theirs_delta`."""
    if before.rows and after.rows:
        found = matching.by_key(connection, before, after, columns, key)
        connection.execute("DROP SEQUENCE IF EXISTS equal_rows")
        connection.execute("DROP TABLE IF EXISTS repeated")
    else:
        rows, kind = (after, "added") if after.rows else (before, "removed")
        found = matching.one_sided(connection, rows, columns, kind, copy=True)
    keys = ", ".join(
        f"CASE WHEN kind = 'removed' THEN o{c.place} ELSE n{c.place} END AS k{i}" for i, c in enumerate(key)
    )
    values = ", ".join(f"o{c.place} AS b{c.place}, n{c.place} AS v{c.place}" for c in columns)
    connection.execute(
        f"CREATE TEMP TABLE {side}_delta AS SELECT {keys}, kind <> 'removed' AS present, kind <> 'added' AS known, "
        f"{values} FROM {DIFFERING}"
    )
    connection.execute(f"DROP TABLE {DIFFERING}")
    return found


def repeated(connection: duckdb.DuckDBPyConnection, side: Side, key: Sequence[Column]) -> Row | None:
    """Return a key that a side's delta has more than once, or None."""
    names = ", ".join(f"k{i}" for i in range(len(key)))
    query = f"SELECT {names} FROM {side}_delta GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
    found = connection.sql(query).to_arrow_table().to_pylist()
    return {c.name: found[0][f"k{i}"] for i, c in enumerate(key)} if found else None


def share(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[Column],
    key: Sequence[Column],
    *,
    settle: Side | None,
    cells: bool,
) -> int:
    """Put the keys that both sides touched into `shared`, and say what becomes of each.

    `fate` is `ours` (both did the same, or ours is kept), `theirs`, `mix` (each changed other columns) or `conflict`.
    Columns are `b0`, … before, `o0`, … ours, `t0`, … theirs, and `m0`, … for what a mix of both has.

    Args:
        settle: whose row is taken where the two exclude each other.
        cells: mix rows of which each side changed other columns.

    Returns:
        How many rows are in conflict.
    """
    on = " AND ".join(f"o.k{i} IS NOT DISTINCT FROM t.k{i}" for i in range(len(key)))
    keys = ", ".join(f"o.k{i}" for i in range(len(key)))
    differ = " OR ".join(f"o.v{c.place} IS DISTINCT FROM t.v{c.place}" for c in columns) or "false"
    clash = " OR ".join(_clashes(c.place) for c in columns) or "false"
    mixes = f"WHEN {'true' if cells else 'false'} AND o.present AND t.present AND o.known AND NOT ({clash}) THEN 'mix'"
    values = ", ".join(
        f"o.b{p}, o.v{p} AS o{p}, t.v{p} AS t{p}, "
        f"CASE WHEN o.v{p} IS NOT DISTINCT FROM o.b{p} THEN t.v{p} ELSE o.v{p} END AS m{p}"
        for p in (c.place for c in columns)
    )
    fate = f"CASE WHEN o.present = t.present AND NOT ({differ}) THEN 'ours' {mixes} ELSE '{settle or 'conflict'}' END"
    connection.execute(
        f"CREATE TEMP TABLE shared AS SELECT {keys}, o.known, o.present AS in_ours, t.present AS in_theirs, "
        f"{fate} AS fate, {values} FROM ours_delta AS o JOIN theirs_delta AS t ON {on}"
    )
    return int(connection.execute("SELECT count(*) FROM shared WHERE fate = 'conflict'").fetchall()[0][0])


def conflicts(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], key: Sequence[Column], batch: int = 1000
) -> Iterator[RowConflict]:
    """Yield the rows in conflict, by their keys."""
    order = ", ".join(f"k{i}" for i in range(len(key)))
    clashing = ", ".join(
        f"in_ours AND in_theirs AND o{p} IS DISTINCT FROM t{p} AND "
        f"(NOT known OR (o{p} IS DISTINCT FROM b{p} AND t{p} IS DISTINCT FROM b{p})) AS x{p}"
        for p in (c.place for c in columns)
    )
    query = f"SELECT *, {clashing} FROM shared WHERE fate = 'conflict' ORDER BY {order}"
    for rows in connection.sql(query).to_arrow_reader(batch):
        for row in rows.to_pylist():
            yield _conflict(row, columns, key)


def incoming(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], key: Sequence[Column]) -> Incoming:
    """Put what has to be done to our rows into `incoming`: keys, `present`, and the rows (`v0`, …) to put in."""
    on = " AND ".join(f"t.k{i} IS NOT DISTINCT FROM s.k{i}" for i in range(len(key)))
    keys = ", ".join(f"k{i}" for i in range(len(key)))
    theirs = ", ".join(f"v{c.place}" for c in columns)
    taken = ", ".join(f"CASE WHEN fate = 'mix' THEN m{c.place} ELSE t{c.place} END" for c in columns)
    connection.execute(
        f"CREATE TEMP TABLE incoming AS SELECT {keys}, present, known AS here, false AS mixed, {theirs} "
        f"FROM theirs_delta AS t ANTI JOIN shared AS s ON {on} UNION ALL "
        f"SELECT {keys}, in_theirs, in_ours, fate = 'mix', {taken} FROM shared WHERE fate IN ('mix', 'theirs')"
    )
    found = connection.execute(
        "SELECT count_if(present AND NOT here), count_if(NOT present AND here), count_if(present AND here), "
        "count_if(mixed) FROM incoming"
    ).fetchall()
    return Incoming(*(int(number or 0) for number in found[0]))


def _clashes(place: int) -> str:
    """Return the condition that both sides gave a column another value, and not the same."""
    ours, theirs, base = f"o.v{place}", f"t.v{place}", f"o.b{place}"
    return f"({ours} IS DISTINCT FROM {base} AND {theirs} IS DISTINCT FROM {base} AND {ours} IS DISTINCT FROM {theirs})"


def _conflict(row: Row, columns: Sequence[Column], key: Sequence[Column]) -> RowConflict:
    there = {"b": row["known"], "o": row["in_ours"], "t": row["in_theirs"]}
    sides = {side: {c.name: row[f"{side}{c.place}"] for c in columns} if here else None for side, here in there.items()}
    names = tuple(c.name for c in columns if row[f"x{c.place}"])
    return RowConflict({c.name: row[f"k{i}"] for i, c in enumerate(key)}, sides["b"], sides["o"], sides["t"], names)
