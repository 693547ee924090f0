"""Which data files a row merge keeps as they are.

A file that only one side touched stays as that side left it: what they put in the place of files that we did not touch
comes in whole. Only where both rewrote the same file are its rows sorted out: ours stays, without the rows that they
changed, and theirs come in a new file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from bascule.lake import staging
from bascule.lake.comparing.changed import Changed
from bascule.lake.comparing.schemas import Column
from bascule.lake.iceberg.datafiles import DataFile

# Returns SQL for FROM with `file`, `row` and the columns by their places, of some of a state's files.
Read = Callable[[Sequence[DataFile]], str]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What becomes of the files.

    Attributes:
        dropped: files of ours that go, because only they touched them.
        taken: files of theirs that come as they are.
        rewritten: rows of our files that go, by path.
        fresh: a SELECT of the rows that a new file gets; None when there are none.
    """

    dropped: list[DataFile]
    taken: list[DataFile]
    rewritten: dict[str, np.ndarray]
    fresh: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of each state's files are read."""

    base: Read
    ours: Read
    theirs: Read


def plan(
    connection: duckdb.DuckDBPyConnection,
    ours: Changed,
    theirs: Changed,
    read: Reading,
    columns: Sequence[Column],
    key: Sequence[Column],
) -> FilePlan:
    """Decide what becomes of each file, after `deltas` has said what becomes of each row."""
    mine = {file.path for file in ours.went}
    both = [file for file in theirs.went if file.path in mine]
    dropped = [file for file in theirs.went if file.path not in mine]
    dirty = _dirty(connection, both, theirs, read, key)
    taken = [file for file in theirs.came if file not in dirty]
    _note_taken(connection, taken, read, key)
    rewritten = _in_our_files(connection, ours, read, key)
    named = ", ".join(f"v{c.place} AS {_quoted(c)}" for c in columns)
    order = ", ".join(f"v{c.place}" for c in key)
    rows = (
        f"SELECT {', '.join(f'v{c.place}' for c in columns)} FROM incoming AS i WHERE present "
        f"AND NOT EXISTS (FROM taken_keys AS t WHERE {_on('t', 'i', key)})"
    )
    if dirty and dropped:
        rows += f" UNION ALL {_survivors(dirty, dropped, read, columns, key)}"
    connection.execute(f"CREATE TEMP TABLE fresh AS {rows}")
    any_row = connection.execute("SELECT 1 FROM fresh LIMIT 1").fetchall()
    return FilePlan(dropped, taken, rewritten, f"SELECT {named} FROM fresh ORDER BY {order}" if any_row else None)


def _dirty(
    connection: duckdb.DuckDBPyConnection, both: list[DataFile], theirs: Changed, read: Reading, key: Sequence[Column]
) -> list[DataFile]:
    """Return the files of theirs that hold rows which ours has too, or had, and so cannot come as they are."""
    kept = {file.path for file in theirs.went}
    dirty = {str(file.path) for file in theirs.came if file.path in kept}  # the same file with other rows deleted
    names = ", ".join(f"k{i}" for i in range(len(key)))
    keys = [f"SELECT {names} FROM shared"]
    if both:
        keys.append(f"SELECT {_keys(key)} FROM {read.base(both)}")
    query = (
        f"SELECT DISTINCT file FROM (SELECT file, {_keys(key)} FROM {read.theirs(theirs.came)}) AS t "
        f"SEMI JOIN ({' UNION ALL '.join(keys)}) AS s ON {_on('t', 's', key)}"
    )
    dirty |= {row[0] for row in connection.execute(query).fetchall()} if theirs.came else set()
    return [file for file in theirs.came if str(file.path) in dirty]


def _note_taken(
    connection: duckdb.DuckDBPyConnection, taken: list[DataFile], read: Reading, key: Sequence[Column]
) -> None:
    # Only the keys that have to be put in matter: the others are rows that nobody changed.
    on = _on("t", "i", key)
    connection.execute(
        f"CREATE TEMP TABLE taken_keys AS SELECT * FROM (SELECT {_keys(key)} FROM {read.theirs(taken)}) AS t "
        f"SEMI JOIN incoming AS i ON {on}"
    )


def _in_our_files(
    connection: duckdb.DuckDBPyConnection, ours: Changed, read: Reading, key: Sequence[Column]
) -> dict[str, np.ndarray]:
    if not ours.came:
        return {}
    query = (
        f"SELECT file, row FROM (SELECT file, row, {_keys(key)} FROM {read.ours(ours.came)}) AS o "
        f"SEMI JOIN incoming AS i ON {_on('o', 'i', key)}"
    )
    return staging.by_file(connection.sql(query).to_arrow_table())


def _survivors(
    dirty: list[DataFile], dropped: list[DataFile], read: Reading, columns: Sequence[Column], key: Sequence[Column]
) -> str:
    """Return a SELECT of rows that nobody changed, from files that only they touched, which they put among others."""
    values = ", ".join(f"c{c.place} AS v{c.place}" for c in columns)
    return (
        f"SELECT {', '.join(f'v{c.place}' for c in columns)} FROM "
        f"(SELECT {values}, {_keys(key)} FROM {read.theirs(dirty)}) AS d "
        f"SEMI JOIN (SELECT {_keys(key)} FROM {read.base(dropped)}) AS b ON {_on('d', 'b', key)} "
        f"ANTI JOIN theirs_delta AS t ON {_on('d', 't', key)}"
    )


def _keys(key: Sequence[Column]) -> str:
    return ", ".join(f"c{c.place} AS k{i}" for i, c in enumerate(key))


def _on(a: str, b: str, key: Sequence[Column]) -> str:
    return " AND ".join(f"{a}.k{i} IS NOT DISTINCT FROM {b}.k{i}" for i in range(len(key)))


def _quoted(column: Column) -> str:
    return '"' + column.name.replace('"', '""') + '"'
