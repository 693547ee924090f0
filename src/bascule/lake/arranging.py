"""Writing rows as a table's partition spec and sort order want them.

Rows of a table that is divided or sorted go through DuckDB's sort, which spills to disk, by partition and then by the
table's order. So one file is open at a time and memory is bounded, however many partitions there are. Rows that are
equal in all of that stay in the order in which they came.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import BasculeError
from bascule.lake import engine
from bascule.lake.iceberg import datafiles, files, partitions, schemas, transforms
from bascule.lake.iceberg.aligning import aligned
from bascule.lake.iceberg.datafiles import Record
from bascule.lake.iceberg.partitions import Part
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import Type, to_arrow
from bascule.store import ObjectPath

BATCH_ROWS = 65_536

# A partition's values and some of its rows.
Piece = tuple[tuple[Any, ...], pa.RecordBatch]


def write(table: Table, batches: Iterable[pa.RecordBatch]) -> list[Record]:
    """Write rows as data files of a table, and return what manifests say of them.

    Args:
        batches: the rows, in the columns and types of the table's current schema.
    """
    folder = table.folder / "data"
    parts, order = partitions.parts(table.metadata), partitions.order_of(table.metadata)
    if not parts and not order["fields"]:
        return datafiles.write(batches, table.schema, folder)
    written: list[Record] = []
    spec, sorting = table.metadata["default-spec-id"], order["order-id"] or None
    try:
        for values, pieces in groupby(_sorted(table, batches, parts, order["fields"]), key=_named):
            held = dict(zip((part.id for part in parts), values.values, strict=True))
            for record in datafiles.write((batch for _, batch in pieces), table.schema, folder):
                written.append({**record, "partition": held, partitions.SPEC_ID: spec, "sort_order_id": sorting})
    except BaseException:
        datafiles.remove(written)
        raise
    return written


class _Held:
    """A partition's values, which are equal when they are written alike: also NaN is itself."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and repr(self.values) == repr(other.values)

    __hash__ = None  # type: ignore[assignment]


def _named(piece: Piece) -> _Held:
    return _Held(piece[0])


def _sorted(
    table: Table, batches: Iterable[pa.RecordBatch], parts: Sequence[Part], order: Sequence[dict[str, Any]]
) -> Iterator[Piece]:
    """Yield the rows by partition, and in a partition in the table's order."""
    arrow = schemas.to_arrow(table.schema)
    terms = [_term(table.schema, part.source, part.transform) for part in parts]
    terms += [_term(table.schema, field["source-id"], field["transform"]) for field in order]
    by = [f"t{i} ASC NULLS FIRST" for i in range(len(parts))]
    for i, field in enumerate(order, len(parts)):
        nulls = field["null-order"].removeprefix("nulls-")
        by.append(f"t{i} {field['direction']} NULLS {nulls}")
    columns = ", ".join([*(f"c{i}" for i in range(len(arrow))), *(f"t{i}" for i in range(len(parts)))])
    with _spilling(table) as temporary, engine.opened(temporary) as connection:
        failed: list[BaseException] = []
        connection.register("incoming", _numbered(_noting(batches, failed), arrow, terms))
        try:
            with engine.told(f"The rows for table {table.name!r} cannot be sorted"):
                found = connection.sql(f"SELECT {columns} FROM incoming ORDER BY {', '.join([*by, 'n'])}")
                for batch in found.to_arrow_reader(BATCH_ROWS):
                    yield from _cut(batch, arrow, len(parts), table.name)
        except BasculeError:
            if failed:
                raise failed[0] from None
            raise


def _noting(batches: Iterable[pa.RecordBatch], failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and note what stops them: DuckDB makes text with a traceback of it."""
    try:
        yield from batches
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            failed.append(error)
        raise


@dataclass(frozen=True, slots=True)
class _Term:
    """What rows are divided or sorted by: the way to a column, its type, and what is made of it."""

    way: tuple[str, ...]
    kind: Type
    transform: str

    @property
    def arrow(self) -> pa.DataType:
        return to_arrow(transforms.result_type(self.transform, self.kind))

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        column = batch.column(self.way[0])
        if len(self.way) > 1:
            column = pc.struct_field(column, list(self.way[1:]))
        return transforms.apply(self.transform, self.kind, column)


def _term(schema: schemas.Schema, source: int, transform: str) -> _Term:
    way = partitions.way_to(schema, source)
    kind = next(field["type"] for found, _, field in partitions.leaves(schema) if found == way)
    return _Term(way, kind, transform)


def _numbered(batches: Iterable[pa.RecordBatch], arrow: pa.Schema, terms: Sequence[_Term]) -> pa.RecordBatchReader:
    """Name columns by their places, so that no name can clash, and add the terms and the rows' numbers."""
    fields = [(f"c{i}", field.type) for i, field in enumerate(arrow)]
    fields += [(f"t{i}", term.arrow) for i, term in enumerate(terms)]
    schema = pa.schema([*fields, ("n", pa.int64())])

    def numbered() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in batches:
            numbers = pa.array(np.arange(start, start + batch.num_rows))
            start += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, *(t.of(batch) for t in terms), numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, numbered())


def _cut(batch: pa.RecordBatch, arrow: pa.Schema, parts: int, table: str) -> Iterator[Piece]:
    """Cut a batch where a partition ends."""
    rows = pa.RecordBatch.from_arrays(batch.columns[: len(arrow)], arrow.names)
    (rows,) = aligned([rows], arrow, table)
    held = batch.columns[len(arrow) : len(arrow) + parts]
    codes = [np.asarray(pc.fill_null(column.dictionary_encode(null_encoding="encode").indices, -1)) for column in held]
    ends = np.unique(np.concatenate([[0, batch.num_rows], *(np.flatnonzero(np.diff(code)) + 1 for code in codes)]))
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        yield tuple(transforms.plain(column[start]) for column in held), rows.slice(start, end - start)


@contextmanager
def _spilling(table: Table) -> Iterator[Path]:
    """Give a folder on the disk that the table is on, for what does not fit in memory."""
    near = table.folder.shelf.temporary if isinstance(table.folder, ObjectPath) else table.folder / "data"
    near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(suffix=files.UNFINISHED, dir=near) as name:
        yield Path(name)
