"""Putting the merged state of a table together, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from bascule.errors import InputError
from bascule.lake import engine, objects, seen, staging
from bascule.lake.comparing.changed import Changed, files_between
from bascule.lake.comparing.matching import Side as Rows
from bascule.lake.comparing.schemas import Column, same_table
from bascule.lake.iceberg import datafiles, metadata, partitions, scans, schemas, snapshots, types
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.rowmerge import deltas, files
from bascule.lake.rowmerge.deltas import Incoming, RowConflict, Side
from bascule.lake.rows import Rows as Stream

SHOWN = 20


class Unmergeable(InputError):
    """Two states of a table cannot be merged row by row; the message says why."""


@dataclass(frozen=True, slots=True)
class RowMerge:
    """How a row merge went.

    Attributes:
        table: the merged state; None when rows are in conflict.
        conflicts: how many rows both sides changed differently.
        sample: the first of them, by key.
        incoming: what was done to our rows; None when rows are in conflict.
        taken, rewritten: how many files of theirs came as they are, and how many of ours were written again.
        written: files that were made for it, which go again when it is not committed.
    """

    table: Table | None
    conflicts: int = 0
    sample: tuple[RowConflict, ...] = ()
    incoming: Incoming | None = None
    taken: int = 0
    rewritten: int = 0
    written: tuple[Record, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The merge's figures as one JSON object."""
        done = asdict(self.incoming) if self.incoming is not None else {}
        return {**done, "conflicts": self.conflicts, "files_taken": self.taken, "files_rewritten": self.rewritten}


def has_key(base: Table, ours: Table, theirs: Table) -> bool:
    """Tell whether three states are of one table, with one key."""
    if not (same_table(base, ours) and same_table(base, theirs)):
        return False
    keys = _key_ids(ours), _key_ids(theirs)
    return bool(keys[0]) and keys[0] == keys[1] and set(keys[0]) <= {f["id"] for f in base.schema["fields"]}


def merge_rows(
    base: Table,
    ours: Table,
    theirs: Table,
    temporary: Path,
    *,
    settle: Side | None = None,
    cells: bool = False,
    tell: Callable[[RowConflict], None] | None = None,
) -> RowMerge:
    """Merge three-way by the key: a row that one side changed is taken, one that both changed equally agrees.

    Args:
        settle: whose row is taken where both changed it differently; None reports these as conflicts.
        cells: merge a row of which each side changed other columns.
        tell: is given each row in conflict, by key.

    Raises:
        Unmergeable: when the table has no key, a key is there twice, or both sides changed the columns differently.
    """
    if not has_key(base, ours, theirs):
        raise Unmergeable(f"Table {ours.name!r} has no key, or not the same one on both sides.")
    schema = schemas.merged(base.schema, ours.schema, theirs.schema)
    if schema is None:
        raise Unmergeable(f"Both sides changed the columns of table {ours.name!r}, and differently.")
    if partitions.merged(base.metadata, ours.metadata, theirs.metadata) is None:
        raise Unmergeable(f"Both sides changed how table {ours.name!r} is divided or sorted, and differently.")
    with engine.opened(temporary) as connection, engine.told("The two states cannot be merged"):
        merging = _Merging(connection, base, ours.for_writing(), theirs, schema, temporary)
        return merging.run(settle, cells, tell)


class _Merging:
    """One row merge while it is made, on a connection of its own."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        base: Table,
        ours: Table,
        theirs: Table,
        schema: schemas.Schema,
        temporary: Path,
    ) -> None:
        self.connection, self.temporary = connection, temporary
        self.base, self.ours, self.theirs, self.schema = base, ours, theirs, schema
        self.columns = [
            Column(place, f, types.to_duckdb(f["type"]), f, True) for place, f in enumerate(schema["fields"])
        ]
        by_id = {column.field["id"]: column for column in self.columns}
        self.key = [by_id[number] for number in _key_ids(ours)]
        self.mine, self.other = files_between(base, ours), files_between(base, theirs)

    def run(self, settle: Side | None, cells: bool, tell: Callable[[RowConflict], None] | None) -> RowMerge:
        self._delta("ours", self.ours, self.mine)
        self._delta("theirs", self.theirs, self.other)
        count = deltas.share(self.connection, self.columns, self.key, settle=settle, cells=cells)
        if count:
            shown: list[RowConflict] = []
            for conflict in deltas.conflicts(self.connection, self.columns, self.key):
                if len(shown) < SHOWN:
                    shown.append(conflict)
                elif tell is None:
                    break
                if tell is not None:
                    tell(conflict)
            return RowMerge(None, count, tuple(shown))
        done = deltas.incoming(self.connection, self.columns, self.key)
        reading = files.Reading(*(self._reader(table) for table in (self.base, self.ours, self.theirs)))
        plan = files.plan(self.connection, self.mine, self.other, reading, self.columns, self.key)
        return self._written(plan, done)

    def _delta(self, side: Side, table: Table, changed: Changed) -> None:
        before, after = self._rows(self.base, changed.went), self._rows(table, changed.came)
        found = deltas.delta(self.connection, side, before, after, self.columns, self.key)
        twice = deltas.repeated(self.connection, side, self.key)
        if twice is not None or found.repeated_keys:
            named = types.told(twice or {}) or "one"
            raise Unmergeable(
                f"Table {self.ours.name!r} has a key that belongs to more than one row: {named}.",
                hint="Repair the rows first, or keep one side of the whole table.",
            )

    def _rows(self, table: Table, changed: list[DataFile]) -> Rows:
        source = self._reader(table)(changed)
        if table.deletes():
            return Rows(source, int(self.connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]))
        return Rows(source, sum(file.rows for file in changed))

    def _reader(self, table: Table) -> files.Read:
        def read(some: list[DataFile]) -> str:
            named = ", ".join(f"{quoted(c.name)} AS c{c.place}" for c in self.columns)
            source = scans.scan(table, only=some, schema=self.schema, positions=True)
            return f"(SELECT __file AS file, __row AS row, {named} FROM {source})"

        return read  # type: ignore[return-value]

    def _written(self, plan: files.FilePlan, done: Incoming) -> RowMerge:
        ours = {str(file.path): file for file in self.mine.came}
        written: list[Record] = []
        try:
            table = self._with_their_facts()
            written += seen.fresh(table, self.ours, self.theirs)
            noted = len(written)
            for path, rows in plan.rewritten.items():
                written += staging.without_rows(self.ours, ours[path], rows, self.temporary)
            if plan.fresh is not None:
                stream = Stream(self.connection.sql(plan.fresh))
                written += staging.write_rows(table, stream, evolve=False).records
            gone = [*plan.dropped, *(ours[path] for path in plan.rewritten)]
            removed = frozenset(file.record["file_path"] for file in gone)
            records = [*(file.record for file in plan.taken), *written[noted:]]
            merged = snapshots.replace(table, removed, records, "overwrite")
        except BaseException:
            datafiles.remove(written)
            raise
        return RowMerge(merged, 0, (), done, len(plan.taken), len(plan.rewritten), tuple(written))

    def _with_their_facts(self) -> Table:
        """Our table with the columns, the key's names and the ingested sources that the merged state has."""
        last = max(side.metadata[metadata.LAST_COLUMN] for side in (self.ours, self.theirs))
        divided = partitions.merged(self.base.metadata, self.ours.metadata, self.theirs.metadata)
        document = metadata.with_schema(divided or self.ours.metadata, self.schema, last)
        facts = {
            objects.KEY: "\n".join(column.name for column in self.key),
            seen.SOURCES: seen.combined(self.base, self.ours, self.theirs) or None,
        }
        document = metadata.with_properties({**document, metadata.LAST_COLUMN: last}, facts)
        return Table(self.ours.name, self.ours.folder, self.ours.path, document)


def _key_ids(table: Table) -> list[int]:
    names = [name for name in table.properties.get(objects.KEY, "").split("\n") if name]
    return [schemas.find(table.schema, name)["id"] for name in names]
