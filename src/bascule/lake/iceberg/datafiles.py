"""Data files: Parquet written as a stream, with the field ids and the statistics that Iceberg keeps of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.lake.iceberg import files, schemas
from bascule.lake.iceberg.rowgroups import CHUNK, grouped
from bascule.lake.iceberg.statistics import Floats, columns_told, measure
from bascule.store import Place
from bascule.store.places import place_named

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
    coming = _Coming(grouped(batches, arrow))
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
        groups = grouped(without(change(old.iter_batches(batch_size=CHUNK)), positions), schema)
        with files.told(target), open(target, "xb") as sink, pq.ParquetWriter(sink, schema, **_options(schema)) as out:
            floats = Floats(schema)
            for group in groups:
                out.write_table(group, row_group_size=group.num_rows)
                floats.count(group)
    return measure(target, schema, floats, place)


def _options(schema: pa.Schema) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        # A dictionary of floats is as long as they are: files grow, and reading them takes half as long again.
        "use_dictionary": [path for field in schema for path in _coded(field.name, field.type)],
        # The Arrow schema in the footer would only repeat what the Parquet schema says.
        "store_schema": False,
        "write_page_index": False,
        "write_statistics": columns_told(schema),
        "version": "2.6",
    }


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


class _Coming:
    # Row groups, of which it is known whether one more comes. None is held while the next one is made.

    def __init__(self, groups: Iterator[pa.Table]) -> None:
        self._groups = groups
        self._next = next(groups, None)

    @property
    def has_more(self) -> bool:
        return self._next is not None

    def write_next(self, out: pq.ParquetWriter, floats: Floats) -> None:
        assert self._next is not None
        out.write_table(self._next, row_group_size=self._next.num_rows)
        floats.count(self._next)
        self._next = None
        self._next = next(self._groups, None)


def _write_file(coming: _Coming, schema: pa.Schema, folder: Place, file_bytes: int) -> Record:
    floats = Floats(schema)
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
