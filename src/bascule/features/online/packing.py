"""Many values as bytes at once: entity keys and rows, column by column, the same bytes as one by one.

Each column becomes a matrix of bytes, one row for each value; where widths differ, a mask says which bytes count. What
does not fit (texts that are very long or hold zero bytes) is left to the encoders of single values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.features.columns import family

WIDEST = 200  # bytes of a text that is packed so; longer ones would fill the matrix with nothing
_TIMES = {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}
_HALF = np.uint64(1 << 63)
# msgpack's tags of numbers by what Arrow calls them, and how they are written.
_NUMBERS = {
    "int8": (0xD0, ">i1"),
    "int16": (0xD1, ">i2"),
    "int32": (0xD2, ">i4"),
    "int64": (0xD3, ">i8"),
    "uint8": (0xCC, ">u1"),
    "uint16": (0xCD, ">u2"),
    "uint32": (0xCE, ">u4"),
    "uint64": (0xCF, ">u8"),
    "float": (0xCA, ">f4"),
    "double": (0xCB, ">f8"),
}


class Cells:
    """Some bytes of each row. `kept` says which of them count; None: all."""

    __slots__ = ("data", "kept")

    def __init__(self, data: np.ndarray, kept: np.ndarray | None = None) -> None:
        self.data = data
        self.kept = kept


def joined(cells: Sequence[Cells]) -> list[bytes]:
    """The bytes of each row, one after the other."""
    matrix = np.concatenate([one.data for one in cells], axis=1)
    count, width = matrix.shape
    if all(one.kept is None for one in cells):
        data = matrix.tobytes()
        return [data[at : at + width] for at in range(0, count * width, width)]
    kept = np.concatenate(
        [np.ones(one.data.shape, dtype=bool) if one.kept is None else one.kept for one in cells], axis=1
    )
    data = matrix[kept].tobytes()
    ends = np.cumsum(kept.sum(axis=1)).tolist()
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def constant(count: int, data: bytes) -> Cells:
    """The same bytes in each row."""
    return Cells(np.broadcast_to(np.frombuffer(data, dtype=np.uint8), (count, len(data))))


def numbers(values: np.ndarray, layout: str) -> Cells:
    """Numbers in a NumPy layout such as `>i8`."""
    ordered = np.ascontiguousarray(values.astype(np.dtype(layout)))
    return Cells(ordered.view(np.uint8).reshape(len(values), ordered.dtype.itemsize))


def keys(columns: Sequence[pa.Array], type_names: Sequence[str]) -> list[Cells] | None:
    """Entity keys as `keys.encoder` writes them, or None when one of them does not fit."""
    found: list[Cells] = []
    for column, type_name in zip(columns, type_names, strict=True):
        cells = _key(column, type_name)
        if cells is None:
            return None
        found += cells
    return found if sum(one.data.shape[1] for one in found) <= 2 * WIDEST else None


def rows(columns: Sequence[pa.Array]) -> list[bytes] | None:
    """Each row as a msgpack array, or None when one of the columns does not fit."""
    count, width = len(columns[0]), len(columns)
    head = bytes([0x90 | width]) if width < 16 else b"\xdc" + width.to_bytes(2, "big")
    cells = [constant(count, head)]
    for column in columns:
        found = _value(column)
        if found is None:
            return None
        cells.append(found)
    return joined(cells)


def _key(column: pa.Array, type_name: str) -> list[Cells] | None:
    count, kind = len(column), family(type_name)
    if column.null_count:
        return None
    if kind == "text":
        text = _texts(column, b"\x20", b"\0\0")
        return None if text is None else [text]
    if kind == "integer":
        values = column.to_numpy(zero_copy_only=False)
        sign = (values >= 0).astype(np.uint8).reshape(count, 1)
        return [constant(count, b"\x10"), Cells(sign), numbers(values, ">u8" if values.dtype.kind == "u" else ">i8")]
    if kind == "time":
        values = pc.cast(column, pa.int64()).to_numpy().view(np.uint64) + _HALF
        return [constant(count, b"\x30"), numbers(values, ">u8")]
    if kind == "date":
        days = pc.cast(column, pa.int32()).to_numpy().astype(np.int64) + 2**31
        return [constant(count, b"\x28"), numbers(days, ">u4")]
    return None


def _value(column: pa.Array) -> Cells | None:
    count, kind = len(column), str(column.type)
    if kind in ("string", "large_string"):
        cells = _texts(column, b"\xd9", b"", measured=True)
        if cells is None or not column.null_count:
            return cells
        return _nulled(cells, column)
    if kind == "bool":
        values = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
        cells = Cells(np.where(values, 0xC3, 0xC2).astype(np.uint8).reshape(count, 1))
        return _nulled(cells, column) if column.null_count else cells
    if kind not in _NUMBERS:
        return None
    tag, layout = _NUMBERS[kind]
    filled = pc.fill_null(column, pa.scalar(0, column.type)) if column.null_count else column
    body = numbers(filled.to_numpy(zero_copy_only=False), layout).data
    tagged = np.empty((count, body.shape[1] + 1), dtype=np.uint8)
    tagged[:, 0], tagged[:, 1:] = tag, body
    return _nulled(Cells(tagged), column) if column.null_count else Cells(tagged)


def _nulled(cells: Cells, column: pa.Array) -> Cells:
    """The same with msgpack's nil where the column is null."""
    missing = column.is_null().to_numpy(zero_copy_only=False)
    kept = np.ones(cells.data.shape, dtype=bool) if cells.kept is None else cells.kept
    kept[missing, 1:] = False
    kept[missing, 0] = True
    cells.data[missing, 0] = 0xC0
    return Cells(cells.data, kept)


def _texts(column: pa.Array, before: bytes, after: bytes, measured: bool = False) -> Cells | None:
    """Texts between some bytes, with their length in one byte when `measured`."""
    count = len(column)
    binary = pc.cast(column, pa.binary())
    lengths = pc.fill_null(pc.binary_length(binary), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    widest = int(lengths.max(initial=0))
    if widest > WIDEST:
        return None
    offsets = np.frombuffer(binary.buffers()[1], dtype=np.int32)[binary.offset : binary.offset + count + 1]
    held = binary.buffers()[2]
    raw = np.frombuffer(held, dtype=np.uint8) if held is not None and held.size else np.zeros(1, dtype=np.uint8)
    if after and widest and not raw[offsets[0] : offsets[-1]].all():
        return None  # a zero byte, which a key escapes
    inside = np.arange(widest) < lengths[:, None]
    places = np.minimum(offsets[:-1, None] + np.arange(widest), len(raw) - 1)
    head, tail = len(before) + measured, len(after)
    data = np.zeros((count, head + widest + tail), dtype=np.uint8)
    data[:, : len(before)] = np.frombuffer(before, dtype=np.uint8)
    if measured:
        data[:, len(before)] = lengths
    data[:, head : head + widest] = raw[places]
    kept = np.ones(data.shape, dtype=bool)
    kept[:, head : head + widest] = inside
    return Cells(data, kept)
