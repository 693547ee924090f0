"""Contents that are tables: Parquet, Arrow and Avro, without a subject's rows and without its values in any cell."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.lake.forgetting import Replacing
from bascule.project.erasing.packed import DAMAGE, Room, Unread, inflated, unpacked
from bascule.project.erasing.values import cleaner, forms_of, without

if TYPE_CHECKING:
    from bascule.project.erasing.contents import Sought

PARQUET, ARROW, AVRO = b"PAR1", b"ARROW1", b"Obj\x01"
BATCH, SYNC = 65_536, 16
CODECS = {"zstandard": "zstd", "bzip2": "bz2", "xz": "xz"}  # of Avro, as we call them


def kind_of(data: bytes) -> bytes:
    """Return the first bytes of contents that are a table; empty when they are none."""
    if data[:4] == PARQUET == data[-4:]:
        return PARQUET
    if data[:6] == ARROW == data[-6:]:
        return ARROW
    return AVRO if data[:4] == AVRO else b""


def cleaned(data: bytes, sought: Sought, room: Room) -> bytes:
    """Return a table without the subject's rows, and without its distinctive values in the cells of others.

    Raises:
        Unread: it cannot be read, or has more in it than a file of its size can honestly hold.
    """
    kind = kind_of(data)
    try:
        if kind == AVRO:
            return _avro(data, sought, room)
        return _parquet(data, sought, room) if kind == PARQUET else _arrow(data, sought, room)
    except (*DAMAGE, KeyError, TypeError, AttributeError, fastavro.schema.SchemaParseException) as error:
        raise Unread("is damaged, or packed in a way that is not known") from error


def _parquet(data: bytes, sought: Sought, room: Room) -> bytes:
    """Read it batch by batch: once to see whether it holds the subject, and again to write it when it does."""
    file = pq.ParquetFile(pa.BufferReader(data))
    schema, rows = _schema(file.schema_arrow, sought), _replacing(sought)

    def fresh() -> Iterator[tuple[pa.RecordBatch, bool]]:
        for batch in file.iter_batches(batch_size=BATCH):
            room.see(batch.nbytes)
            yield _without(batch, sought, rows)

    if schema is file.schema_arrow and not any(changed for _, changed in fresh()):
        return data
    room.again()
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as target:
        for batch, _ in fresh():
            target.write_table(pa.table(batch.columns, schema=schema))
    return sink.getvalue()


def _arrow(data: bytes, sought: Sought, room: Room) -> bytes:
    file = pa.ipc.open_file(pa.BufferReader(data))
    rows, batches, any_changed, size = _replacing(sought), [], False, 0
    for n in range(file.num_record_batches):
        batch = file.get_batch(n)
        room.take(batch.nbytes)
        size += batch.nbytes
        batch, changed = _without(batch, sought, rows)
        any_changed |= changed
        batches.append(batch)
    schema = _schema(file.schema, sought)
    if not any_changed and schema is file.schema:
        return data
    sink = io.BytesIO()
    how = pa.ipc.IpcWriteOptions(compression="lz4" if size > len(data) else None, unify_dictionaries=True)
    with pa.ipc.new_file(sink, schema, options=how) as target:
        parts = [pa.table(batch.columns, schema=schema) for batch in batches]
        target.write_table(pa.concat_tables(parts))
    return sink.getvalue()


def _avro(data: bytes, sought: Sought, room: Room) -> bytes:
    source = io.BytesIO(data)
    reader = fastavro.reader(source)
    _measure(data, source.tell(), reader.codec, room)
    rows = _replacing(sought)
    kept: list[Any] = []
    changed = False
    for record in reader:
        fresh = rows.document(record)
        goes = isinstance(record, dict) and (sought.is_row(record) or (fresh != record and rows.goes(record)))
        changed |= goes or fresh != record
        kept += [] if goes else [fresh]
    if not changed:
        return data
    sink = io.BytesIO()
    told = {k: without(v, sought.key) for k, v in reader.metadata.items() if not k.startswith("avro.")}
    fastavro.writer(sink, reader.writer_schema, kept, codec=reader.codec, metadata=told)
    return sink.getvalue()


def _measure(data: bytes, at: int, codec: str, room: Room) -> None:
    """Take the room that the blocks of an Avro file need, before any of them is unpacked into records."""
    while at < len(data):
        count, at = _long(data, at)
        size, at = _long(data, at)
        body, at = data[at : at + size], at + size + SYNC
        if min(count, size) < 0 or at > len(data):
            raise ValueError("a block ends early")
        room.take(count)
        if codec == "null":
            room.take(size)
        elif codec == "snappy":
            room.take(_varint(body, 0)[0])
        elif codec == "deflate":
            inflated(body, room, raw=True)
        else:
            unpacked(body, CODECS[codec], room)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number ends early")
        found |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return found, at


def _long(data: bytes, at: int) -> tuple[int, int]:
    found, at = _varint(data, at)
    return (found >> 1) ^ -(found & 1), at


def _replacing(sought: Sought) -> Replacing:
    """Return what takes values out of cells as out of tables' rows; by the policy rows in which a cell is one go."""
    values = set(sought.values)
    forms = forms_of(sorted(values))

    def goes(row: Mapping[str, Any]) -> bool:
        return sought.removes and any(isinstance(cell, str) and cell in values for cell in row.values())

    return Replacing(forms, cleaner(forms), goes, frozenset(), lambda _: {})


def _without(batch: pa.RecordBatch, sought: Sought, rows: Replacing) -> tuple[pa.RecordBatch, bool]:
    """Return a batch without the subject's rows and values, and whether that changed it."""
    before = batch
    columns = {name.casefold(): n for n, name in enumerate(batch.schema.names)}
    if all(column.casefold() in columns for column in sought.key):
        mine = _keyed(batch, columns, sought)
        batch = batch.filter(pc.invert(mine)) if pc.any(mine).as_py() else batch
    if rows.needles:
        plain = [_decoded(column) for column in batch.columns]
        fresh = rows.batch(pa.RecordBatch.from_arrays(plain, names=batch.schema.names))
        if fresh is not None:
            coded = [
                c if c.type == f.type else c.cast(f.type) for c, f in zip(fresh.columns, batch.schema, strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(coded, schema=batch.schema)
    return batch, batch is not before


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _schema(schema: pa.Schema, sought: Sought) -> pa.Schema:
    """Return a schema without distinctive values in its names and its notes; the same one when it has none."""
    if not sought.values:
        return schema
    names = [without(name, sought.key) for name in schema.names]
    notes = {key.decode("utf-8", "surrogateescape"): value for key, value in (schema.metadata or {}).items()}
    fresh = {
        without(key, sought.key).encode("utf-8", "surrogateescape"): without(
            value.decode("utf-8", "surrogateescape"), sought.key
        ).encode("utf-8", "surrogateescape")
        for key, value in notes.items()
    }
    if names == schema.names and fresh == (schema.metadata or {}):
        return schema
    return pa.schema([f.with_name(n) for f, n in zip(schema, names, strict=True)], metadata=fresh)


def _keyed(batch: pa.RecordBatch, columns: Mapping[str, int], sought: Sought) -> pa.Array:
    hit = pa.array([True] * batch.num_rows)
    for column, value in sought.key.items():
        cells = _decoded(batch.column(columns[column.casefold()]))
        try:
            hit = pc.and_(hit, pc.fill_null(pc.equal(pc.cast(cells, pa.string()), str(value)), False))
        except pa.ArrowException:
            return pa.array([False] * batch.num_rows)
    if sought.values:
        return hit
    places = pc.indices_nonzero(hit).to_pylist()
    rows = batch.take(pa.array(places, pa.int64())).to_pylist()
    mine = {n for n, row in zip(places, rows, strict=True) if sought.is_row(row)}
    return pa.array([n in mine for n in range(batch.num_rows)])
