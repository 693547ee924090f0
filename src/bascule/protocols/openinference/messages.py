"""The protocol's messages as they come in."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from bascule.errors import InputError

Parameters = dict[str, str | int | float | bool | None]
T = TypeVar("T")


class Tensor(msgspec.Struct):
    """An input. `data` is flat or nested; it is not there when the bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: Any = msgspec.UNSET


class Asked(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct):
    """A request to infer."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Asked] | None = None


class IndexRequest(msgspec.Struct):
    """A request for what the repository holds."""

    ready: bool = False


class LoadRequest(msgspec.Struct):
    """A request to load or unload."""

    parameters: Parameters | None = None


Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

# One row, one value a column, all as their datatypes say: what most requests are. The decoder checks it all by itself.
_OneRow = Annotated[list[Literal[1]], msgspec.Meta(min_length=1, max_length=2)]


class _Single(msgspec.Struct, tag_field="datatype", forbid_unknown_fields=True, gc=False):
    name: str
    shape: _OneRow


class _Double(_Single, tag="FP64"):
    data: tuple[float | None]


class _Float(_Single, tag="FP32"):
    data: tuple[float | None]


class _Long(_Single, tag="INT64"):
    data: tuple[Int64 | None]


class _Boolean(_Single, tag="BOOL"):
    data: tuple[bool | None]


class _Text(_Single, tag="BYTES"):
    data: tuple[str | None]


SingleTensor = _Double | _Float | _Long | _Boolean | _Text
NUMBERS, LONG, BOOLEAN, TEXT = (_Double, _Float, _Long), (_Long,), (_Boolean,), (_Text,)


class SingleRequest(msgspec.Struct, gc=False):
    """A request to infer about one row whose columns need no conversion."""

    inputs: list[SingleTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Asked] | None = None


class _Numbers(msgspec.Struct, tag_field="datatype", forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[Literal[1], int]
    data: list[float]


class _Doubles(_Numbers, tag="FP64"):
    pass


class _Floats(_Numbers, tag="FP32"):
    pass


class RowRequest(msgspec.Struct, gc=False):
    """A request to infer about one row that is one tensor of numbers."""

    inputs: tuple[_Doubles | _Floats]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Asked] | None = None


_Scalar = str | Int64 | float | bool | None


class InstanceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to predict about one row of plain values, by name."""

    instances: tuple[dict[str, _Scalar]]


_infer = msgspec.json.Decoder(InferRequest)
_row = msgspec.json.Decoder(RowRequest)
_single = msgspec.json.Decoder(SingleRequest)
_instance = msgspec.json.Decoder(InstanceRequest)


def read_single(body: bytes) -> SingleRequest | None:
    """Return a request if it is about one plain row, else None: then `read_infer` says what it is."""
    try:
        return _single.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_row(body: bytes) -> RowRequest | None:
    """Return a request if it is one row of numbers, else None: then `read_infer` says what it is."""
    try:
        return _row.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_instance(body: bytes) -> InstanceRequest | None:
    """Return a request if it is one row by name, else None."""
    try:
        return _instance.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_infer(body: bytes | memoryview) -> InferRequest:
    """Return a request to infer.

    Raises:
        InputError: it is not JSON, or not such a request; the text says where.
    """
    try:
        return _infer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _again(bytes(body), InferRequest, error)


def read_message(body: bytes, kind: type[T]) -> T:
    """Return another message; an empty body means one that says nothing.

    Raises:
        InputError: it is not JSON, or not such a message.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _again(body, kind, error)


def _again(body: bytes, kind: type[T], first: Exception) -> T:
    """Read JSON that holds NaN or Infinity, which some clients write though JSON has no such numbers."""
    if isinstance(first, msgspec.DecodeError) and (b"NaN" in body or b"Infinity" in body):
        try:
            found = json.loads(body)
            msgspec.msgpack.encode(found)  # numbers and texts that JSON's own grammar lets through cannot be kept
            return msgspec.convert(found, kind)
        except (ValueError, OverflowError, RecursionError) as error:
            first = error
    if isinstance(first, RecursionError):
        raise InputError("The body's JSON is nested too deeply.") from None
    what = "does not fit" if isinstance(first, msgspec.ValidationError) else "is not JSON"
    raise InputError(
        f"The body {what}: {first}.", hint="The body is one JSON object; GET /v2/models/NAME lists its inputs."
    ) from None
