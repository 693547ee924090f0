"""Spool: rows and bytes on their way in, in files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.errors import EnvironmentProblem, InputError
from bascule.lake import engine, spans
from bascule.lake.iceberg.types import literal, quoted

ROWS_AT_ONCE = 65_536


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when the block ends well, durable, and is gone when it raises."""
    working = path.with_name(f"{path.name}.writing")
    try:
        with working.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        working.replace(path)
    except OSError as error:
        working.unlink(missing_ok=True)
        raise EnvironmentProblem(
            f"{path} cannot be written: {error.strerror or error}.", hint="Check the disk's space and rights."
        ) from error
    except BaseException:
        working.unlink(missing_ok=True)
        raise


def write_arrow(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, count: Callable[[int, int], None] | None = None
) -> int:
    """Write batches to a Parquet file and return how many rows they had. Memory holds one batch.

    Args:
        count: told rows and bytes of what came so far.
    """
    rows = taken = 0
    with whole(path) as out, pq.ParquetWriter(out, schema, compression="zstd", compression_level=1) as writer:
        for batch in _read(batches):
            writer.write_batch(batch)
            rows, taken = rows + batch.num_rows, taken + batch.nbytes
            if count is not None:
                count(rows, taken)
    return rows


def _read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Iterate over batches whose own trouble with reading is not that of the disk they are written to."""
    rest = iter(batches)
    while True:
        try:
            batch = next(rest, None)
        except OSError as error:
            raise pa.ArrowInvalid(str(error)) from error
        if batch is None:
            return
        yield batch


def sorted_digest(path: Path, *words: str) -> str:
    """Return a digest of the rows of a Parquet file in whatever order they come, and of some words.

    A database gives the same rows in another order each time; that is no other content.
    """
    with engine.opened() as connection:
        names = [quoted(name) for name in pq.read_schema(path).names]
        query = (
            f"SELECT count(*), coalesce(sum(hash({', '.join(names)})::HUGEINT), 0)::VARCHAR, "
            f"bit_xor(hash({', '.join(names)})) FROM read_parquet({literal(str(path))})"
        )
        try:
            found = connection.execute(query).fetchall()[0]
        except duckdb.Error as error:
            raise InputError(f"{path} cannot be read: {engine.message(error)}") from error
    from bascule.lake.origins.origin import named

    return named(*words, *names, *(str(one) for one in found))


def checked_schema(schema: pa.Schema, what: str) -> pa.Schema:
    """Return an Arrow schema whose columns have names of their own and types that a table can hold.

    Dictionaries become their values; columns without a name are named by their place; nulls and spans of time become
    texts.

    Raises:
        InputError: two columns have one name.
    """
    fields, seen = [], set()
    for place, one in enumerate(schema, 1):
        name = one.name.strip() or f"column{place}"
        if name.casefold() in seen:
            raise InputError(f"{what}: two columns are named {name!r}.", hint="Give every column a name of its own.")
        seen.add(name.casefold())
        kind = one.type.value_type if pa.types.is_dictionary(one.type) else one.type
        fields.append(pa.field(name, pa.string() if pa.types.is_null(kind) or spans.is_span(kind) else kind))
    if not fields:
        raise InputError(f"{what} has no columns.", hint="Give rows with columns.")
    return pa.schema(fields)


def as_schema(batch: pa.RecordBatch, schema: pa.Schema, what: str) -> pa.RecordBatch:
    """Return a batch with exactly the columns and types of a schema, by place.

    Raises:
        InputError: it has others.
    """
    if batch.num_columns != len(schema):
        raise InputError(
            f"{what}: a batch has {batch.num_columns} columns, the first had {len(schema)}.",
            hint="Every batch must have the same columns.",
        )
    try:
        arrays = [_as(column, one.type) for column, one in zip(batch.columns, schema, strict=True)]
    except pa.ArrowException as error:
        raise InputError(f"{what}: a batch has values of another type: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if spans.is_span(column.type) and pa.types.is_string(kind):
        return spans.texts(column)
    return column.cast(kind)
