"""Rows and values that are there more than once, counted exactly; what does not fit in memory is counted on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from bascule.contracts.sql import quoted
from bascule.profiles.results import Duplicates


def copies(
    connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str], rows: int
) -> Duplicates | None:
    """Count the rows that are equal in every column; by a hash of 64 bits, whose chance to err is n² / 2⁶⁵."""
    if not types or not rows:
        return None
    names = ", ".join(quoted(name) for name in types)
    repeated, extra, most = connection.execute(
        "SELECT count(*), coalesce(sum(n - 1), 0), coalesce(max(n), 1) FROM ("
        f"SELECT count(*) AS n FROM {relation} AS t GROUP BY hash({names}) HAVING count(*) > 1)"
    ).fetchall()[0]
    return Duplicates(copies=int(extra), repeated=int(repeated), most=int(most))


def different(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> int:
    """Count the different values of columns together, rows that lack one of them left out."""
    names = ", ".join(quoted(name) for name in columns)
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in columns)
    query = f"SELECT count(*) FROM (SELECT 1 FROM {relation} AS t WHERE {known} GROUP BY {names})"
    return int(connection.execute(query).fetchall()[0][0])


def commonest(
    connection: duckdb.DuckDBPyConnection, relation: str, column: str, limit: int
) -> tuple[list[tuple[str, int]], int]:
    """Return the commonest values of a column as text with their counts, ties by value, and how many values differ."""
    found = connection.execute(
        f"SELECT CAST({quoted(column)} AS VARCHAR) AS v, count(*) AS n, count(*) OVER () FROM {relation} AS t "
        f"WHERE {quoted(column)} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {limit}"
    ).fetchall()
    return [(str(value), int(count)) for value, count, _ in found], int(found[0][2]) if found else 0


def repeats(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> tuple[int, int]:
    """Return the rows whose values in these columns another row has too, and the rows that lack one of them."""
    names = ", ".join(quoted(name) for name in columns)
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in columns)
    missing = connection.execute(f"SELECT count(*) FROM {relation} AS t WHERE NOT ({known})").fetchall()[0][0]
    shared = connection.execute(
        f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {relation} AS t WHERE {known} GROUP BY {names} "
        "HAVING count(*) > 1)"
    ).fetchall()[0][0]
    return int(shared), int(missing)
