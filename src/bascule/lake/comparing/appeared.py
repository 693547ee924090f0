"""Which rows a state of a table has that an earlier one had not: for whoever follows a table."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from bascule.lake.comparing import matching
from bascule.lake.comparing.changed import changed_files
from bascule.lake.comparing.matching import DIFFERING, Side
from bascule.lake.comparing.schemas import columns, same_table
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted


@dataclass(frozen=True, slots=True)
class Appeared:
    """Rows that came.

    Attributes:
        source: SQL for FROM that yields them, in the later state's columns.
        rows: how many.
        gone: how many rows the earlier state had and the later one has not.
    """

    source: str
    rows: int
    gone: int = 0


def appeared(connection: duckdb.DuckDBPyConnection, before: Table | None, after: Table) -> Appeared:
    """Return the rows that came between two states; rows that only lie in other files now did not come.

    Where nothing but appends happened, only the files that came are read, and not before `source` is. Otherwise the
    files that the states do not share are compared row by row, as multisets, on this connection.

    Args:
        connection: one of its own; a comparison leaves a temporary table in it.
        before: None when all rows of `after` came.
    """
    if before is None:
        return Appeared(scans.scan(after), sum(file.rows for file in after.data_files()))
    if not same_table(before, after):
        return Appeared(scans.scan(after), 0, gone=max(sum(file.rows for file in before.data_files()), 1))
    files = changed_files(before, after)
    if not files.went:
        return Appeared(scans.scan(after, only=files.came), sum(file.rows for file in files.came))
    named = columns(before, after)
    sides = []
    for table, only in ((before, files.went), (after, files.came)):
        source = scans.scan(table, only=only, schema=after.schema)
        listed = ", ".join(f"{quoted(c.name)}::{c.kind} AS c{c.place}" for c in named)
        sides.append(Side(f"(SELECT {listed} FROM {source})", sum(file.rows for file in only)))
    found = matching.as_multisets(connection, sides[0], sides[1], named)
    listed = ", ".join(f"n{c.place} AS {quoted(c.name)}" for c in named)
    return Appeared(f"(SELECT {listed} FROM {DIFFERING} WHERE kind = 'added')", found.added, found.removed)
