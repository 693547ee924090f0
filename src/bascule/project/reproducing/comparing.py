"""Two files compared: byte by byte, then number by number where their kind is known.

A kind is told by its content, not by its name's ending: NumPy arrays, Parquet and Arrow files, safetensors, JSON,
archives of such files, and any other text, in which the words must be the same and the numbers may differ.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bascule.project.reproducing.result import Compared

LARGEST = 1 << 30
LARGEST_TEXT = 1 << 27
LONGEST_WHOLE = 15
SERIAL = ".data/serialization_id"
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])|\b(?:nan|inf)\b", re.IGNORECASE)

Values = tuple[str, "np.ndarray[Any, Any]"]


class Unlike(Exception):
    """Two contents that differ in more than their numbers; the message says in what."""


def compare(path: str, then: bytes, now: bytes, tolerance: float) -> Compared:
    """Return how two contents of a path differ.

    Args:
        tolerance: the greatest relative difference that counts as equal.
    """
    if then == now:
        return Compared(path, "identical")
    if max(len(then), len(now)) > LARGEST:
        return Compared(path, "different", note="too large to compare number by number")
    try:
        pairs = list(_pairs(then, now))
    except Unlike as error:
        return Compared(path, "different", note=str(error))
    except Exception as error:  # a damaged file of a known kind: its reader's own error says it best
        return Compared(path, "different", note=f"cannot be read: {error}".splitlines()[0][:200])
    return weighed(path, pairs, tolerance)


def weighed(path: str, pairs: list[tuple[Any, Any]], tolerance: float) -> Compared:
    """Return the greatest differences among pairs of arrays of numbers, and the verdict."""
    values, absolute, relative = 0, 0.0, 0.0
    for before, after in pairs:
        found = _differences(np.asarray(before), np.asarray(after))
        values += int(np.asarray(before).size)
        absolute, relative = max(absolute, found[0]), max(relative, found[1])
    verdict = "equal" if relative <= tolerance else "different"
    return Compared(path, verdict, values, absolute, relative)  # type: ignore[arg-type]


def _differences(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the greatest absolute and relative difference; infinite where one side has no number."""
    if before.shape != after.shape:
        raise Unlike(f"{before.shape} values then, {after.shape} now")
    if np.issubdtype(before.dtype, np.complexfloating):
        before, after = before.view(before.real.dtype), after.view(after.real.dtype)
    unlike = before != after
    if before.dtype.kind == "f" and after.dtype.kind == "f":
        unlike &= ~(np.isnan(before) & np.isnan(after))
    if not unlike.any():
        return 0.0, 0.0
    old, new = before[unlike], after[unlike]
    with np.errstate(all="ignore"):
        if (
            old.dtype.kind in "iu" and new.dtype.kind in "iu"
        ):  # whole numbers may be too large for a float to tell apart
            gap = np.abs(old.astype(object) - new.astype(object)).astype(np.float64)
        else:
            gap = np.abs(old.astype(np.float64) - new.astype(np.float64))
        old, new = old.astype(np.float64), new.astype(np.float64)
        share = gap / np.maximum(np.abs(old), np.abs(new))
    gap, share = np.where(np.isnan(gap), np.inf, gap), np.where(np.isfinite(share), share, np.inf)
    return float(gap.max()), float(share.max())


def _pairs(then: bytes, now: bytes) -> Iterator[tuple[Any, Any]]:
    before, after = _arrays(then), _arrays(now)
    for one, other in zip(before, after, strict=False):
        if one[0] != other[0]:
            raise Unlike(_first_unlike(one[0], other[0]))
        yield one[1], other[1]
    if next(before, None) is not None or next(after, None) is not None:
        raise Unlike("more parts on one side than on the other")


def _arrays(data: bytes) -> Iterator[Values]:
    """Yield what a file holds: text that must be the same, and the numbers that belong to it."""
    if data.startswith(b"\x93NUMPY"):
        yield _numeric("array", np.load(io.BytesIO(data), allow_pickle=False))
    elif data.startswith(b"PAR1"):
        import pyarrow.parquet as pq

        yield from _columns(pq.read_table(pa.BufferReader(data)))
    elif data.startswith(b"ARROW1"):
        yield from _columns(pa.ipc.open_file(pa.BufferReader(data)).read_all())
    elif data.startswith(b"PK\x03\x04"):
        yield from _members(data)
    elif _is_safetensors(data):
        yield from _tensors(data)
    else:
        yield from _text(data)


def _numeric(name: str, array: np.ndarray[Any, Any]) -> Values:
    if array.dtype.names:  # records: each field by itself
        raise Unlike("the bytes differ, in records that have no numbers of one kind")
    if array.dtype.kind not in "biufc":
        return f"{name} {array.dtype} {array.tolist()!r}", np.empty(0)
    return f"{name} {array.dtype} {array.shape}", array.ravel()


def _columns(table: pa.Table) -> Iterator[Values]:
    for field, column in zip(table.schema, table.columns, strict=True):
        yield from _column(f"column {field.name}", column.combine_chunks())


def _column(name: str, column: Any) -> Iterator[Values]:
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        nulls = np.flatnonzero(np.asarray(column.is_null())).tolist() if column.null_count else []
        values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        yield f"{name} {kind} {nulls!r}", np.atleast_1d(values)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = column.value_lengths().to_pylist()
        yield from _column(f"{name} {lengths!r}", column.flatten())
    else:
        yield f"{name} {kind} {column.to_pylist()!r}", np.empty(0)


def _members(data: bytes) -> Iterator[Values]:
    """An archive (`.npz`, a PyTorch file, a bundle): by what is in it; the times in it are not content."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(one.file_size for one in archive.infolist()) > LARGEST:
            raise Unlike("too large to compare number by number")
        names = sorted(archive.namelist())
        # PyTorch names all of it after the file that it is written to, and keeps a digest that knows that name.
        root = {name.partition("/")[0] for name in names}
        inner = {name: name.partition("/")[2] if len(root) == 1 and "/" in name else name for name in names}
        for name in sorted(names, key=inner.__getitem__):
            if inner[name] != SERIAL:
                for text, values in _arrays(archive.read(name)):
                    yield f"{inner[name]} {text}", values


def _is_safetensors(data: bytes) -> bool:
    length = int.from_bytes(data[:8], "little")
    return 2 <= length <= len(data) - 8 and data[8:9] == b"{" and data[8 : 8 + length].rstrip().endswith(b"}")


_TENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
}


def _tensors(data: bytes) -> Iterator[Values]:
    length = int.from_bytes(data[:8], "little")
    for name, told in sorted(json.loads(data[8 : 8 + length]).items()):
        if name == "__metadata__":
            yield f"{name} {told!r}", np.empty(0)
            continue
        begin, end = told["data_offsets"]
        raw, kind = data[8 + length + begin : 8 + length + end], _TENSORS.get(told["dtype"])
        text = f"{name} {told['dtype']} {told['shape']}"
        yield (text, np.frombuffer(raw, kind)) if kind else (f"{text} {raw.hex()}", np.empty(0))


def _text(data: bytes) -> Iterator[Values]:
    try:
        text = data.decode()
        if "\0" in text or len(text) > LARGEST_TEXT:
            raise ValueError
    except ValueError:
        yield f"bytes {data.hex() if len(data) < 1 << 16 else hash(data)}", np.empty(0)
        return
    if text.lstrip()[:1] in ("{", "["):  # the order of an object's keys is not content
        with contextlib.suppress(ValueError):
            text = json.dumps(json.loads(text), sort_keys=True)
    numbers = np.array([float(one) for one in _NUMBER.findall(text) if not _is_name(one)])
    yield _NUMBER.sub(lambda one: one[0] if _is_name(one[0]) else "#", text), numbers


def _is_name(number: str) -> bool:
    """Whether a number has so many digits that a float does not hold it: an id, which must be the same."""
    return number.lstrip("+-").isdigit() and len(number) > LONGEST_WHOLE


def _first_unlike(then: str, now: str) -> str:
    """Return where two texts part, short."""
    if then.startswith("bytes ") or now.startswith("bytes "):
        return "the bytes differ, in a format whose numbers are not known here"
    at = next((n for n, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    begin = max(0, at - 20)
    return f"text differs: {then[begin : at + 40]!r} then, {now[begin : at + 40]!r} now"


def read(path: Path) -> bytes | None:
    """Return a file's bytes; None when there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
