"""Data files: Parquet written as a stream, with the field ids and the statistics that Iceberg keeps of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.errors import InputError
from bascule.lake.iceberg import bounds, files, manifests, schemas
from bascule.lake.iceberg.fitting import Lossy, Unlike, fitted
from bascule.lake.iceberg.types import FIELD_ID, primitive_from_arrow
from bascule.store import Place
from bascule.store.places import place_named

ROWS_PER_GROUP = 122_880  # what DuckDB gives one thread
CHUNK = 8_192
FEW = 16  # pieces
GROUP_BYTES = 64 << 20
FILE_BYTES = 256 << 20
COMPRESSION_LEVEL = 3

# A data file as a manifest holds it.
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table.

    Attributes:
        path: where it is.
        rows, bytes: how much is in it.
        record: what the manifest says of it.
        snapshot_id: the snapshot that brought it.
    """

    path: Place
    rows: int
    bytes: int
    record: Record
    snapshot_id: int

    @property
    def digest(self) -> str:
        """What stands for its content: the BLAKE3 in the name of a file that Bascule wrote, else name and size."""
        return content_of(self.record)


def content_of(record: Record) -> str:
    """Return what stands for a data file's content."""
    name = str(record["file_path"]).rpartition("/")[2]
    return name.partition("-")[0] if is_own(record) else f"{name}:{record['file_size_in_bytes']}"


def is_own(record: Record) -> bool:
    """Tell whether Bascule wrote a data file, and so what is said of it: its name begins with its digest."""
    name = str(record["file_path"]).rpartition("/")[2]
    return len(name.partition("-")[0]) == 64 and name.endswith(".parquet")


def write(
    batches: Iterable[pa.RecordBatch], schema: schemas.Schema, folder: Place, file_bytes: int | None = None
) -> list[Record]:
    """Write rows as Parquet files in a folder, and return what manifests say of them.

    Memory is bounded by one row group, whatever the length of the stream. The same rows in the same order give files
    with the same bytes, however they were cut into batches. When the stream raises, no file is left.

    Args:
        batches: the rows, in the schema's columns and types.
        schema: the table's schema.
        folder: the table's `data` folder.
        file_bytes: about how large a file becomes before the next one is begun; `FILE_BYTES` when None.
    """
    arrow = schemas.to_arrow(schema)
    coming = _Coming(_groups(batches, arrow))
    written: list[Record] = []
    try:
        while coming.has_more:
            written.append(_write_file(coming, arrow, folder, file_bytes or FILE_BYTES))
    except BaseException:
        remove(written)
        raise
    return written


def remove(records: Iterable[Record]) -> None:
    """Delete files that no snapshot was made of."""
    for record in records:
        place_named(record["file_path"]).unlink(missing_ok=True)


def rewrite_without(
    source: Place,
    positions: np.ndarray,
    target: Path,
    place: str,
    change: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]] = iter,
) -> Record:
    """Copy a data file without the rows at some positions. Every other row, and every column, stays as it is.

    Args:
        source: the file.
        positions: row numbers from 0, sorted.
        target: the path to write; the caller decides how it becomes visible.
        place: the path that manifests will say.
        change: gives the rows, of which none is left out yet, with other values.

    Returns:
        What manifests say of the new file.
    """
    with pq.ParquetFile(files.readable(source)) as old:
        schema = old.schema_arrow.remove_metadata()
        groups = _groups(without(change(old.iter_batches(batch_size=CHUNK)), positions), schema)
        with files.told(target), open(target, "xb") as sink, pq.ParquetWriter(sink, schema, **_options(schema)) as out:
            floats = _Floats(schema)
            for group in groups:
                out.write_table(group, row_group_size=group.num_rows)
                floats.count(group)
    return measure(target, schema, floats, place)


def measure(path: Path, schema: pa.Schema, floats: _Floats, place: str) -> Record:
    """Return what a manifest says of a Parquet file: its size and the statistics from its footer.

    Args:
        schema: the file's, with field ids; a column without one has no statistics.
        place: the path to say.
    """
    footer = pq.read_metadata(path)
    groups = [footer.row_group(g) for g in range(footer.num_row_groups)]
    parts = [(i, n, kind, repeats) for i, (n, kind, repeats) in enumerate(_parts(schema)) if n is not None]
    columns = {number: [group.column(i) for group in groups] for i, number, _, _ in parts}
    flat = [(number, kind) for _, number, kind, repeats in parts if not repeats]
    nulls = {number: _nulls(columns[number]) for number, _ in flat} | floats.nulls
    low, high = _bounds(columns, flat, floats.limits)
    return {
        "content": manifests.DATA,
        "file_path": place,
        "file_format": "PARQUET",
        "partition": {},
        "record_count": footer.num_rows,
        "file_size_in_bytes": path.stat().st_size,
        "column_sizes": _pairs({n: sum(c.total_compressed_size for c in chunks) for n, chunks in columns.items()}),
        "value_counts": _pairs({number: sum(c.num_values for c in columns[number]) for number, _ in flat}),
        "null_value_counts": _pairs({n: count for n, count in nulls.items() if count is not None}),
        "nan_value_counts": _pairs(floats.nans),
        "lower_bounds": _pairs(low),
        "upper_bounds": _pairs(high),
        "key_metadata": None,
        "split_offsets": [_offset(group) for group in groups],
        "equality_ids": None,
        "sort_order_id": None,
    }


def _options(schema: pa.Schema) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        # A dictionary of floats is as long as they are: files grow, and reading them takes half as long again.
        "use_dictionary": [path for field in schema for path in _coded(field.name, field.type)],
        # The Arrow schema in the footer would only repeat what the Parquet schema says.
        "store_schema": False,
        "write_page_index": False,
        "write_statistics": _told_of(schema),
        "version": "2.6",
    }


class _Floats:
    """What the float columns of a file hold, by field id: how many NaN, and the least and the greatest number.

    A Parquet footer does not tell of NaN, and DuckDB takes what it says of least and greatest for all there is: rows
    with NaN, which is greater than every number, would be missing from `x > 1`. So the footer says nothing of floats.
    """

    def __init__(self, schema: pa.Schema) -> None:
        floats = [field for field in schema if pa.types.is_floating(field.type)]
        self._names = {field.name: number for field in floats if (number := _id(field)) is not None}
        self.nans = dict.fromkeys(self._names.values(), 0)
        self.nulls = dict.fromkeys(self._names.values(), 0)
        self.limits: dict[int, tuple[float, float]] = {}

    def count(self, rows: pa.Table) -> None:
        for name, number in self._names.items():
            values = rows[name]
            nan = pc.is_nan(values)
            found = pc.sum(nan).as_py() or 0
            self.nans[number] += found
            self.nulls[number] += values.null_count
            if found:
                values = pc.if_else(nan, None, values)
            least, most = pc.min_max(values).as_py().values()
            if least is not None:
                before = self.limits.get(number, (least, most))
                # Both zeros are one value, of which -0.0 is the lesser in a bound.
                self.limits[number] = min(before[0], least) or -0.0, max(before[1], most) or 0.0


def _told_of(schema: pa.Schema) -> list[str]:
    # The columns of which the footer tells least and greatest, as Parquet names them.
    return [path for field in schema for path in _leaves(field.name, field.type)]


def _coded(path: str, kind: pa.DataType) -> list[str]:
    # The leaf columns that a dictionary may shorten, as Parquet names them.
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return [leaf for field in inner for leaf in _coded(f"{path}.{field.name}", field.type)]
    if pa.types.is_map(kind):
        pairs = (("key", kind.key_type), ("value", kind.item_type))
        return [leaf for name, inner in pairs for leaf in _coded(f"{path}.key_value.{name}", inner)]
    if pa.types.is_nested(kind):
        return _coded(f"{path}.list.element", kind.value_type)
    return [] if pa.types.is_floating(kind) else [path]


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return [leaf for field in inner for leaf in _leaves(f"{path}.{field.name}", field.type)]
    if pa.types.is_nested(kind) or pa.types.is_floating(kind):
        return []
    return [path]


class _Coming:
    # Row groups, of which it is known whether one more comes. None is held while the next one is made.

    def __init__(self, groups: Iterator[pa.Table]) -> None:
        self._groups = groups
        self._next = next(groups, None)

    @property
    def has_more(self) -> bool:
        return self._next is not None

    def write_next(self, out: pq.ParquetWriter, floats: _Floats) -> None:
        assert self._next is not None
        out.write_table(self._next, row_group_size=self._next.num_rows)
        floats.count(self._next)
        self._next = None
        self._next = next(self._groups, None)


def _write_file(coming: _Coming, schema: pa.Schema, folder: Place, file_bytes: int) -> Record:
    floats = _Floats(schema)
    with files.working(folder, "writing.parquet") as working:
        with (
            files.told(working),
            open(working, "xb") as sink,
            pq.ParquetWriter(sink, schema, **_options(schema)) as out,
        ):
            while coming.has_more:
                coming.write_next(out, floats)
                if sink.tell() >= file_bytes:
                    break
        record = measure(working, schema, floats, named_by_content(working, folder))
        files.publish(working, place_named(record["file_path"]))
    return record


def named_by_content(path: Path, folder: Place) -> str:
    """Return the place for a data file: its name says its content.

    The ending keeps two appends of equal rows apart: Iceberg wants a path at most once in a snapshot.
    """
    return str(folder / f"{files.digest(path)}-{uuid.uuid4().hex[:8]}.parquet")


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    # Cut at multiples of CHUNK rows and copied into one piece: where batches happened to end must not show in the file.
    waiting, chunks = schema.empty_table(), _Chunks()
    for rows in _gathered(batches, schema):
        waiting = pa.concat_tables([waiting, rows])
        while waiting.num_rows:
            if not chunks.rows and _is_light(waiting):
                if waiting.num_rows < ROWS_PER_GROUP:
                    break
                yield waiting.slice(0, ROWS_PER_GROUP).combine_chunks()
                waiting = waiting.slice(ROWS_PER_GROUP)
                continue
            if waiting.num_rows < CHUNK:
                break
            chunks.add(waiting.slice(0, CHUNK))
            waiting = waiting.slice(CHUNK)
            if chunks.are_enough:
                yield chunks.taken()
    if waiting.num_rows or chunks.rows:
        chunks.add(waiting)
        yield chunks.taken()


def _gathered(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    # At least CHUNK rows at once, in a few pieces: a look at each of very many small batches would cost more than they.
    coming: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        coming.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK:
            table = pa.Table.from_batches(coming, schema)
            yield table if len(coming) <= FEW else table.combine_chunks()
            coming, rows = [], 0
    if coming:
        yield pa.Table.from_batches(coming, schema)


def _is_light(rows: pa.Table) -> bool:
    # Whether rows are far from GROUP_BYTES, however they are copied: then their number alone says where to cut.
    return bool(2 * rows.nbytes + rows.num_rows * rows.num_columns < GROUP_BYTES)


class _Chunks:
    # Rows that may be many bytes, copied chunk by chunk: the size of what is in one piece says nothing of cuts.

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self.rows = self._size = 0

    def add(self, rows: pa.Table) -> None:
        chunk = rows.combine_chunks()
        self._tables.append(chunk)
        self.rows += chunk.num_rows
        self._size += chunk.nbytes

    @property
    def are_enough(self) -> bool:
        return self.rows >= ROWS_PER_GROUP or self._size >= GROUP_BYTES

    def taken(self) -> pa.Table:
        group = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self.rows, self._size = [], 0, 0
        return group


def without(batches: Iterable[pa.RecordBatch], positions: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Leave out the rows at some positions, which are counted from 0 over all batches and sorted."""
    start = 0
    for batch in batches:
        low, high = np.searchsorted(positions, [start, start + batch.num_rows])
        if low < high:
            keep = np.ones(batch.num_rows, dtype=bool)
            keep[positions[low:high] - start] = False
            start += batch.num_rows
            yield batch.filter(pa.array(keep))
        else:
            start += batch.num_rows
            yield batch


def _id(field: pa.Field) -> int | None:
    number = (field.metadata or {}).get(FIELD_ID)
    return int(number) if number is not None else None


def _parts(fields: Iterable[pa.Field], repeats: bool = False) -> Iterator[tuple[int | None, str, bool]]:
    # The leaf columns in Parquet's order: id, Iceberg type, whether one row may hold several values.
    for field in fields:
        kind = field.type
        if pa.types.is_struct(kind):
            yield from _parts([kind.field(i) for i in range(kind.num_fields)], repeats)
        elif pa.types.is_map(kind):
            yield from _parts([kind.key_field, kind.item_field], True)
        elif pa.types.is_nested(kind):
            yield from _parts([kind.value_field], True)
        else:
            storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
            yield _id(field), primitive_from_arrow(storage, field.name), repeats


def _nulls(chunks: list[Any]) -> int | None:
    found = [c.statistics.null_count for c in chunks if c.is_stats_set and c.statistics.has_null_count]
    return sum(found) if len(found) == len(chunks) else None


def _bounds(
    columns: dict[int, list[Any]], flat: list[tuple[int, str]], known: dict[int, tuple[float, float]]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    low: dict[int, bytes] = {}
    high: dict[int, bytes] = {}
    for number, kind in flat:
        limits = known.get(number) or _limits(kind, columns[number])
        if limits is None:
            continue
        least, most = bounds.lower(kind, limits[0]), bounds.upper(kind, limits[1])
        if least is not None:
            low[number] = least
        if most is not None:
            high[number] = most
    return low, high


def _limits(kind: str, chunks: list[Any]) -> tuple[Any, Any] | None:
    found = []
    for chunk in chunks:
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is None:
            return None
        limits = bounds.from_statistics(kind, statistics)
        if limits is not None:
            found.append(limits)
        elif not (statistics.has_null_count and statistics.null_count == chunk.num_values):
            return None  # it has values, and the footer does not say between what
    if not found:
        return None
    return min(limit[0] for limit in found), max(limit[1] for limit in found)


def _offset(group: Any) -> int:
    column = group.column(0)
    dictionary = column.dictionary_page_offset
    data = column.data_page_offset
    return int(min(dictionary, data) if dictionary else data)


def _pairs(values: dict[int, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def aligned(batches: Iterable[pa.RecordBatch], arrow: pa.Schema, table: str) -> Iterator[pa.RecordBatch]:
    """Bring batches to a schema's columns, order and types. A column that is not there is filled with nulls.

    Raises:
        InputError: for a value that does not fit without loss, or a missing one where none may be, naming the column.
    """
    for batch in batches:
        columns = [_column(batch, field, table) for field in arrow]
        yield pa.RecordBatch.from_arrays(columns, schema=arrow)


def column_for(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Return a batch's column for a field of a table, in its own type; nulls where the batch has none."""
    index = batch.schema.get_field_index(field.name)
    found = batch.column(index) if index >= 0 else pa.nulls(batch.num_rows, field.type)
    return found.storage if isinstance(found, pa.ExtensionArray) else found


def _column(batch: pa.RecordBatch, field: pa.Field, table: str) -> pa.Array:
    found = column_for(batch, field)
    try:
        found = fitted(found, field.type)
    except (Lossy, Unlike) as error:
        raise InputError(
            f"Column {field.name!r} of table {table!r} is {field.type}; {found.type} does not fit in it: {error}.",
            hint="Cast the column, or widen the table's.",
        ) from error
    if not field.nullable and found.null_count:
        raise InputError(
            f"Column {field.name!r} of table {table!r} must have a value; {found.null_count} rows do not.",
            hint="Fill the column, or leave those rows out.",
        )
    return found
