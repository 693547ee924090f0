"""What a manifest says of a data file: sizes, counts and bounds, from its footer and from what was counted before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.lake.iceberg import bounds, manifests
from bascule.lake.iceberg.types import FIELD_ID, primitive_from_arrow


def measure(path: Path, schema: pa.Schema, floats: Floats, place: str) -> dict[str, Any]:
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


class Floats:
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
        """Take the rows of one row group into account."""
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


def columns_told(schema: pa.Schema) -> list[str]:
    """Return the columns of which the footer tells least and greatest, as Parquet names them."""
    return [path for field in schema for path in _leaves(field.name, field.type)]


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return [leaf for field in inner for leaf in _leaves(f"{path}.{field.name}", field.type)]
    if pa.types.is_nested(kind) or pa.types.is_floating(kind):
        return []
    return [path]


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
