"""What rows may come as: one reader of record batches for each, without holding all of them where they need not be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, time
from itertools import chain, islice
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bascule.errors import InputError

BATCH_ROWS = 65_536
# A batch of dicts: enough to tell what the values are.
DICTS = 8_192


def reader(data: Any, expected: Callable[[], pa.Schema] | None = None) -> pa.RecordBatchReader:
    """Return a reader of whatever holds rows; see `Rows`."""
    found = _whole(data)
    if found is not None:
        return found
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        return _one_after_the_other(iter(data), type(data).__name__, expected)
    raise _refused(type(data).__name__)


def _whole(data: Any) -> pa.RecordBatchReader | None:
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, duckdb.DuckDBPyRelation):
        return data.to_arrow_reader(BATCH_ROWS)
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if _is(data, "pandas", "DataFrame"):
        return _pandas(data).to_reader()
    if _is(data, "polars", "LazyFrame"):
        return _lazy(data)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    return None


def _is(data: Any, package: str, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == package for kind in type(data).__mro__)


def _pandas(frame: Any) -> pa.Table:
    # An index with a name is a column; one without is where a row happened to stand in some other frame.
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(level=named) if named else frame
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _lazy(frame: Any) -> pa.RecordBatchReader:
    batches = iter(frame.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True))
    first = next(batches, None)
    return _joined(chain([first], batches)) if first is not None else pa.RecordBatchReader.from_stream(frame.collect())


def _one_after_the_other(
    items: Iterator[Any], kind: str, columns: Callable[[], pa.Schema] | None
) -> pa.RecordBatchReader:
    first = next(items, None)
    expected = columns() if columns is not None else None
    if first is None and expected is not None:
        return pa.RecordBatchReader.from_batches(expected, [])
    if first is None:
        raise InputError(
            f"The {kind} holds no rows, and so says no columns.",
            hint="Make the table with its columns first (create), or give an Arrow table, which has a schema.",
        )
    if isinstance(first, Mapping):
        return _of_dicts(chain([first], items), expected)
    if isinstance(first, str | bytes) or not (
        hasattr(first, "__arrow_c_stream__") or hasattr(first, "__arrow_c_array__")
    ):
        raise _refused(kind)
    return _joined(chain([first], items))


def _joined(items: Iterable[Any]) -> pa.RecordBatchReader:
    readers = (_whole(item) or reader(item) for item in items)
    first = next(readers)
    schema = first.schema.remove_metadata()

    def batches() -> Iterator[pa.RecordBatch]:
        for number, one in enumerate(chain([first], readers)):
            if one.schema.names != schema.names:
                raise InputError(
                    f"Piece {number + 1} of the rows has the columns {', '.join(one.schema.names)}; "
                    f"the first has {', '.join(schema.names)}."
                )
            for batch in one:
                yield batch.cast(schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _of_dicts(items: Iterator[Any], expected: pa.Schema | None) -> pa.RecordBatchReader:
    rows = list(islice(items, DICTS))
    kinds = {field.name.casefold(): field for field in expected or ()}
    names = dict.fromkeys(name for row in rows for name in row)
    fields = [
        pa.field(name, kinds[name.casefold()].type if name.casefold() in kinds else _kind(rows, name)) for name in names
    ]
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        start, some = 0, rows
        while some:
            yield _batch(some, schema, start)
            start += len(some)
            some = list(islice(items, DICTS))

    return pa.RecordBatchReader.from_batches(schema, batches())


def _kind(rows: list[Mapping[str, Any]], name: str) -> pa.DataType:
    return pa.array([row.get(name) for row in rows]).type


def _batch(rows: list[Any], schema: pa.Schema, start: int) -> pa.RecordBatch:
    for number, row in enumerate(rows, start + 1):
        unknown = [name for name in row if name not in schema.names] if isinstance(row, Mapping) else ["?"]
        if unknown:
            what = f"has {unknown[0]!r}, which the rows before it lack" if isinstance(row, Mapping) else "is no dict"
            raise InputError(f"Row {number} {what}.", hint="Give every row the same names, None where it has no value.")
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            place = next(i for i, value in enumerate(values) if not _fits(value, field.type))
            raise InputError(
                f"Row {start + place + 1} has {values[place]!r} in {field.name!r}, which is {field.type} there: {error}"
            ) from error
        cut = (
            next((i for i, value in enumerate(values) if _cut(value, field.type)), None) if _cuts(field.type) else None
        )
        if cut is not None:
            raise InputError(
                f"Row {start + cut + 1} has {values[cut]!r} in {field.name!r}, which is {field.type} there: "
                "it does not fit without a loss.",
                hint="Round or convert the values first, or widen the column.",
            )
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cuts(kind: pa.DataType) -> bool:
    """Return whether Arrow takes Python's values into this type also where it must cut them."""
    if pa.types.is_nested(kind):
        return any(_cuts(kind.field(i).type) for i in range(kind.num_fields))
    return bool(
        pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_float32(kind)
    )


def _cut(value: Any, kind: pa.DataType) -> bool:
    if value is None:
        return False
    if pa.types.is_struct(kind):
        return isinstance(value, Mapping) and any(_cut(value.get(field.name), field.type) for field in kind)
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, Mapping) else value
        return any(_cut(key, kind.key_type) or _cut(item, kind.item_type) for key, item in pairs)
    if pa.types.is_nested(kind):
        return any(_cut(item, kind.value_type) for item in value)
    if pa.types.is_date(kind) and isinstance(value, datetime):
        return value.time() != time()
    if not isinstance(value, float | np.floating):
        return False
    if pa.types.is_float32(kind):
        return math.isfinite(value) and abs(float(value)) > float(np.finfo(np.float32).max)
    return not float(value).is_integer()


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.scalar(value, kind)
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return True


def _refused(kind: str) -> InputError:
    return InputError(
        f"A {kind} holds no rows for a table.",
        hint="Give an Arrow table or reader, a DuckDB relation, a pandas or Polars frame, or dicts.",
    )
