"""Staging: writing the files of a table's next state. Nothing of it is visible until an object is committed.

When anything fails on the way, what was written is deleted again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from bascule.errors import Conflict, InputError
from bascule.lake import arranging, engine, objects
from bascule.lake.iceberg import datafiles, files, metadata, partitions, scans, schemas, snapshots, tables
from bascule.lake.iceberg.aligning import aligned
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.partitions import SPEC_ID
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.updates import Update, apply
from bascule.lake.moved import MOVED
from bascule.lake.rows import Rows, compared, renamed
from bascule.lake.seen import SOURCES
from bascule.store import Place
from bascule.store.places import place_named

# Changes a schema: takes it and the greatest field id so far, gives the new ones.
Change = Callable[[schemas.Schema, int], tuple[schemas.Schema, int]]
# Takes batches and the columns that they are for, gives those that fit.
Sifting = Callable[[Iterator[pa.RecordBatch], pa.Schema], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class Written:
    """Data files that are written and belong to no snapshot yet.

    Attributes:
        table: the table that they were written for, as it was then.
        schema: the schema that they were written with, and its greatest field id.
        records: what manifests will say of them.
    """

    table: Table
    schema: schemas.Schema
    last_column: int
    records: list[Record]


def create(
    lake: Place,
    name: str,
    schema: pa.Schema,
    key: Sequence[str],
    partition_by: Sequence[str] = (),
    sort_by: Sequence[str] = (),
) -> Table:
    """Return an empty table in a folder of its own, with no document yet."""
    objects.checked_name(name)
    columns, last = schemas.from_arrow(schema)
    properties = {objects.NAME: name}
    if key:
        properties[objects.KEY] = objects.checked_key(key, columns)
    told = layout(partition_by or None, sort_by or None, columns)
    table = tables.create(name, lake / f"{name}-{uuid.uuid4().hex[:12]}", columns, last, properties)
    return _with(table, apply(table.metadata, told)) if told else table


@contextmanager
def created(
    lake: Place,
    name: str,
    schema: pa.Schema,
    key: Sequence[str],
    partition_by: Sequence[str] = (),
    sort_by: Sequence[str] = (),
) -> Iterator[Table]:
    """Make an empty table that is removed again when the block raises."""
    table = create(lake, name, schema, key, partition_by, sort_by)
    try:
        yield table
    except BaseException:
        files.remove_folder(table.folder)
        raise


def write_rows(table: Table, rows: Rows, *, evolve: bool, sift: Sifting | None = None) -> Written:
    """Write rows as data files of a table. With `evolve`, new columns are added and missing ones are null.

    Args:
        sift: takes out rows that do not fit the columns' types; without it, one of them is an error.
    """
    table = table.for_writing()
    schema, last = table.schema, table.metadata[metadata.LAST_COLUMN]
    new = compared(rows.schema, schema, table.name, evolve=evolve)
    if new:
        schema, last = schemas.add_columns(schema, new, last)
    arrow = schemas.to_arrow(schema)
    now = _with(table, metadata.with_schema(table.metadata, schema, last))
    # Closed at once when a row does not fit: whoever reads ahead must have ended before its connection is closed.
    with closing(iter(rows)) as coming:
        named = renamed(coming, arrow)
        batches = aligned(sift(named, arrow) if sift else named, arrow, table.name)
        return Written(table, schema, last, arranging.write(now, batches))


@contextmanager
def kept_if_done(written: Written) -> Iterator[None]:
    """Delete data files again when the block, which makes a snapshot of them and commits it, raises."""
    try:
        yield
    except BaseException:
        datafiles.remove(written.records)
        raise


def append(table: Table, written: Written, facts: Mapping[str, str], sources: str | None = None) -> Table:
    """Return a table with files that were written for it, or for an earlier state of it, appended.

    Args:
        sources: the new value of the property that lists the ingested sources, if it changes.

    Raises:
        Conflict: when its columns changed meanwhile in a way that does not go with the files'.
    """
    table = with_columns_of(table, written)
    if sources is not None:
        table = _with(table, metadata.with_properties(table.metadata, {SOURCES: sources}))
    return snapshots.append(table, written.records, facts)


def with_columns_of(table: Table, written: Written) -> Table:
    """Return a table with the columns that files were written with, for it or for an earlier state of it.

    Raises:
        Conflict: when its own changed meanwhile in a way that does not go with them.
    """
    table = table.for_writing()
    if table.metadata["table-uuid"] != written.table.metadata["table-uuid"]:
        raise Conflict(f"Table {table.name!r} was replaced by another one meanwhile.", hint="Repeat.")
    schema = schemas.merged(written.table.schema, table.schema, written.schema)
    if schema is None:
        raise Conflict(f"The columns of table {table.name!r} changed meanwhile.", hint="Repeat.")
    return _with(table, metadata.with_schema(table.metadata, schema, written.last_column))


def overwrite(table: Table, written: Written, facts: Mapping[str, str], sources: str | None = None) -> Table:
    """Return a table with files that were written for it in the place of all that it had."""
    document = metadata.with_schema(table.for_writing().metadata, written.schema, written.last_column)
    document = metadata.with_properties(document, {SOURCES: sources, MOVED: None})
    return snapshots.replace(_with(table, document), None, written.records, "overwrite", facts)


def delete(table: Table, where: str, temporary: Path) -> Table:
    """Return a table without the rows for which a condition is true. Only files that hold such rows are rewritten.

    Args:
        where: a SQL condition over the table's columns.
        temporary: where DuckDB may spill.

    Raises:
        InputError: when the condition cannot be run.
    """
    table = table.for_writing()
    data = {str(f.path): f for f in table.data_files()}
    found = _matching(table, where, temporary)
    dropped = frozenset(data[path].record["file_path"] for path in found)
    if not dropped:
        return table
    written: list[Record] = []
    try:
        for path, matched in found.items():
            written += without_rows(table, data[path], matched, temporary)
        return snapshots.replace(table, dropped, written, "overwrite" if written else "delete")
    except BaseException:
        datafiles.remove(written)
        raise


def without_rows(
    table: Table, file: DataFile, matched: np.ndarray, temporary: Path, *, deleted_too: bool = False
) -> list[Record]:
    """Write a data file again without some of its rows; when none is left, nothing is written.

    Args:
        matched: the rows' numbers, sorted.
        deleted_too: keep rows that position deletes name: the file is new, so they mean none of it.
    """
    gone = matched if deleted_too else with_deleted(table, file, matched, temporary)
    return [_rewritten(file, gone, table)] if len(gone) < file.rows else []


def evolve(table: Table, change: Change) -> Table:
    """Return a table with another schema over the same files."""
    table = table.for_writing()
    schema, last = change(table.schema, table.metadata[metadata.LAST_COLUMN])
    document = metadata.with_schema(table.metadata, schema, last)
    names = {f["id"]: f["name"] for f in schema["fields"]}
    key = [f["id"] for f in table.schema["fields"] if f["name"] in table.properties.get(objects.KEY, "").split("\n")]
    kept = "\n".join(names[number] for number in key if number in names)
    return table.written(metadata.with_properties(document, {objects.KEY: kept or None}))


def arrange(table: Table, partition_by: Sequence[str] | None, sort_by: Sequence[str] | None) -> Table:
    """Return a table whose new files are divided and sorted in another way; None leaves either as it is.

    The files that it has stay as they are, and are read as before.
    """
    table = table.for_writing()
    document = apply(table.metadata, layout(partition_by, sort_by, table.schema))
    same = all(document[name] == table.metadata[name] for name in ("default-spec-id", "default-sort-order-id"))
    return table if same else table.written(document)


def layout(partition_by: Sequence[str] | None, sort_by: Sequence[str] | None, schema: schemas.Schema) -> list[Update]:
    """Return the updates of a table's metadata that give it a layout."""
    told: list[Update] = []
    if partition_by is not None:
        told.append({"action": "add-spec", "spec": {"spec-id": -1, **partitions.parse_spec(partition_by, schema)}})
        told.append({"action": "set-default-spec", "spec-id": -1})
    if sort_by is not None:
        order = partitions.parse_order(sort_by, schema)
        told.append({"action": "add-sort-order", "sort-order": {"order-id": 1 if sort_by else 0, **order}})
        told.append({"action": "set-default-sort-order", "sort-order-id": -1})
    return told


def _with(table: Table, document: metadata.Metadata) -> Table:
    return Table(table.name, table.folder, table.path, document)


def _matching(table: Table, where: str, temporary: Path) -> dict[str, np.ndarray]:
    with engine.opened(temporary) as connection, engine.told(f"Cannot delete from {table.name!r}"):
        engine.confine(connection, [table.folder])
        source = scans.scan(table, positions=True)
        # On lines of its own, so that a comment in the condition ends where the condition does.
        query = f"SELECT __file, __row FROM {source} WHERE (\n{where}\n)"
        if len(connection.extract_statements(query)) != 1:
            raise InputError(
                f"Cannot delete from {table.name!r}: {where!r} is not one condition.",
                hint="Write it as after WHERE, such as: amount < 0 and depot = 'north'",
            )
        return by_file(connection.sql(query).to_arrow_table())


def by_file(found: pa.Table) -> dict[str, np.ndarray]:
    """Return sorted row numbers by file, from a table of (file, row number)."""
    if not found.num_rows:
        return {}
    names = found.column(0).combine_chunks().dictionary_encode()
    codes, rows = names.indices.to_numpy(), found.column(1).to_numpy()
    return {name: np.sort(rows[codes == code]) for code, name in enumerate(names.dictionary.to_pylist())}


def with_deleted(table: Table, file: DataFile, matched: np.ndarray, temporary: Path) -> np.ndarray:
    """Return some row numbers of a file together with those that deletes take out, sorted."""
    if not table.deletes():
        return matched
    # Rows that position deletes took out must not come back in the new file, which no delete file names.
    with engine.opened(temporary) as connection:
        source = scans.scan(table, only=[file], positions=True)
        live = connection.sql(f"SELECT __file, __row FROM {source}").to_arrow_table()
    kept = by_file(live).get(str(file.path), np.empty(0, dtype=np.int64))
    return np.setdiff1d(np.arange(file.rows), np.setdiff1d(kept, matched))


def _rewritten(file: DataFile, positions: np.ndarray, table: Table) -> Record:
    folder = table.folder / "data"
    with files.working(folder, "writing.parquet") as working:
        record = datafiles.rewrite_without(file.path, positions, working, "")
        record["file_path"] = datafiles.named_by_content(working, folder)
        # Rows that were taken out leave the others where and in the order in which they were.
        record |= {name: file.record[name] for name in ("partition", SPEC_ID, "sort_order_id") if name in file.record}
        files.publish(working, place_named(record["file_path"]))
    return record
