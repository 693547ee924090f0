"""Avro files, with the types that their schema says; of spans of time and of several types in one, texts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.errors import InputError
from bascule.lake import spans
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.spool import ROWS_AT_ONCE, checked_schema, write_arrow

PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "enum": pa.string(),
}
LOGICAL = {
    "date": pa.date32(),
    "time-millis": pa.time64("us"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("us", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("us"),
    "local-timestamp-micros": pa.timestamp("us"),
}


def convert(path: Path, spool: Path, asked: Asked) -> list[Path]:
    """Write an Avro file as Parquet.

    Raises:
        InputError: it is damaged, empty, or has a type that no column can have.
    """
    import fastavro

    target = spool / f"{path.name}.parquet"
    try:
        with path.open("rb") as source:
            reader = fastavro.reader(source)
            written: Any = reader.writer_schema
            if not isinstance(written, dict) or written.get("type") != "record":
                raise InputError(f"{path} does not hold records.", hint="Only Avro files of records have columns.")
            named: dict[str, Any] = dict.fromkeys(_names(written))
            shapes = {f["name"]: _shape(f["type"], f"{path}: {f['name']}", named) for f in written["fields"]}
            schema = checked_schema(pa.schema([(name, shape.type) for name, shape in shapes.items()]), str(path))
            rows = write_arrow(_batches(reader, schema, shapes), schema, target)
    except InputError:
        raise
    except Exception as error:  # what the library says of damaged files is of many kinds
        raise InputError(
            f"{path} cannot be read as Avro: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            hint="It is damaged or cut off: bring it again.",
        ) from error
    if not rows:
        target.unlink(missing_ok=True)
        raise InputError(f"{path} has no rows.", hint="Give a file with rows.")
    return [target]


def _batches(reader: Any, schema: pa.Schema, shapes: Mapping[str, Shape]) -> Iterator[pa.RecordBatch]:
    rows = iter(reader)
    told = [(name, shape) for name, shape in shapes.items() if shape.tell is not None]
    while block := list(islice(rows, ROWS_AT_ONCE)):
        for name, shape in told:
            for row in block:
                if row[name] is not None:
                    row[name] = shape.tell(row[name])  # type: ignore[misc]
        yield pa.RecordBatch.from_pylist(block, schema=schema)


@dataclass(frozen=True, slots=True)
class Shape:
    """What values of an Avro type are in a table.

    Attributes:
        type: the column's type.
        tell: makes what the library reads into what the column holds, if that is another.
    """

    type: pa.DataType
    tell: Callable[[Any], Any] | None = None


def _shape(kind: Any, where: str, named: dict[str, Any]) -> Shape:
    """Return what a type becomes.

    Args:
        where: the file and the field, for messages.
        named: the types that were written out before, by their names: others refer to them.
    """
    if isinstance(kind, list):
        return _union([_shape(one, where, named) for one in kind if one != "null"])
    if isinstance(kind, str):
        if kind in PLAIN:
            return Shape(PLAIN[kind])
        if kind not in named:
            raise InputError(f"{where} refers to the type {kind!r}, which is nowhere.", hint="The file is damaged.")
        if named[kind] is None:
            raise InputError(f"{where} holds itself.", hint="Flatten it: a column has no type without an end.")
        return _shape(named[kind], where, named)
    name, logical, inner = kind.get("name"), kind.get("logicalType"), kind["type"]
    if logical == "decimal" and kind["precision"] <= 38:
        shape = Shape(pa.decimal128(kind["precision"], kind.get("scale", 0)))
    elif logical == "decimal":
        shape = Shape(pa.string(), _plain_number)
    elif logical == "uuid":
        shape = Shape(pa.string(), str)
    elif logical == "duration" and inner == "fixed":
        shape = Shape(pa.string(), _span)
    elif logical in LOGICAL:
        shape = Shape(LOGICAL[logical])
    elif inner == "record":
        for known in _names(kind):
            named[known] = None
        parts = [(f["name"], _shape(f["type"], f"{where}.{f['name']}", named)) for f in kind["fields"]]
        shape = Shape(pa.struct([(part, one.type) for part, one in parts]), _of_parts(dict(parts)))
    elif inner == "array":
        item = _shape(kind["items"], where, named)
        shape = Shape(pa.list_(item.type), _of_items(item))
    elif inner == "map":
        value = _shape(kind["values"], where, named)
        shape = Shape(pa.map_(pa.string(), value.type), _of_values(value))
    else:
        shape = _shape(inner, where, named)
    if name:
        named |= dict.fromkeys(_names(kind), kind)
    return shape


def _names(kind: Mapping[str, Any]) -> set[str]:
    name, space = kind["name"], kind.get("namespace")
    return {name, name.rpartition(".")[2], f"{space}.{name}" if space else name}


def _union(shapes: list[Shape]) -> Shape:
    """Return what a field that may be of several types becomes: one that holds all, or a text as JSON writes it."""
    kinds = [shape.type for shape in shapes]
    if len(set(map(str, kinds))) <= 1:
        return shapes[0] if shapes else Shape(pa.null())
    if all(pa.types.is_integer(one) for one in kinds):
        return Shape(pa.int64())
    if all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in kinds):
        return Shape(pa.float64())
    return Shape(pa.string(), _as_json)


def _of_parts(parts: Mapping[str, Shape]) -> Callable[[Any], Any] | None:
    told = {name: shape.tell for name, shape in parts.items() if shape.tell is not None}
    if not told:
        return None
    return lambda row: row | {name: tell(row[name]) for name, tell in told.items() if row[name] is not None}


def _of_items(item: Shape) -> Callable[[Any], Any] | None:
    tell = item.tell
    return (lambda items: [None if one is None else tell(one) for one in items]) if tell is not None else None


def _of_values(value: Shape) -> Callable[[Any], Any] | None:
    tell = value.tell
    if tell is None:
        return None
    return lambda pairs: {key: None if one is None else tell(one) for key, one in pairs.items()}


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _plain_number(value: Any) -> str:
    return f"{value:f}"


def _span(value: bytes) -> str:
    months, days, milliseconds = struct.unpack("<III", value)
    return spans.words(months, days, milliseconds * 1_000_000)
