"""Arrow columns as the rows of a request: numbers as they are, times as texts or microseconds, categories as texts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows, rows_of_columns


def rows_of_arrow(table: pa.Table, names: Sequence[str], model: LoadedModel) -> Rows:
    """Return a table's rows.

    Args:
        names: of its columns.

    Raises:
        InputError: a column is of a type that no model reads; the text names it.
    """
    if model.numeric and frozenset(names) == model.encoder.known and all(map(_is_number, table.schema.types)):
        columns = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in model.encoder.names]
        return Rows(table.num_rows, None, np.column_stack(columns) if columns else np.empty((table.num_rows, 0)))
    try:
        return rows_of_columns(
            {name: _values(name, table[name], name in model.blobs) for name in names}, table.num_rows
        )
    except pa.ArrowException as error:
        raise InputError(f"The columns have values that cannot be read: {str(error)[:200]}.") from None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _values(name: str, column: pa.ChunkedArray, blobs: bool) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        column = pc.strftime(column.cast(pa.timestamp("s")), format="%Y-%m-%d")
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif blobs and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return [None if value is None else b64encode(value).decode() for value in column.to_pylist()]
    elif not (
        _is_number(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    ):
        raise InputError(f"The column {name!r} is {kind}, which no model reads.")
    found: list[Any] = column.to_pylist()
    return found
