"""Record tables: high-volume records that are Iceberg tables of their own, beside the branches.

The catalog's row in `record_tables` holds the table's object and moves by compare-and-swap, so writers do not wait for
each other's files. A log segment is moved in the same transaction that notes it, so exactly once. Only the newest few
states are kept: no commit points into a record table.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import now
from bascule.catalog.schema import record_segments, record_tables
from bascule.errors import Conflict, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.lake import objects, staging
from bascule.lake.iceberg import files, scans, schemas, snapshots
from bascule.lake.iceberg.tables import Table
from bascule.lake.objects import Object
from bascule.lake.rows import Rows
from bascule.lake.tables import Lake

TRIES = 60
FOLDER = "records."


class RecordTable:
    """One record table of a workspace, made when the first rows come.

    Args:
        workspace: whose records.
        name: `predictions`, `ground_truth`, …
        schema: its columns. A column that the table has not yet is added by the next append.
    """

    def __init__(self, workspace: Workspace, name: str, schema: pa.Schema) -> None:
        self.workspace = workspace
        self.name = objects.checked_name(name)
        self.schema = schema
        self._lake = Lake(workspace)

    def object(self) -> Object | None:
        """Return the table's present object, or None before the first append."""
        return object_of(self.workspace, self.name)

    def append(self, data: Any) -> int:
        """Add rows. They are durable and visible when this returns.

        Returns:
            How many rows.

        Raises:
            InputError: when they do not fit the columns.
        """
        rows = self._write(Rows(data), None)
        return rows or 0

    def move_segment(self, segment: str, data: Any) -> int | None:
        """Add the rows of a log segment, unless that segment was added before.

        The rows and the note that they are here land in one transaction: after a crash at any moment, moving the
        segment again does the right thing.

        Returns:
            How many rows, or None when the segment had been moved already; then nothing was done.
        """
        if self.has_segment(segment):
            return None
        return self._write(Rows(data), segment)

    def has_segment(self, segment: str) -> bool:
        """Tell whether a segment was moved."""
        with self.workspace.catalog.read() as conn:
            return _moved(conn, self.name, segment)

    def segments(self, among: Iterable[str] | None = None) -> set[str]:
        """Return the names of segments that were moved, all or those among some; their files may be there yet."""
        columns = record_segments.c
        query = select(columns.segment).where(columns.record_table == self.name)
        if among is not None:
            query = query.where(columns.segment.in_(list(among)))
        with self.workspace.catalog.read() as conn:
            return set(conn.execute(query).scalars())

    def scan(self, *, between: scans.Between | None = None) -> str:
        """Return SQL text for FROM that yields the rows: none before the first append. `between` is `Lake.scan`'s."""
        value = self.object()
        if value is None:
            columns, _ = schemas.from_arrow(self.schema)
            return scans.nothing(columns)
        return self._lake.scan(value, between=between)

    def newest(self, most: int) -> Iterator[str]:
        """Yield SQL texts for FROM of its newest files, one file each, at most so many: the newest first."""
        value = self.object()
        if value is not None:
            table = self._lake.table(value, self.name)
            yield from (scans.scan(table, only=[file]) for file in table.data_files()[: -most - 1 : -1])

    def _write(self, rows: Rows, segment: str | None) -> int | None:
        path = FOLDER + self.name
        if self.object() is None:
            made = self._lake.stage_create(path, self.schema)
            if not self.swap(None, made):  # another writer made it meanwhile
                files.remove_folder(objects.folder_of(made, self._lake.folder))
        value = self.object()
        assert value is not None
        with self._lake.writing(value, self.name) as table:
            written = staging.write_rows(table, rows, evolve=True)
            count = sum(record["record_count"] for record in written.records)
            for attempt in range(TRIES):
                landed = self._land(written, segment, count)
                if landed is not None:
                    return count if landed else None
                time.sleep(random.random() * 0.01 * min(attempt + 1, 10))
        raise Conflict(
            f"The record table {self.name!r} changed {TRIES} times while it was being written.", hint="Repeat."
        )

    def _land(self, written: staging.Written, segment: str | None, count: int) -> bool | None:
        """Return True when the rows landed, False when their segment was here before, None when another writer won."""
        value = self.object()
        assert value is not None
        with staging.kept_if_done(written):
            try:
                before = self._lake.table(value, self.name)
                after = staging.append(before, written, {})
            except EnvironmentProblem:
                if self.object() == value:
                    raise
                return None  # faster writers have let go of that state meanwhile: begin at theirs
        here_before = False

        def note(conn: Connection) -> None:
            nonlocal here_before
            if segment is not None:
                here_before = _moved(conn, self.name, segment)
                if here_before:
                    raise _HereBefore
                row = {"record_table": self.name, "segment": segment, "rows": count, "at": now()}
                conn.execute(insert(record_segments).values(row))

        try:
            swapped = self.swap(value, objects.describe(after, self._lake.folder), note)
        except _HereBefore:
            swapped = False
        if swapped:
            snapshots.expire(before, after)
        else:
            snapshots.discard(after, data_too=here_before)
        return True if swapped else (False if here_before else None)

    def swap(
        self, before: Object | None, after: Object, note: Callable[[Connection], None] = lambda conn: None
    ) -> bool:
        """Put an object in the place of another, with `note`'s records; False when the other was not there."""
        text = msgspec.json.encode(after, order="deterministic").decode()
        with self.workspace.catalog.write() as conn:
            query = select(record_tables.c.object_json).where(record_tables.c.name == self.name)
            found = conn.execute(query.with_for_update()).scalar()
            if (found is None) != (before is None) or (found is not None and msgspec.json.decode(found) != before):
                return False
            note(conn)
            values = {"object_json": text, "updated_at": now()}
            if found is None:
                conn.execute(insert(record_tables).values(name=self.name, **values))
            else:
                conn.execute(update(record_tables).where(record_tables.c.name == self.name).values(**values))
        return True


class _HereBefore(Exception):
    """Rolls a transaction back that would move a segment twice."""


def object_of(workspace: Workspace, name: str) -> Object | None:
    """Return the present object of a record table, or None when there is none."""
    with workspace.catalog.read() as conn:
        found = conn.execute(select(record_tables.c.object_json).where(record_tables.c.name == name)).scalar()
    return msgspec.json.decode(found, type=dict[str, Any]) if found is not None else None


def refresh(workspace: Workspace, name: str) -> None:
    """Give a record table's object the counts that its files have now, if there is such a table."""
    value = object_of(workspace, name)
    if value is not None:
        table = RecordTable(workspace, name, pa.schema([]))
        fresh = objects.describe(objects.load(value, workspace.lake_folder, name), workspace.lake_folder)
        table.swap(value, fresh)


def names(workspace: Workspace) -> list[str]:
    """Return the names of the record tables that have rows."""
    with workspace.catalog.read() as conn:
        return list(conn.execute(select(record_tables.c.name).order_by(record_tables.c.name)).scalars())


def table_of(workspace: Workspace, name: str) -> Table:
    """Return a record table as an Iceberg table, or raise `InputError` when it has no rows yet."""
    value = object_of(workspace, name)
    if value is None:
        raise InputError(
            f"The record table {name!r} has no rows yet.",
            hint="It gets its first rows when something happens: a run, a prediction, an outcome.",
        )
    return objects.load(value, workspace.lake_folder, name)


def _moved(conn: Connection, table: str, segment: str) -> bool:
    query = select(record_segments.c.segment).where(
        record_segments.c.record_table == table, record_segments.c.segment == segment
    )
    return conn.execute(query).first() is not None
