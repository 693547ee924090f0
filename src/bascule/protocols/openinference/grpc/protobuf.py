"""Protobuf's bytes: fields by number and wire type, and messages that are described by a table."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bascule.errors import InputError

Buffer = bytes | memoryview
Scalar = Literal["string", "bytes", "bool", "int", "double", "parameter"]
Parameter = str | int | float | bool

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_DEPTH = 16
_double = struct.Struct("<d")
_SIGNED = 1 << 63
_ALL = 1 << 64


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes:
        kind: what it holds; another message's table for a message.
        many: it is a list.
        keyed: it is a map from texts; `kind` is of the values.
    """

    number: int
    kind: Scalar | Mapping[str, Field]
    many: bool = False
    keyed: bool = False


Message = Mapping[str, Field]


def varint(value: int) -> bytes:
    """Return a whole number as a varint; a negative one takes ten bytes."""
    if 0 <= value < 128:
        return bytes((value,))
    value %= _ALL
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def chunk(number: int, data: bytes) -> bytes:
    """Return a field of bytes, with its tag and its length."""
    size = len(data)
    if size < 128 and number < 16:
        return bytes((number << 3 | BYTES, size)) + data
    return varint(number << 3 | BYTES) + varint(size) + data


def signed(value: int) -> int:
    """Return a varint's number as the signed one of 64 bits that it stands for."""
    return value - _ALL if value >= _SIGNED else value


def read_varint(data: Buffer, at: int) -> tuple[int, int]:
    """Return a number and where it ends.

    Raises:
        InputError: it does not end, or has more than 64 bits.
    """
    value = shift = 0
    end = len(data)
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= _ALL:
                break
            return value, at
        shift += 7
        if shift > 63:
            break
    raise InputError("The message is not protobuf: a number in it does not end.")


def fields(data: Buffer) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value) of a message: a whole number, or the bytes of all else.

    Raises:
        InputError: the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = read_varint(data, at)
        wire = tag & 7
        if wire == BYTES:
            size = data[at] if at < end else 128
            if size < 128:
                at += 1
            else:
                size, at = read_varint(data, at)
        elif wire == VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, wire, value
            continue
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise InputError(f"The message is not protobuf: it has a field of wire type {wire}.")
        if at + size > end or tag < 8:
            raise InputError("The message is not protobuf: a field in it is longer than the bytes that are left.")
        yield tag >> 3, wire, data[at : at + size]
        at += size


def text(data: Any, what: str = "text") -> str:
    """Return a field's bytes as a text.

    Raises:
        InputError: they are none.
    """
    try:
        return str(data, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise InputError(f"The message has a {what} that is not UTF-8.") from None


def parameter(data: Buffer) -> Parameter | None:
    """Return the value of a parameter: its type is told by the field that is set."""
    found: Parameter | None = None
    for number, wire, value in fields(data):
        if number == 1 and wire == VARINT:
            found = bool(value)
        elif number == 2 and wire == VARINT:
            found = signed(value)
        elif number == 3 and wire == BYTES:
            found = text(value, "parameter")
        elif number == 4 and wire == FIXED64:
            (found,) = _double.unpack(value)
        elif number == 5 and wire == VARINT:
            found = int(value)
    return found


def parameter_bytes(value: Parameter) -> bytes:
    """Return a parameter's value as a message."""
    if isinstance(value, bool):
        return bytes((8, value))
    if isinstance(value, int):
        return b"\x10" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _double.pack(value)
    return chunk(3, value.encode())


def entry(data: Buffer) -> tuple[str, Parameter | None]:
    """Return one parameter: its name and its value."""
    name, value = "", None
    for number, wire, part in fields(data):
        if number == 1 and wire == BYTES:
            name = text(part, "parameter's name")
        elif number == 2 and wire == BYTES:
            value = parameter(part)
    return name, value


def decode(message: Message, data: Buffer, depth: int = 0) -> dict[str, Any]:
    """Return a message as a dict of the fields that it brings; those that the table does not have are passed over.

    Raises:
        InputError: the bytes are no message, or a field has another type than it should.
    """
    if depth > MOST_DEPTH:
        raise InputError("The message is nested too deeply.")
    names = {field.number: (name, field) for name, field in message.items()}
    found: dict[str, Any] = {}
    for number, wire, value in fields(data):
        known = names.get(number)
        if known is None:
            continue
        name, field = known
        if field.keyed:
            key, one = entry(value if wire == BYTES else b"")
            found.setdefault(name, {})[key] = one
            continue
        one = _value(field, wire, value, depth)
        if field.many:
            found.setdefault(name, []).append(one)
        else:
            found[name] = one
    return found


def _value(field: Field, wire: int, value: Any, depth: int) -> Any:
    kind = field.kind
    if isinstance(kind, Mapping):
        return decode(kind, value if wire == BYTES else b"", depth + 1)
    if wire == VARINT and kind in ("bool", "int"):
        return bool(value) if kind == "bool" else signed(value)
    if wire == BYTES and kind in ("string", "bytes"):
        return text(value) if kind == "string" else bytes(value)
    if wire == FIXED64 and kind == "double":
        return _double.unpack(value)[0]
    raise InputError(f"Field {field.number} of the message has another type than {kind}.")


def encode(message: Message, values: Mapping[str, Any]) -> bytes:
    """Return a message; what is missing, None or nothing is left out."""
    parts: list[bytes] = []
    for name, field in message.items():
        value = values.get(name)
        if value is None:
            continue
        if field.keyed:
            parts += [
                chunk(field.number, chunk(1, key.encode()) + chunk(2, _nested(field.kind, one)))
                for key, one in value.items()
            ]
        elif field.many and field.kind == "int":
            packed = b"".join(varint(one) for one in value)
            parts += [chunk(field.number, packed)] if packed else []
        else:
            parts += [_single(field, one) for one in (value if field.many else [value])]
    return b"".join(parts)


def _nested(kind: Scalar | Message, value: Any) -> bytes:
    return encode(kind, value) if isinstance(kind, Mapping) else parameter_bytes(value)


def _single(field: Field, value: Any) -> bytes:
    kind = field.kind
    if isinstance(kind, Mapping):
        return chunk(field.number, encode(kind, value))
    if kind in ("bool", "int"):
        return varint(field.number << 3) + varint(int(value)) if value or field.many else b""
    if kind == "double":
        return varint(field.number << 3 | FIXED64) + _double.pack(value)
    data = value.encode() if isinstance(value, str) else value
    return chunk(field.number, data) if data or field.many else b""
