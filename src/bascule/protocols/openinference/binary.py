"""The binary tensor extension: JSON first, then the bytes of tensors, one after the other."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Sequence

from msgspec import UNSET

from bascule.errors import InputError
from bascule.protocols.openinference.messages import InferRequest

Buffer = bytes | memoryview
_LENGTH = struct.Struct("<I")


def header_length(value: bytes, size: int) -> int:
    """Return how many bytes of a body are JSON.

    Args:
        value: the header `inference-header-content-length`.
        size: of the body.

    Raises:
        InputError: it is not such a number.
    """
    if not value.isdigit() or len(value) > 12 or int(value) > size:
        shown = value[:40].decode("latin-1")
        raise InputError(f"Inference-Header-Content-Length is {shown!r}; the body has {size} bytes.")
    return int(value)


def take_tensors(request: InferRequest, rest: memoryview) -> dict[int, memoryview]:
    """Return the bytes of each input that has them behind the JSON, by the input's place.

    Raises:
        InputError: sizes are missing, or do not add up to the bytes that came.
    """
    found: dict[int, memoryview] = {}
    at = 0
    for place, tensor in enumerate(request.inputs):
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or size < 0 or at + size > len(rest):
            raise InputError(
                f"The input {tensor.name!r} says binary_data_size {size!r}; {len(rest) - at} bytes are left for it."
            )
        if tensor.data is not UNSET:
            raise InputError(f"The input {tensor.name!r} has both data and binary_data_size.")
        found[place] = rest[at : at + size]
        at += size
    if at != len(rest):
        raise InputError(f"{len(rest) - at} bytes follow the tensors that the JSON names.")
    return found


def split_texts(name: str, data: Buffer, count: int, blobs: bool = False) -> list[str]:
    """Return the elements of a BYTES tensor as texts.

    Args:
        blobs: they are bytes of any kind; the texts are their base64.

    Raises:
        InputError: the lengths do not add up, or an element is not UTF-8.
    """
    found: list[str] = []
    at = 0
    for place in range(count):
        if at + 4 > len(data):
            raise InputError(f"The input {name!r} ends after {place} of its {count} elements.")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise InputError(f"Element {place} of the input {name!r} is longer than the bytes that are left.")
        try:
            part = bytes(data[at : at + length])
            found.append(b64encode(part).decode() if blobs else str(part, "utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"Element {place} of the input {name!r} is not UTF-8 text.") from None
        at += length
    if at != len(data):
        raise InputError(f"The input {name!r} has {len(data) - at} bytes behind its {count} elements.")
    return found


def join_texts(values: Sequence[str]) -> bytes:
    """Return texts as a BYTES tensor."""
    parts = []
    for value in values:
        data = value.encode()
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)
