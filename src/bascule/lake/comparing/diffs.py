"""What differs between two states of a table: columns, rows, and the values in them.

Only data files that one of the two lacks are read, both under the later state's columns by field id, so a renamed or
widened column is no change of its rows. Rows are matched by the table's key, else as a multiset: then a changed row is
one removed and one added. Rows are streamed, and what does not fit in memory is spilled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from bascule.lake import cells, engine, objects
from bascule.lake.comparing import matching, profiles, values
from bascule.lake.comparing.changed import Changed, changed_files
from bascule.lake.comparing.matching import DIFFERING, Matched, Side
from bascule.lake.comparing.schemas import Column, ColumnChange, column_changes, columns, same_table
from bascule.lake.comparing.values import ColumnDiff, Relation, Sides
from bascule.lake.iceberg import scans, types
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted

# A table of fewer values than this (rows × columns of both states) is read whole for its columns' figures.
SMALL = 20_000_000
# What one comparison may hold in memory, in bytes; the rest is spilled to the workspace's temporary folder.
MEMORY = 2 << 30


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row of the sample. `before` is None for an added row, `after` for a removed one.

    Attributes:
        columns: the columns in which a changed row differs.
    """

    kind: Literal["added", "removed", "changed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What differs between two states of a table.

    Attributes:
        columns: columns that differ.
        rows_before, rows_after: how many rows each state has.
        added, removed, changed: how many rows; `changed` is 0 when rows were matched as a multiset.
        matched_by: the key's columns, or none for a multiset.
        sample: some rows of each kind.
        values: what happened to each column's values; none when nothing differs or nobody asked.
        repeated_keys: keys that belong to several rows of a state; these rows were matched as a multiset.
        replaced: whether it is another table under the same name; columns were matched by their names then.
        files_read, files_shared: how many data files were read, and how many are the same on both sides.
        whole: whether all rows were read for the `table` figures of the columns.
    """

    columns: tuple[ColumnChange, ...] = ()
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    matched_by: tuple[str, ...] = ()
    sample: tuple[RowChange, ...] = ()
    values: tuple[ColumnDiff, ...] = ()
    repeated_keys: int = 0
    replaced: bool = False
    files_read: int = 0
    files_shared: int = 0
    whole: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.columns or self.added or self.removed or self.changed)


def compare(
    before: Table | None,
    after: Table | None,
    limit: int,
    temporary: Path,
    *,
    profile: bool = True,
    whole: bool | None = None,
) -> TableDiff:
    """Compare two states; None stands for a table that does not exist.

    Args:
        limit: show at most so many rows of each kind.
        temporary: where DuckDB may spill.
        profile: also say what happened to each column's values.
        whole: read all rows for the columns' `table` figures; None reads them when the table is small.
    """
    if before is None and after is None:
        return TableDiff()
    with _opened(temporary) as connection:
        return _Comparison(connection, before, after).run(limit, profile, whole)


@contextmanager
def _opened(temporary: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with engine.opened(temporary) as connection, engine.told("The two states cannot be compared"):
        most = min(MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
        connection.execute(f"SET memory_limit = '{most}B'")
        connection.execute("SET preserve_insertion_order = false")
        yield connection


class _Comparison:
    """One comparison while it is made, on a connection of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, before: Table | None, after: Table | None) -> None:
        self.connection = connection
        self.before, self.after = before, after
        self.columns = columns(before, after)
        self.replaced = before is not None and after is not None and not same_table(before, after)
        self.files = _files(before, after)
        self.key = self._key()

    def run(self, limit: int, profile: bool, whole: bool | None) -> TableDiff:
        totals = [_total(self.connection, table) for table in (self.before, self.after)]
        key = self.key
        matched = self._match(key)
        differing = bool(matched.added or matched.removed or matched.changed)
        if whole is None:
            whole = sum(totals) * len(self.columns) <= SMALL
        return TableDiff(
            columns=self._column_changes(),
            rows_before=totals[0],
            rows_after=totals[1],
            added=matched.added,
            removed=matched.removed,
            changed=matched.changed,
            matched_by=tuple(c.name for c in key),
            sample=self._sample(limit, key) if differing else (),
            values=self._values(matched, totals, whole) if differing and profile else (),
            repeated_keys=matched.repeated_keys,
            replaced=self.replaced,
            files_read=len(self.files.went) + len(self.files.came),
            files_shared=self._shared(),
            whole=differing and profile and (whole or self.before is None or self.after is None),
        )

    def _column_changes(self) -> tuple[ColumnChange, ...]:
        if self.before is not None and self.after is not None:
            return column_changes(self.before.schema, self.after.schema, by_name=self.replaced)
        if self.after is not None:
            return tuple(ColumnChange("added", c.name, "", c.kind) for c in self.columns)
        return tuple(ColumnChange("dropped", c.name, c.kind, "") for c in self.columns)

    def _key(self) -> list[Column]:
        latest = self.after or self.before
        assert latest is not None
        names = [name for name in latest.properties.get(objects.KEY, "").split("\n") if name]
        both = self.before is not None and self.after is not None
        found = {c.name: c for c in self.columns if c.old is not None or not both}
        return [found[name] for name in names] if all(name in found for name in names) else []

    def _match(self, key: Sequence[Column]) -> Matched:
        went, came = self.files.went, self.files.came
        if not (went and came):  # rows only came or only went, so nothing needs matching
            side, kind = self._side(bool(came)), "added" if came else "removed"
            copy = side.rows * len(self.columns) <= SMALL
            return matching.one_sided(self.connection, side, self.columns, kind, copy=copy)
        old, new = self._side(False), self._side(True)
        if key:
            return matching.by_key(self.connection, old, new, self.columns, key)
        return matching.as_multisets(self.connection, old, new, self.columns)

    def _side(self, later: bool) -> Side:
        table, files = (self.after, self.files.came) if later else (self.before, self.files.went)
        if table is None:
            table, files = self.before or self.after, []
        assert table is not None
        source = self._source(table, files, later)
        return Side(source, _count(self.connection, table, files, source))

    def _source(self, table: Table, files: Sequence[DataFile] | None, later: bool) -> str:
        """Return SQL for FROM: rows of a state, with their numbers in their files as `row`, and columns by place."""
        shared = self.before is not None and self.after is not None and not self.replaced
        schema = self.after.schema if shared and self.after is not None else table.schema
        source = scans.scan(table, only=files, schema=schema, positions=True)
        named = ["__row AS row"]
        for column in self.columns:
            field = column.field if shared or later or self.after is None else column.old
            value = f"NULL::{column.kind}" if field is None else f"{quoted(field['name'])}::{column.kind}"
            named.append(f"{value} AS c{column.place}")
        return f"(SELECT {', '.join(named)} FROM {source})"

    def _sample(self, limit: int, key: Sequence[Column]) -> tuple[RowChange, ...]:
        found: list[RowChange] = []
        for kind in ("added", "removed", "changed"):
            found += self._rows(kind, limit, key) if limit > 0 else []
        return tuple(found)

    def _rows(self, kind: Literal["added", "removed", "changed"], limit: int, key: Sequence[Column]) -> list[RowChange]:
        side = "o" if kind == "removed" else "n"
        ordered = ", ".join(f"{side}{c.place}" for c in key) or "pick"
        drawn = f"SELECT * FROM {DIFFERING} WHERE kind = '{kind}' ORDER BY pick LIMIT {int(limit)}"
        terms = [
            f"CASE WHEN kind = 'changed' AND o{c.place} IS DISTINCT FROM n{c.place} THEN {c.place} END"
            for c in self.columns
            if c.compared
        ]
        differing = f"list_filter([{', '.join(terms)}], lambda x: x IS NOT NULL)" if terms else "[]::INTEGER[]"
        rows = self.connection.sql(
            f"SELECT *, {differing} AS places FROM ({drawn}) ORDER BY {ordered}"
        ).to_arrow_table()
        found = []
        for row in cells.rows(rows):
            old, new = ({c.name: row[f"{side}{c.place}"] for c in self.columns} for side in ("o", "n"))
            names = tuple(c.name for c in self.columns if c.place in row["places"])
            found.append(RowChange(kind, None if kind == "added" else old, None if kind == "removed" else new, names))
        return found

    def _values(self, matched: Matched, totals: Sequence[int], whole: bool) -> tuple[ColumnDiff, ...]:
        sides = (
            ("kind <> 'added'", matched.removed + matched.changed),
            ("kind <> 'removed'", matched.added + matched.changed),
        )
        relations = [
            Relation(f"(SELECT * FROM {DIFFERING} WHERE {condition})", prefix, rows)
            for prefix, (condition, rows) in zip("on", sides, strict=True)
        ]
        changed = values.changes(self.connection, self.columns) if matched.changed else {}
        only_changed = not (matched.added or matched.removed)
        still = [c for c in self.columns if only_changed and c.compared and not changed.get(c.place)]
        rows = values.measure(self.connection, relations[0], relations[1], self.columns, still)
        if self.before is None or self.after is None:
            table = rows
        else:
            table = self._whole(totals) if whole else self._recorded(totals)
        return tuple(
            ColumnDiff(c.name, c.kind, changed.get(c.place, 0), rows[c.place], table[c.place]) for c in self.columns
        )

    def _whole(self, totals: Sequence[int]) -> dict[int, Sides]:
        assert self.before is not None
        assert self.after is not None
        relations = []
        for name, table, rows in (("before", self.before, totals[0]), ("after", self.after, totals[1])):
            # A row is drawn by its key, if it has one: then it is drawn on both sides, or on neither.
            pick = ", ".join(f"c{c.place}" for c in self.key) or "row"
            source = f"SELECT *, hash({pick}) AS pick FROM {self._source(table, None, table is self.after)}"
            kind = "TABLE" if rows * len(self.columns) <= SMALL else "VIEW"
            self.connection.execute(f"CREATE TEMP {kind} whole_{name} AS {source}")
            relations.append(Relation(f"whole_{name}", "c", rows))
        return values.measure(self.connection, relations[0], relations[1], self.columns)

    def _recorded(self, totals: Sequence[int]) -> dict[int, Sides]:
        found = []
        for table, rows, later in zip((self.before, self.after), totals, (False, True), strict=True):
            known = profiles.recorded(table, self._columns_in(later)) if table is not None else {}
            found.append({c.place: known.get(c.place, profiles.Profile(rows)) for c in self.columns})
        return {c.place: Sides(found[0][c.place], found[1][c.place]) for c in self.columns}

    def _columns_in(self, later: bool) -> list[Column]:
        """The columns as one state's manifests know them."""
        if later or self.after is None:
            return list(self.columns)
        return [Column(c.place, c.old, types.to_duckdb(c.old["type"]), c.old, True) for c in self.columns if c.old]

    def _shared(self) -> int:
        table, files = (self.after, self.files.came) if self.after is not None else (self.before, self.files.went)
        assert table is not None
        count = table.summary.get("total-data-files")
        return (int(count) if count is not None else len(table.data_files())) - len(files)


def _files(before: Table | None, after: Table | None) -> Changed:
    if before is not None and after is not None:
        return changed_files(before, after)
    return Changed(before.data_files() if before else [], after.data_files() if after else [])


def _total(connection: duckdb.DuckDBPyConnection, table: Table | None) -> int:
    if table is None or table.snapshot is None:
        return 0
    if "total-records" in table.summary and not table.deletes():
        return int(table.summary["total-records"])
    return _count(connection, table, table.data_files(), scans.scan(table))


def _count(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[DataFile], source: str) -> int:
    if not table.deletes():
        return sum(file.rows for file in files)
    return int(connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0])
