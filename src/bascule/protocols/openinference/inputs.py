"""Tensors into rows: a column for each input by its name, or one matrix whose columns are the model's inputs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from msgspec import UNSET

from bascule.errors import InputError
from bascule.protocols.openinference.binary import Buffer, header_length, split_texts, take_tensors
from bascule.protocols.openinference.datatypes import Datatype, datatype_named, datatype_of, from_bfloat16
from bascule.protocols.openinference.messages import (
    Asked,
    InferRequest,
    RowRequest,
    SingleRequest,
    Tensor,
    read_infer,
    read_row,
    read_single,
)
from bascule.serving.http.message import HttpProblem
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows

AnyRequest = InferRequest | SingleRequest | RowRequest
MOST_DIMENSIONS = 8  # of a row: more than any image has
_NAN = float("nan")


def read_request(body: bytes, length: bytes | None, model: LoadedModel) -> tuple[AnyRequest, Rows]:
    """Return a request and the rows that it asks about.

    Args:
        length: the header `inference-header-content-length`, if there was one.
        model: tells which names are columns, and what a raw body holds.

    Raises:
        InputError: the body is not a request, or a tensor is not what it says; the text names it.
    """
    if length is None:
        if model.sent_plainly:
            single = read_single(body)
            if single is not None:
                columns = {tensor.name: tensor.data for tensor in single.inputs}
                if len(columns) == len(single.inputs) > 0:
                    return single, Rows(1, _called_right(columns, model))
        if model.sent_numbers:
            numbers = read_row(body)
            if numbers is not None:
                (only,) = numbers.inputs
                if len(only.data) == only.shape[1] == model.width and is_no_column(only.name, model):
                    return numbers, Rows(1, None, row=only.data)
        request = read_infer(body)
        rows = rows_of(request, model, None)
        model.sent_numbers = rows.row is not None
        model.sent_plainly = rows.columns is not None and rows.count == 1
        return request, rows
    size = header_length(length, len(body))
    whole = memoryview(body)
    if size == 0:
        request = _raw_request(len(body), model)
        if request.inputs[0].datatype == "BYTES":
            whole = memoryview(len(body).to_bytes(4, "little") + body)  # a raw text comes without its length
        return request, rows_of(request, model, {0: whole})
    request = read_infer(whole[:size])
    return request, rows_of(request, model, take_tensors(request, whole[size:]))


def rows_of(request: InferRequest, model: LoadedModel, binary: Mapping[int, Buffer] | None) -> Rows:
    """Return the rows of a request.

    Args:
        binary: the bytes of inputs that came beside the message, by their place.

    Raises:
        InputError: a tensor is not what it says; the text names it.
    """
    inputs = request.inputs
    if not inputs:
        raise InputError(
            "The request has no inputs.", hint="Send one input for each column; GET /v2/models/NAME lists them."
        )
    if len(inputs) == 1 and model.lone_text is None and _is_matrix(inputs[0], model):
        return _matrix(inputs[0], binary[0] if binary else None, model)
    columns: dict[str, list[Any]] = {}
    count = -1
    for place, tensor in enumerate(inputs):
        name, shape = tensor.name, tensor.shape
        if name in columns:
            raise InputError(
                f"The input {name!r} was sent twice.", hint="Send each column once, with all rows in its data."
            )
        size = shape[0] if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1) else -1
        if size < 0:
            if len(shape) > 1 and len(inputs) == 1 and model.numeric and min(shape) >= 0:
                raise InputError(
                    f"The input {name!r} has {prod(shape[1:])} values a row; the model reads {model.width} numbers."
                )
            raise InputError(f"The input {name!r} has the shape {_shown(shape)}; a column has [rows] or [rows, 1].")
        if size != count:
            if count >= 0:
                raise InputError(f"The input {name!r} has {size} rows; {inputs[0].name!r} has {count}.")
            count = size
        part = binary.get(place) if binary else None
        blobs = name in model.blobs
        columns[name] = _values(tensor, size, blobs) if part is None else _binary_values(tensor, part, size, blobs)
    return Rows(count, _called_right(columns, model))


def _called_right(columns: Mapping[str, Any], model: LoadedModel) -> Mapping[str, Any]:
    """Return columns; the only one of a model that reads one text a row by the name of that, whatever it is called."""
    if model.lone_text is None or len(columns) != 1 or model.lone_text in columns or model.graph.takes:
        return columns
    return {model.lone_text: next(iter(columns.values()))}


def _values(tensor: Tensor, count: int, blobs: bool = False) -> list[Any]:
    """Return the elements of a tensor that came as JSON."""
    datatype = datatype_named(tensor.datatype)
    data = tensor.data
    if type(data) is not list:
        raise _without_data(tensor)
    if count and data and type(data[0]) is list:
        data = _flat(tensor.name, data, tensor.shape)
    if len(data) != count:
        demand_no_sharing(tensor)
        raise InputError(
            f"The input {tensor.name!r} has {len(data)} elements; its shape {_shown(tensor.shape)} says {count}."
        )
    if not datatype.json:
        raise InputError(f"The input {tensor.name!r} is {datatype.name}, which only comes as binary data.")
    kinds = set(map(type, data))
    if not kinds <= datatype.accepts:
        raise _wrong_element(tensor, datatype, data)
    if int in kinds:
        data = _integers(tensor, datatype, data) if datatype.high else _floats(tensor.name, data)
    if not blobs and tensor.parameters and tensor.parameters.get("content_type") == "base64":
        return [None if text is None else _base64(tensor.name, text) for text in data]
    return data


def _binary_values(tensor: Tensor, data: Buffer, count: int, blobs: bool = False) -> list[Any]:
    """Return the elements of a tensor whose bytes followed the JSON."""
    datatype = datatype_named(tensor.datatype)
    if datatype.dtype is None:
        return split_texts(tensor.name, data, count, blobs)
    if count == 1 and datatype.one is not None and len(data) == datatype.size:
        return list(datatype.one(data))
    found: list[Any] = _array(tensor, datatype, data, count).tolist()
    return found


def _array(tensor: Tensor, datatype: Datatype, data: Buffer, count: int) -> np.ndarray:
    if len(data) != count * datatype.size:
        raise InputError(
            f"The input {tensor.name!r} of {count} {datatype.name} needs {count * datatype.size} bytes; "
            f"{len(data)} came."
        )
    found = np.frombuffer(data, dtype=datatype.dtype)
    return from_bfloat16(found) if datatype.name == "BF16" else found


def _is_matrix(tensor: Tensor, model: LoadedModel) -> bool:
    """Whether a request's only input holds whole rows: it is no column's name, and has a place for each input."""
    rows, *of_row = tensor.shape or [-1]
    if rows < 0 or not of_row or not is_no_column(tensor.name, model):
        return False
    if len(of_row) > 1:  # an image, say: [rows, height, width, channels]
        return len(of_row) <= MOST_DIMENSIONS and min(of_row) > 0 and prod(of_row) == model.width
    return of_row[0] == model.width


def is_no_column(name: str, model: LoadedModel) -> bool:
    """Return whether an input of this name holds whole rows, being none of the columns that a request may bring."""
    return name not in model.encoder.known and not (model.joiner and name in model.joiner.columns)


def _matrix(tensor: Tensor, part: Buffer | None, model: LoadedModel) -> Rows:
    if not model.numeric:
        raise InputError(
            f"The input {tensor.name!r} holds whole rows, but the model reads texts too.",
            hint="Send one input for each column, by its name.",
        )
    datatype = datatype_named(tensor.datatype)
    if datatype.dtype is None:
        raise InputError(f"The input {tensor.name!r} is BYTES; whole rows are numbers.")
    count = tensor.shape[0] * model.width
    if part is None and tensor.shape[0] == 1:
        row = _values(tensor, count)
        return Rows(1, None, row=row if None not in row else [_NAN if value is None else value for value in row])
    if part is not None:
        flat = _array(tensor, datatype, part, count).astype(np.float64, copy=False)  # of doubles it is the body itself
    else:
        flat = np.array(_values(tensor, count), dtype=np.float64)
    return Rows(tensor.shape[0], None, flat.reshape(tensor.shape[0], model.width))


def _raw_request(size: int, model: LoadedModel) -> InferRequest:
    """The request that a body without JSON stands for: one tensor, its shape deduced, its answer binary."""
    columns = model.columns
    if len(columns) == 1:
        datatype = datatype_named(datatype_of(columns[0].type))
        tensor = Tensor(columns[0].name, [size // datatype.size if datatype.size else 1], datatype.name)
    elif model.numeric and model.joiner is None:
        row = 8 * model.width
        if size % row:
            raise InputError(
                f"A raw request holds whole rows of {model.width} FP64, {row} bytes each; {size} bytes came.",
                hint="Send the JSON header too, with its length in Inference-Header-Content-Length, for another type.",
            )
        tensor = Tensor("input", [size // row, model.width], "FP64")
    else:
        raise InputError(
            f"A raw request feeds a model of one input; this one takes {len(columns)}.",
            hint="Send the JSON header too, with its length in Inference-Header-Content-Length.",
        )
    return InferRequest([tensor], parameters={"binary_data_output": True})


def _flat(name: str, data: list[Any], shape: list[int]) -> list[Any]:
    """Return nested lists as one list; each level must be as long as the shape says."""
    parts: list[Any] = [data]
    for size in shape:
        if not all(type(part) is list and len(part) == size for part in parts):
            raise InputError(f"The data of the input {name!r} is not nested as its shape {_shown(shape)} says.")
        parts = [value for part in parts for value in part]
    return parts


def _integers(tensor: Tensor, datatype: Datatype, data: list[Any]) -> list[Any]:
    low, high = datatype.low, datatype.high
    for value in data:
        if value is not None and not low <= value <= high:
            raise InputError(f"The input {tensor.name!r} has {str(value)[:40]}, which {datatype.name} cannot hold.")
    return data


def _floats(name: str, data: list[Any]) -> list[Any]:
    """Return numbers as floats: a client may write 3 where it means 3.0."""
    try:
        return [float(value) if type(value) is int else value for value in data]
    except OverflowError:
        raise InputError(f"The input {name!r} has a number that no float can hold.") from None


def _wrong_element(tensor: Tensor, datatype: Datatype, data: list[Any]) -> InputError:
    place = next(at for at, value in enumerate(data) if type(value) not in datatype.accepts)
    text = repr(data[place])
    text = text if len(text) <= 40 else text[:37] + "…"
    return InputError(f"The input {tensor.name!r} is {datatype.name}; element {place} is {text}.")


def demand_no_sharing(tensor: Tensor | Asked) -> None:
    """Refuse a tensor whose values are in memory that the client would share, or are to go there."""
    shared = next((name for name in tensor.parameters or {} if name.startswith("shared_memory")), None)
    if shared is not None:
        raise HttpProblem(
            501,
            f"This server does not have shared memory, asked for by the parameter {shared!r} of {tensor.name[:80]!r}.",
            hint="Send the values themselves; GET /v2 lists the extensions that it has.",
        )


def _without_data(tensor: Tensor) -> InputError:
    demand_no_sharing(tensor)
    if tensor.data is UNSET:
        return InputError(
            f"The input {tensor.name!r} has no data.", hint="Write its values as a list, one for each row."
        )
    return InputError(
        f"The data of the input {tensor.name!r} is not a list.", hint="Write its values as a list, one for each row."
    )


def _base64(name: str, text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InputError(f"The input {name!r} has an element that is not the base64 of a text.") from None


def _shown(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"of {len(shape)} dimensions"
