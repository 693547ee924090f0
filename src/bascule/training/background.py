"""Rows to hold a row against, when a model cannot tell itself what its inputs add to an answer.

They say what each input is like by itself: its values at evenly spaced places of its order, so categories and missing
values in their shares, and each input in an order of its own. No row among them is a row of the data.
"""

from __future__ import annotations

import msgspec
import numpy as np

from bascule.errors import InputError

ROWS = 64
FEWEST = 8
MOST_NUMBERS = 1 << 17


def background_of(matrix: np.ndarray) -> np.ndarray:
    """Return at most 64 rows made of encoded rows, fewer where there are thousands of inputs.

    Equal rows in any order give equal ones.

    Args:
        matrix: as `training.encode` gives it, with one row or more.
    """
    rows, width = matrix.shape
    count = int(min(ROWS, max(FEWEST, MOST_NUMBERS // max(width, 1))))
    places = ((np.arange(count) + 0.5) * rows / count).astype(np.int64)
    rng = np.random.default_rng(0)
    found = np.empty((count, width), dtype=matrix.dtype)
    for place in range(width):
        ordered = _ordered(matrix[:, place]) if matrix.dtype == object else np.sort(matrix[:, place])
        found[:, place] = ordered[places][rng.permutation(count)]  # what is missing comes last
    return found


def _ordered(values: np.ndarray) -> np.ndarray:
    """Return texts, times or numbers in order, and what is missing last."""
    held = values.tolist()
    there = sorted(one for one in held if one is not None and one == one)
    found = np.empty(len(held), dtype=object)
    found[:] = there + [one for one in held if one is None or one != one]
    return found


def pack_background(rows: np.ndarray) -> bytes:
    """Return rows as bytes; those of objects as MessagePack."""
    if rows.dtype == object:
        return msgspec.msgpack.encode(rows.tolist())
    return np.ascontiguousarray(rows, dtype="<f8").tobytes()


def unpack_background(data: bytes, width: int, is_raw: bool = False) -> np.ndarray:
    """Return the rows that `pack_background` wrote: float64 [rows, width].

    Args:
        is_raw: they are of objects.

    Raises:
        InputError: the bytes are not rows of so many values.
    """
    if is_raw:
        return _unpacked(data, width)
    if not data or not width or len(data) % (8 * width):
        raise InputError("This model file is damaged: its background is no rows of its inputs.")
    return np.frombuffer(data, dtype="<f8").reshape(-1, width)


def _unpacked(data: bytes, width: int) -> np.ndarray:
    try:
        rows = msgspec.msgpack.decode(data, type=list[list[str | int | float | None]])
    except msgspec.MsgspecError:
        rows = []
    if not rows or any(len(row) != width for row in rows):
        raise InputError("This model file is damaged: its background is no rows of its inputs.")
    found = np.empty((len(rows), width), dtype=object)
    found[:] = rows
    return found
