"""What values a column has in some rows: how many are missing, from where to where they go, where their middle is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from bascule.lake import cells
from bascule.lake.comparing.schemas import Column
from bascule.lake.iceberg import bounds, manifests, types
from bascule.lake.iceberg.datafiles import content_of
from bascule.lake.iceberg.tables import Table

# Columns in one SELECT: planning thousands of aggregates costs more than another scan of some columns.
COLUMNS_PER_SCAN = 40
LONGEST = 80

Scale = Literal["number", "time", "category", "other"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A column's values in some rows.

    Attributes:
        rows: how many rows.
        nulls, nans: how many of them have no value, or one that is not a number.
        min, max: the least and the greatest value that is neither; of texts only their first 80 characters count.
        mean: of numbers; of true and false, the share of true. None where nobody computed it.
        quantiles: those of `shift.QUANTILES`, for numbers and times, or none.
    """

    rows: int
    nulls: int | None = None
    nans: int = 0
    min: Any = None
    max: Any = None
    mean: float | None = None
    quantiles: tuple[Any, ...] = ()

    @property
    def null_share(self) -> float | None:
        """The share of rows without a value; None when there are no rows or nobody counted."""
        return self.nulls / self.rows if self.rows and self.nulls is not None else None


def scale(column: Column) -> Scale:
    """Return in what way a column's values can be compared."""
    kind = column.field["type"]
    if not isinstance(kind, str) or column.kind == "BLOB":
        return "other"
    if kind in ("int", "long", "float", "double") or types.decimal_of(kind):
        return "number"
    return "time" if column.kind in ("DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ") else "category"


def measure(
    connection: duckdb.DuckDBPyConnection, source: str, columns: Sequence[Column], prefix: str, rows: int
) -> dict[int, Profile]:
    """Profile columns in one scan of a relation for every forty of them; no quantiles.

    Args:
        source: SQL for FROM.
        prefix: how the relation calls its columns, before their places. A row that is not of this side has null in
            all of them.
        rows: how many rows are of this side.

    Returns:
        Profiles by the columns' places.
    """
    found: dict[int, Profile] = {}
    for first in range(0, len(columns), COLUMNS_PER_SCAN):
        part = columns[first : first + COLUMNS_PER_SCAN]
        wanted = ", ".join(text for column in part for text in _aggregates(column, f"{prefix}{column.place}"))
        values = iter(connection.sql(f"SELECT {wanted} FROM {source}").to_arrow_table().columns)
        for column in part:
            counted, nans, low, high, mean = (cells.values(next(values))[0] for _ in range(5))
            known = float(mean) if mean is not None else None
            found[column.place] = Profile(rows, rows - counted, nans or 0, low, high, known)
    return found


def recorded(table: Table, columns: Sequence[Column]) -> dict[int, Profile]:
    """Return what manifests say of a whole table's columns without reading a row; nothing where they do not say it.

    Missing values are counted for columns without parts; least and greatest values for numbers and times only, because
    those of texts are cut in manifests.
    """
    if table.deletes():
        return {}
    records = [entry["data_file"] for entry in table.live(manifests.DATA)]
    rows = sum(record["record_count"] for record in records)
    maps = [_pairs(record) for record in records]
    found = {}
    for column in columns:
        field = column.field
        if isinstance(field["type"], str):
            found[column.place] = Profile(rows, _nulls(field["id"], records, maps), 0, *_limits(column, records, maps))
    return found


def _aggregates(column: Column, name: str) -> tuple[str, str, str, str, str]:
    kind, counted = scale(column), f"count({name})"
    if kind == "number" and column.kind in ("FLOAT", "DOUBLE"):
        real = f"FILTER (NOT isnan({name}))"
        return (
            counted,
            f"count_if(isnan({name}))",
            f"min({name}) {real}",
            f"max({name}) {real}",
            f"avg({name}) FILTER (isfinite({name}))",
        )
    if kind == "number":
        return counted, "0", f"min({name})", f"max({name})", f"avg({name}::DOUBLE)"
    if column.kind == "BOOLEAN":
        return counted, "0", f"min({name})", f"max({name})", f"avg({name}::INTEGER)"
    if kind == "time":
        return counted, "0", f"min({name})", f"max({name})", "NULL"
    if column.kind == "VARCHAR":
        short = f"left({name}, {LONGEST})"
        return counted, "0", f"min({short})", f"max({short})", "NULL"
    return counted, "0", "NULL", "NULL", "NULL"


def _pairs(record: dict[str, Any]) -> dict[str, dict[int, Any]]:
    names = ("null_value_counts", "nan_value_counts", "value_counts", "lower_bounds", "upper_bounds")
    return {name: {pair["key"]: pair["value"] for pair in record.get(name) or ()} for name in names}


def _nulls(number: int, records: Sequence[dict[str, Any]], maps: Sequence[dict[str, dict[int, Any]]]) -> int | None:
    total = 0
    for record, known in zip(records, maps, strict=True):
        if number in known["null_value_counts"]:
            total += known["null_value_counts"][number]
        elif number in known["value_counts"] or ":" in content_of(record):
            return None  # the file may have the column, and whoever wrote it does not say
        else:
            total += record["record_count"]
    return total


def _limits(
    column: Column, records: Sequence[dict[str, Any]], maps: Sequence[dict[str, dict[int, Any]]]
) -> tuple[Any, Any]:
    if scale(column) not in ("number", "time"):
        return None, None
    number, kind, limits = column.field["id"], column.field["type"], []
    for record, known in zip(records, maps, strict=True):
        low, high = (known[name].get(number) for name in ("lower_bounds", "upper_bounds"))
        if low is not None and high is not None:
            limits.append((bounds.decode(kind, low), bounds.decode(kind, high)))
        elif known["null_value_counts"].get(number, record["record_count"]) < record["record_count"]:
            return None, None
    if not limits:
        return None, None
    return _value(column, min(low for low, _ in limits)), _value(column, max(high for _, high in limits))


def _value(column: Column, bound: Any) -> Any:
    """Return a bound as a value: times and dates are whole numbers in manifests."""
    if scale(column) != "time":
        return bound
    return from_number(bound, types.to_arrow(column.field["type"]))


def from_number(number: int, kind: pa.DataType) -> Any:
    """Return the date or time that a number of days or microseconds stands for; as text, when Python has no such."""
    found = pa.array([number], pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
    try:
        return found[0].as_py()
    except (ValueError, OverflowError):
        return str(cells.value(found[0]))
