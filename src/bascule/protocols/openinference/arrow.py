"""Rows as an Arrow IPC stream or file, and answers as a stream."""

from __future__ import annotations

import re
import struct
from typing import Any

import msgspec
import pyarrow as pa

from bascule.errors import InputError
from bascule.serving.columns import rows_of_arrow
from bascule.serving.http import Response
from bascule.serving.log.predictions import label
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.scoring import MOST_ROWS, Answer

TYPE = b"application/vnd.apache.arrow.stream"
HINT = "Send an Arrow IPC stream: pyarrow.ipc.new_stream(sink, table.schema)."
MOST_COLUMNS = 10_000
_INDEX = re.compile(r"__index_level_[0-9]+__")
_FILE = b"ARROW1\0\0"
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_number = struct.Struct("<i").unpack_from
_unsigned = struct.Struct("<I").unpack_from
_short = struct.Struct("<H").unpack_from


def read_rows(body: bytes, model: LoadedModel) -> Rows:
    """Return the rows of a body.

    Raises:
        InputError: it is no Arrow stream or file, or a column is of a type that no model reads; the text names it.
    """
    table, names = _read(body)
    known = model.taken()
    index = [name for name in names if _INDEX.fullmatch(name) and name not in known]
    if index:  # pandas writes its index; it means nothing here
        table = table.drop_columns(index)
        names = table.schema.names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"The column {twice!r} is there twice.")
    return rows_of_arrow(table, names, model)


def read_table(body: bytes) -> tuple[pa.Table, list[str]]:
    """Return a body's rows and the names of their columns; raises as `read_rows` does."""
    return _read(body)


def response(answer: Answer) -> Response:
    """Return one row for each row: its prediction id, and what the model says."""
    model, outputs = answer.model, answer.outputs or []
    columns: dict[str, Any] = {"prediction_id": pa.array(list(answer.ids), pa.string())}
    if model.task == "regression":
        columns["value"] = pa.array(outputs, pa.float64())
    else:
        kind = pa.float64() if model.task == "binary" else pa.list_(pa.float64())
        columns["probability"] = pa.array(outputs, kind)
        columns["label"] = pa.array([label(model.classes, output) for output in outputs], pa.string())
    if answer.explained:
        columns["explanation"] = pa.array([msgspec.json.encode(one).decode() for one in answer.explanations or ()])
    table = pa.table(columns)
    told = {"model": model.name, "version": str(model.version), "classes": ",".join(model.classes)}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(told)) as writer:
        writer.write_table(table.replace_schema_metadata(told))
    return Response(sink.getvalue().to_pybytes(), content_type=TYPE)


def _read(body: bytes) -> tuple[pa.Table, list[str]]:
    if body[:8] == _FILE:  # a file is a stream with a few bytes before it, and a table of its parts behind its end
        body = body[len(_FILE) :]
    try:
        _refuse_compression(body)
        reader = pa.ipc.open_stream(body)
        if len(reader.schema) > MOST_COLUMNS:
            raise InputError(f"The rows have {len(reader.schema):,} columns; at most {MOST_COLUMNS:,} are read.")
        batches, count = [], 0
        for batch in reader:
            batch.validate(full=True)
            count += batch.num_rows
            if count > MOST_ROWS:
                raise InputError(
                    f"The request has more than {MOST_ROWS:,} rows; that many are answered at once.",
                    hint="Send it in parts.",
                )
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema), reader.schema.names
    except (pa.ArrowException, struct.error, ValueError, OSError, MemoryError) as error:
        first = str(error).partition("\n")[0][:200]
        raise InputError(f"The body is no Arrow stream: {first}.", hint=HINT) from None


def _refuse_compression(body: bytes) -> None:
    """Refuse buffers that unfold: how much they unfold to is only known when it is too late."""
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        metadata = message.metadata.to_pybytes()
        root = _unsigned(metadata, 0)[0]
        header = _field(metadata, root, 2)
        if header is None:
            continue
        header += _unsigned(metadata, header)[0]
        kind = _field(metadata, root, 1)
        if kind is not None and metadata[kind] == _DICTIONARY_BATCH:
            data = _field(metadata, header, 1)
            if data is None:
                continue
            header = data + _unsigned(metadata, data)[0]
        elif kind is None or metadata[kind] != _RECORD_BATCH:
            continue
        if _field(metadata, header, 3) is not None:
            raise InputError(
                "The Arrow stream has compressed buffers.", hint="Write it without, and compress the whole body (gzip)."
            )


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a field of a flatbuffer's table is, or None when it is not there."""
    place = table - _number(data, table)[0]
    if place < 0 or 4 + 2 * number >= _short(data, place)[0]:
        return None
    offset = _short(data, place + 4 + 2 * number)[0]
    return table + offset if offset else None
