"""The protocol's datatypes: their bytes, what JSON may hold for them, and which of them a column has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bascule.errors import InputError, suggestion


@dataclass(frozen=True)
class Datatype:
    """One datatype.

    Attributes:
        dtype: numpy's name for its bytes; None for BYTES, whose elements have lengths of their own.
        size: bytes of an element; 0 for BYTES.
        accepts: the Python types that a JSON element may have; None is a missing value.
        low, high: the range of an integer type.
        json: whether JSON may carry it; the 16-bit floats come as binary only.
    """

    name: str
    dtype: str | None
    size: int
    accepts: frozenset[type]
    low: int = 0
    high: int = 0
    json: bool = True

    @cached_property
    def one(self) -> Callable[[Any], tuple[Any, ...]] | None:
        """What reads the bytes of one element; None where it takes more than that."""
        return (
            struct.Struct(f"<{_LETTERS[self.dtype]}").unpack if self.dtype in _LETTERS and self.name != "BF16" else None
        )


_LETTERS = {"?": "?", "<i1": "b", "<i2": "h", "<i4": "i", "<i8": "q", "<u1": "B", "<u2": "H", "<u4": "I", "<u8": "Q",
            "<f2": "e", "<f4": "f", "<f8": "d"}  # fmt: skip

_NONE = type(None)
_BOOLEAN: frozenset[type] = frozenset((bool, _NONE))
_TEXT: frozenset[type] = frozenset((str, _NONE))
_INTEGER: frozenset[type] = frozenset((int, _NONE))
_FLOAT: frozenset[type] = frozenset((float, int, _NONE))


def _integers() -> list[Datatype]:
    found = []
    for bits in (8, 16, 32, 64):
        half = 1 << (bits - 1)
        found.append(Datatype(f"INT{bits}", f"<i{bits // 8}", bits // 8, _INTEGER, -half, half - 1))
        found.append(Datatype(f"UINT{bits}", f"<u{bits // 8}", bits // 8, _INTEGER, 0, 2 * half - 1))
    return found


DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", "?", 1, _BOOLEAN),
        *_integers(),
        Datatype("FP16", "<f2", 2, _FLOAT, json=False),
        Datatype("BF16", "<u2", 2, _FLOAT, json=False),
        Datatype("FP32", "<f4", 4, _FLOAT),
        Datatype("FP64", "<f8", 8, _FLOAT),
        Datatype("BYTES", None, 0, _TEXT),
    )
}

_OF_COLUMN = {
    "double": "FP64",
    "bigint": "INT64",
    "boolean": "BOOL",
    "varchar": "BYTES",
    "tinyint": "INT8",
    "smallint": "INT16",
    "integer": "INT32",
    "utinyint": "UINT8",
    "usmallint": "UINT16",
    "uinteger": "UINT32",
    "ubigint": "UINT64",
    "float": "FP32",
}


def datatype_named(name: str) -> Datatype:
    """Return a datatype, or raise `InputError` with the nearest one."""
    found = DATATYPES.get(name)
    if found is None:
        raise InputError(
            f"There is no datatype named {name[:40]!r}.", hint=suggestion(name, list(DATATYPES), "datatype")
        )
    return found


def datatype_of(column_type: str) -> str:
    """Return the datatype in which a column is best sent. Times and dates are texts."""
    return _OF_COLUMN.get(column_type.lower(), "BYTES")


def from_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return 16-bit brain floats, held as uint16, as float32."""
    return (values.astype(np.uint32) << 16).view(np.float32)
