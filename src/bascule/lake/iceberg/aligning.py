"""Rows brought to a table's columns, order and types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from bascule.errors import InputError
from bascule.lake.iceberg.fitting import Lossy, Unlike, fitted


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
