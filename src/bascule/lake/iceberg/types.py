"""Column types: Iceberg's, as plain JSON values, and what they are in Arrow and in DuckDB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from bascule.errors import InputError

# A type as table metadata holds it: "long", "decimal(9,2)", or {"type": "struct" | "list" | "map", …}.
Type = str | dict[str, Any]

FIELD_ID = b"PARQUET:field_id"

_ARROW = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "string": pa.string(),
    "uuid": pa.binary(16),
    "binary": pa.binary(),
}

_DUCKDB = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
}

_FROM_ARROW = {
    pa.bool_(): "boolean",
    pa.int8(): "int",
    pa.int16(): "int",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.uint8(): "int",
    pa.uint16(): "int",
    pa.uint32(): "long",
    pa.uint64(): "decimal(20,0)",
    pa.float16(): "float",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.date64(): "date",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.string_view(): "string",
    pa.binary(): "binary",
    pa.large_binary(): "binary",
    pa.binary_view(): "binary",
    pa.null(): "string",
}

_DECIMAL = re.compile(r"^decimal\((\d+), ?(\d+)\)$")
_FIXED = re.compile(r"^fixed\[(\d+)\]$")

# Widening that Iceberg allows without rewriting a file; decimals may also gain precision.
_WIDER = {("int", "long"), ("float", "double")}


def decimal_of(kind: Type) -> tuple[int, int] | None:
    """Return precision and scale of a decimal type, or None for any other."""
    match = _DECIMAL.match(kind) if isinstance(kind, str) else None
    return (int(match[1]), int(match[2])) if match else None


def told(row: Mapping[str, Any]) -> str:
    """Return a row as messages show it: texts in quotes, times as SQL writes them."""
    shown = {name: repr(value) if isinstance(value, str) else str(value) for name, value in row.items()}
    return ", ".join(f"{name} = {text}" for name, text in shown.items())


def is_known(kind: Type) -> bool:
    """Tell whether a type without parts is one of Iceberg's version 2."""
    return isinstance(kind, str) and (kind in _DUCKDB or bool(_DECIMAL.match(kind) or _FIXED.match(kind)))


def is_primitive(kind: Type) -> bool:
    """Tell whether a type has no parts."""
    return isinstance(kind, str)


def primitive_from_arrow(kind: pa.DataType, column: str) -> str:
    """Return the Iceberg type of an Arrow type that has no parts.

    Raises:
        InputError: when a table cannot hold it, naming the column.
    """
    if found := _FROM_ARROW.get(kind):
        return found
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    if pa.types.is_time(kind):
        return "time"
    if pa.types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_fixed_size_binary(kind):
        return f"fixed[{kind.byte_width}]"
    raise InputError(
        f"Column {column!r} has the type {kind}, which a table cannot hold.",
        hint="Cast it to text, a number, a date or a timestamp first.",
    )


def to_arrow(kind: Type) -> pa.DataType:
    """Return the Arrow type that a column of this type is written and read as. Parts carry their field ids."""
    if isinstance(kind, dict):
        return _nested_to_arrow(kind)
    if kind in _ARROW:
        return _ARROW[kind]
    if decimal := decimal_of(kind):
        return pa.decimal128(*decimal)
    if match := _FIXED.match(kind):
        return pa.binary(int(match[1]))
    raise _unknown(kind)


def arrow_field(field: dict[str, Any]) -> pa.Field:
    """Return the Arrow field of an Iceberg field, with its id where Parquet looks for it."""
    return _identified(field["name"], field["id"], field["type"], bool(field.get("required")))


def to_duckdb(kind: Type) -> str:
    """Return the DuckDB type name of a column type."""
    if isinstance(kind, dict):
        if kind["type"] == "struct":
            inner = ", ".join(f"{quoted(f['name'])} {to_duckdb(f['type'])}" for f in kind["fields"])
            return f"STRUCT({inner})"
        if kind["type"] == "list":
            return f"{to_duckdb(kind['element'])}[]"
        if kind["type"] == "map":
            return f"MAP({to_duckdb(kind['key'])}, {to_duckdb(kind['value'])})"
        raise _unknown(kind)
    if kind in _DUCKDB:
        return _DUCKDB[kind]
    if decimal := decimal_of(kind):
        return f"DECIMAL({decimal[0]}, {decimal[1]})"
    if _FIXED.match(kind):
        return "BLOB"
    raise _unknown(kind)


def may_widen(old: Type, new: Type) -> bool:
    """Tell whether files written as `old` may be read as `new` without losing anything (Iceberg v2's rules)."""
    if old == new or (isinstance(old, str) and isinstance(new, str) and (old, new) in _WIDER):
        return True
    before, after = decimal_of(old), decimal_of(new)
    return bool(before and after and before[1] == after[1] and after[0] >= before[0])


def unforetold(column: str, kind: str) -> str:
    """Return a column so that DuckDB takes nothing that a Parquet footer tells of floats for all there is.

    Other writers tell the least and the greatest float and nothing of NaN, which is greater than every number: by such
    a footer `isnan(x)` is false and `x > 1` finds too few. The value is the same; it is only looked at in each row.

    Args:
        column: its name, as SQL.
        kind: its DuckDB type.
    """
    if kind in ("FLOAT", "DOUBLE"):
        return f"nextafter({column}, {column})"
    if "FLOAT" in kind or "DOUBLE" in kind:
        return f"if(random() >= 0, {column}, NULL)"  # always so; what may differ is decided by no footer
    return column


def quoted(name: str) -> str:
    """Return a name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _nested_to_arrow(kind: dict[str, Any]) -> pa.DataType:
    if kind["type"] == "struct":
        return pa.struct([arrow_field(field) for field in kind["fields"]])
    if kind["type"] == "list":
        return pa.list_(
            _identified("element", kind["element-id"], kind["element"], kind.get("element-required", False))
        )
    if kind["type"] == "map":
        value = _identified("value", kind["value-id"], kind["value"], kind.get("value-required", False))
        return pa.map_(_identified("key", kind["key-id"], kind["key"], True), value)
    raise _unknown(kind)


def _identified(name: str, number: int, kind: Type, required: bool) -> pa.Field:
    return pa.field(name, to_arrow(kind), nullable=not required, metadata={FIELD_ID: str(number).encode()})


def _unknown(kind: Type) -> InputError:
    return InputError(
        f"The column type {kind!r} is not one that Bascule reads (Iceberg format version 2).",
        hint="Rewrite the table with version 2 types.",
    )
