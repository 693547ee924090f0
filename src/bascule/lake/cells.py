"""Cells of Arrow as plain values, also those that Python has no value for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from bascule.lake import spans

# As DuckDB keeps them: of times with 64 bits, of days with 32.
_INFINITE = {2**63 - 1: "infinity", 1 - 2**63: "-infinity", 2**31 - 1: "infinity", 1 - 2**31: "-infinity"}


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; those that Python has none for are texts.

    These are days and times outside of its years 1 to 9999, such as `12000-01-01`, and spans of time with months.
    """
    if pa.types.is_interval(column.type):
        return [value(one) for one in column]
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        found = [value(one) for one in column]
    return found


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table's rows by the names of its columns, with `values` of each."""
    columns = [values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def value(one: pa.Scalar) -> Any:
    """Return one value, with parts that Python has no value for as texts."""
    if pa.types.is_interval(one.type):
        return spans.texts(pa.array([one], one.type))[0].as_py()
    try:
        return one.as_py()
    except (OverflowError, ValueError):
        if isinstance(one, pa.StructScalar):
            return {name: value(part) for name, part in one.items()}
        if isinstance(one, pa.ListScalar):  # a large list and a map, too
            return [value(part) for part in one.values]
        return _INFINITE.get(one.value) or one.cast(pa.string()).as_py()
