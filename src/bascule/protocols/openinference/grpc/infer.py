"""Requests to infer as protobuf, and their answers."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError
from bascule.protocols.openinference.binary import join_texts
from bascule.protocols.openinference.datatypes import datatype_named
from bascule.protocols.openinference.grpc.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Buffer,
    chunk,
    entry,
    fields,
    parameter_bytes,
    read_varint,
    signed,
    text,
    varint,
)
from bascule.protocols.openinference.inputs import rows_of
from bascule.protocols.openinference.messages import Asked, InferRequest, Parameters, Tensor
from bascule.protocols.openinference.outputs import chosen
from bascule.serving.http import Request, Response
from bascule.serving.ids import json_of
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.scoring import Answer

GRPC = b"application/grpc"
SMALL = 256  # bytes of an input that is remembered: its name, type and shape, and no values
MOST_REMEMBERED = 4_096
MOST_DIMENSIONS = 64
_inputs: dict[bytes, tuple[str, str, list[int]]] = {}
_outputs: dict[tuple[str, str, tuple[int, ...]], bytes] = {}
_double = struct.Struct("<d").pack
_encode = msgspec.json.Encoder().encode

# Which contents a datatype's values come in: the field, and how its elements are packed (None: as varints).
_CONTENTS: dict[str, tuple[int, str | None]] = {
    "BOOL": (1, None), "INT8": (2, None), "INT16": (2, None), "INT32": (2, None), "INT64": (3, None),
    "UINT8": (4, None), "UINT16": (4, None), "UINT32": (4, None), "UINT64": (5, None),
    "FP32": (6, "<f4"), "FP64": (7, "<f8"), "BYTES": (8, None),
}  # fmt: skip


class Input(msgspec.Struct):
    """An input as it came: its values are still bytes of `contents`, if they are not among the raw ones."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    contents: Buffer | None = None


class GrpcInfer(msgspec.Struct):
    """A request to infer, as far as it must be read to know who answers it."""

    model_name: str
    version: str
    inputs: list[Input]
    outputs: list[Asked]
    raw: list[Buffer]
    id: str | None = None
    parameters: Parameters | None = None


class GrpcRequest(Request):
    """A request whose body was read."""

    __slots__ = ("message",)

    def __init__(self, request: Request, message: GrpcInfer) -> None:
        super().__init__(request.method, request.path, request.headers, request.body)
        self.seconds = request.seconds
        self.message = message


def read_message(data: bytes) -> GrpcInfer:
    """Return a request to infer; what is large in it is not copied and not read yet.

    Raises:
        InputError: the bytes are no such request.
    """
    found = GrpcInfer("", "", [], [], [])
    view = memoryview(data) if len(data) > 1 << 14 else data
    for number, wire, value in fields(view):
        if wire != BYTES:
            continue
        if number == 7:
            found.raw.append(value)
        elif number == 5:
            found.inputs.append(_input(value))
        elif number == 1:
            found.model_name = text(value, "model name")
        elif number == 2:
            found.version = text(value, "version")
        elif number == 3:
            found.id = text(value, "request id") or None
        elif number == 4:
            name, one = entry(value)
            found.parameters = {**(found.parameters or {}), name: one}
        elif number == 6:
            found.outputs.append(_asked(value))
    return found


def read_rows(request: Request, model: LoadedModel) -> tuple[InferRequest, Rows]:
    """Return a request that was read as the HTTP side knows it, and its rows.

    Raises:
        InputError: a tensor is not what it says; the text names it.
    """
    assert isinstance(request, GrpcRequest)
    message = request.message
    raw = message.raw
    typed = [one.name for one in message.inputs if one.contents is not None]
    if raw and typed:
        raise InputError(f"The input {typed[0]!r} has contents, and the request has raw_input_contents too.")
    if raw and len(raw) != len(message.inputs):
        raise InputError(f"The request has {len(raw)} raw_input_contents for {len(message.inputs)} inputs.")
    tensors = [
        Tensor(
            one.name,
            one.shape,
            one.datatype,
            one.parameters,
            msgspec.UNSET if raw else _values(one, one.name in model.blobs),
        )
        for one in message.inputs
    ]
    asked = InferRequest(tensors, message.id, message.parameters, message.outputs or None)
    return asked, rows_of(asked, model, dict(enumerate(raw)) if raw else None)


def infer_bytes(request: InferRequest, answer: Answer, name: str, raw: bool) -> bytes:
    """Return the answer to a request.

    Args:
        name: the name under which the model was asked.
        raw: the values came as raw contents, and leave so.
    """
    model = answer.model
    ids = json_of(answer.ids)
    parts = [
        chunk(1, name.encode()),
        chunk(2, str(model.version).encode()),
        b"" if request.id is None else chunk(3, request.id.encode()),
        chunk(4, b"\x0a\x0eprediction_ids" + chunk(2, chunk(3, ids))),
    ]
    if answer.explained:
        told = _encode(answer.explanations)
        parts.append(chunk(4, chunk(1, b"explanations") + chunk(2, chunk(3, told))))
    values = []
    for tensor in chosen(request, model, answer.outputs or []):
        shape = tuple(tensor["shape"])
        key = (tensor["name"], tensor["datatype"], shape)
        head = _outputs.get(key)
        if head is None:
            if len(_outputs) >= MOST_REMEMBERED:
                _outputs.clear()
            packed = b"".join(map(varint, shape))
            head = _outputs[key] = (
                chunk(1, tensor["name"].encode()) + chunk(2, tensor["datatype"].encode()) + chunk(3, packed)
            )
        data = tensor["data"]
        if not raw:
            head += chunk(5, _typed(tensor["datatype"], data))
        elif tensor["datatype"] == "BYTES":
            values.append(chunk(6, join_texts(data)))
        elif len(data) == 1 and data[0] is not None:
            values.append(chunk(6, _double(data[0])))
        else:
            values.append(chunk(6, np.array(data, dtype="<f8").tobytes()))
        parts.append(chunk(5, head))
    return b"".join(parts + values)


def infer_response(request: InferRequest, answer: Answer, name: str) -> Response:
    """Return the answer of a call."""
    raw = not request.inputs or request.inputs[0].data is msgspec.UNSET
    return Response(infer_bytes(request, answer, name, raw), content_type=GRPC)


def stream_response(request: InferRequest, answer: Answer, name: str) -> Response:
    """Return one answer of a stream; it says that no other follows for this request."""
    raw = not request.inputs or request.inputs[0].data is msgspec.UNSET
    last = chunk(4, chunk(1, b"triton_final_response") + chunk(2, parameter_bytes(True)))
    return Response(chunk(2, infer_bytes(request, answer, name, raw) + last), content_type=GRPC)


def refused(text: str) -> bytes:
    """Return an error as one answer of a stream."""
    return chunk(1, text.encode())


def _input(data: Buffer) -> Input:
    key = bytes(data) if len(data) <= SMALL else None
    known = _inputs.get(key) if key is not None else None
    if known is not None:
        return Input(*known)
    found = Input("", "", [])
    for number, wire, value in fields(data):
        if number == 3 and wire in (VARINT, BYTES):
            found.shape += [signed(value)] if wire == VARINT else _sizes(value)
            if len(found.shape) > MOST_DIMENSIONS:
                raise InputError(f"An input has more than {MOST_DIMENSIONS} dimensions.")
        elif wire != BYTES:
            continue
        elif number == 1:
            found.name = text(value, "input's name")
        elif number == 2:
            found.datatype = text(value, "datatype")
        elif number == 4:
            name, one = entry(value)
            found.parameters = {**(found.parameters or {}), name: one}
        elif number == 5:
            found.contents = value
    if key is not None and found.parameters is None and found.contents is None:
        if len(_inputs) >= MOST_REMEMBERED:
            _inputs.clear()
        _inputs[key] = (found.name, found.datatype, found.shape)
    return found


def _asked(data: Buffer) -> Asked:
    found = Asked("")
    for number, wire, value in fields(data):
        if wire == BYTES and number == 1:
            found.name = text(value, "output's name")
        elif wire == BYTES and number == 2:
            name, one = entry(value)
            found.parameters = {**(found.parameters or {}), name: one}
    return found


def _sizes(data: Buffer) -> list[int]:
    return [signed(value) for value in _varints(data)]


def _varints(data: Buffer) -> list[int]:
    found = []
    at = 0
    while at < len(data):
        value = data[at]
        if value < 128:
            at += 1
        else:
            value, at = read_varint(data, at)
        found.append(value)
    return found


def _values(tensor: Input, blobs: bool = False) -> list[Any]:
    """Return the values of an input that came in the field of their type."""
    datatype = datatype_named(tensor.datatype)
    if tensor.datatype not in _CONTENTS:
        raise InputError(f"The input {tensor.name!r} is {datatype.name}, which only comes as raw_input_contents.")
    wanted, packing = _CONTENTS[tensor.datatype]
    found: list[Any] = []
    for number, wire, value in fields(tensor.contents or b""):
        if number != wanted:
            raise InputError(f"The input {tensor.name!r} is {tensor.datatype}; its contents are of another type.")
        if wanted == 8:
            found.append(b64encode(value).decode() if blobs else text(value, f"value of {tensor.name!r}"))
        elif packing is not None:
            if wire not in (BYTES, FIXED32, FIXED64) or len(value) % np.dtype(packing).itemsize:
                raise InputError(f"The contents of the input {tensor.name!r} are cut short.")
            found += np.frombuffer(value, dtype=packing).tolist()
        else:
            numbers = [value] if wire == VARINT else _varints(value)
            found += [bool(one) for one in numbers] if wanted == 1 else numbers
    return [signed(one) for one in found] if wanted in (2, 3) else found


def _typed(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(chunk(8, one.encode()) for one in data)
    return chunk(7, np.array(data, dtype="<f8").tobytes()) if data else b""
