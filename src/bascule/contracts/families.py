"""Column types as families: what a contract's logical type accepts of DuckDB's types."""

from __future__ import annotations

import re
from typing import Literal

Family = Literal[
    "integer",
    "number",
    "string",
    "boolean",
    "date",
    "timestamp",
    "time",
    "array",
    "object",
    "map",
    "binary",
    "empty",
    "other",
]

LOGICAL_TYPES: dict[str, Family] = {
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "time": "time",
    "number": "number",
    "integer": "integer",
    "object": "object",
    "array": "array",
    "boolean": "boolean",
    "map": "map",
}

_NAMES: dict[Family, str] = {
    "integer": "tinyint smallint int integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint long short "
    "int1 int2 int4 int8 int16 int32 int64 int128 uint8 uint16 uint32 uint64 byteint signed serial bignum varint",
    "number": "decimal numeric dec number float real double float4 float8 float32 float64 money",
    "string": "varchar char character text string bpchar nvarchar nchar uuid enum clob json",
    "boolean": "boolean bool logical",
    "date": "date",
    "timestamp": "timestamp timestamptz datetime timestamp_s timestamp_ms timestamp_us timestamp_ns "
    "timestamp_ntz timestamp_ltz",
    "time": "time timetz time_ns",
    "object": "struct row record object",
    "map": "map",
    "array": "array list",
    "binary": "blob binary varbinary bytea bytes bit bitstring",
    "empty": "null",
}
_FAMILY_OF: dict[str, Family] = {name: family for family, names in _NAMES.items() for name in names.split()}

_ACCEPTS: dict[Family, frozenset[Family]] = {
    "number": frozenset({"number", "integer"}),
    "object": frozenset({"object", "map"}),
}


def family_of(type_name: str) -> Family:
    """The family of a SQL type name such as `DECIMAL(18,3)`, `TIMESTAMP WITH TIME ZONE` or `INTEGER[]`."""
    name = type_name.strip().strip('"').lower()
    if name.endswith("]"):
        return "array"
    head = re.split(r"[^a-z0-9_]", name, maxsplit=1)[0]
    family = _FAMILY_OF.get(head, "other")
    # A decimal without places holds whole numbers, whatever its name says.
    if family == "number" and re.fullmatch(r"(decimal|numeric|dec|number)\(\d+\s*,\s*0\)", name):
        return "integer"
    return family


def is_float(type_name: str) -> bool:
    """Whether a type is floating point and so may hold NaN."""
    return type_name.upper() in ("DOUBLE", "FLOAT", "REAL")


def accepts(wanted: Family, found: Family) -> bool:
    """Whether a column of family `found` may stand where `wanted` is declared: whole numbers are numbers.

    A column without any type (all NULL, as some readers produce) is accepted; its nulls are judged by other checks.
    """
    return found == "empty" or found in _ACCEPTS.get(wanted, frozenset({wanted}))
