"""Rows to hold a row against, when a model cannot tell itself what its inputs add to an answer.

They say what each input is like by itself: its values at evenly spaced places of its order, so categories and missing
values in their shares, and each input in an order of its own. No row among them is a row of the data.
"""

from __future__ import annotations

import numpy as np

from bascule.errors import InputError

ROWS = 64
FEWEST = 8
MOST_NUMBERS = 1 << 17


def background_of(matrix: np.ndarray) -> np.ndarray:
    """Return at most 64 rows made of encoded rows, fewer where there are thousands of inputs.

    Equal rows in any order give equal ones.

    Args:
        matrix: float64 [rows, inputs] with one row or more; NaN is missing.
    """
    rows, width = matrix.shape
    count = int(min(ROWS, max(FEWEST, MOST_NUMBERS // max(width, 1))))
    places = ((np.arange(count) + 0.5) * rows / count).astype(np.int64)
    rng = np.random.default_rng(0)
    found = np.empty((count, width), dtype=np.float64)
    for place in range(width):
        found[:, place] = np.sort(matrix[:, place])[places][rng.permutation(count)]  # what is missing comes last
    return found


def pack_background(rows: np.ndarray) -> bytes:
    """Return rows as bytes."""
    return np.ascontiguousarray(rows, dtype="<f8").tobytes()


def unpack_background(data: bytes, width: int) -> np.ndarray:
    """Return the rows that `pack_background` wrote: float64 [rows, width].

    Raises:
        InputError: the bytes are not rows of so many numbers.
    """
    if not data or not width or len(data) % (8 * width):
        raise InputError("This model file is damaged: its background is no rows of its inputs.")
    return np.frombuffer(data, dtype="<f8").reshape(-1, width)
