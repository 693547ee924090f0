"""Avro files, with the types that their schema says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.errors import InputError
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
    "uuid": pa.string(),
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
            columns = [pa.field(f["name"], _type(f["type"], f"{path}: {f['name']}")) for f in written["fields"]]
            schema = checked_schema(pa.schema(columns), str(path))
            rows = write_arrow(_batches(reader, schema), schema, target)
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


def _batches(reader: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = iter(reader)
    uuids = [one.name for one in schema if one.type == pa.string()]
    while block := list(islice(rows, ROWS_AT_ONCE)):
        for row in block:
            for name in uuids:
                if row[name] is not None and not isinstance(row[name], str):
                    row[name] = str(row[name])
        yield pa.RecordBatch.from_pylist(block, schema=schema)


def _type(kind: Any, where: str) -> pa.DataType:
    if isinstance(kind, list):
        some = [one for one in kind if one != "null"]
        kinds = [_type(one, where) for one in some]
        if len(set(map(str, kinds))) <= 1:
            return kinds[0] if kinds else pa.null()
        if all(pa.types.is_integer(one) for one in kinds):
            return pa.int64()
        if all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in kinds):
            return pa.float64()
        raise InputError(f"{where} may be of several types: {kinds}.", hint="A column has one type: split it.")
    if isinstance(kind, str):
        if kind not in PLAIN:
            raise InputError(f"{where} refers to the type {kind!r} by name.", hint="Write its schema out.")
        return PLAIN[kind]
    logical, inner = kind.get("logicalType"), kind["type"]
    if logical == "decimal":
        return pa.decimal128(kind["precision"], kind.get("scale", 0))
    if logical in LOGICAL:
        return LOGICAL[logical]
    if inner == "record":
        return pa.struct([pa.field(f["name"], _type(f["type"], f"{where}.{f['name']}")) for f in kind["fields"]])
    if inner == "array":
        return pa.list_(_type(kind["items"], where))
    if inner == "map":
        return pa.map_(pa.string(), _type(kind["values"], where))
    return _type(inner, where)
