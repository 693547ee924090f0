"""An answer about one row as a text with two blanks: the prediction id, and the number.

All else of an answer depends on what was asked, and on which class is likelier; so it is written once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import msgspec

EXAMPLE_ID = "pred_" + 26 * "0"
_LOW, _HIGH = 0.25, 0.75
_pack = struct.Struct("<d").pack
_text = msgspec.json.Encoder().encode  # as answers are written that are no letters
Parts = tuple[bytes, bytes, bytes]


class Letter:
    """The two texts of an answer.

    Attributes:
        fixed: all answers are of one length, as far as the two texts are.

    Args:
        parts: what stands before, between and behind the blanks when the number is under one half, and when it is not.
        number: how the number is written; None when the answer tells none.
    """

    __slots__ = ("_high", "_low", "_number", "fixed")

    def __init__(self, parts: tuple[Parts, Parts], number: Callable[[float], bytes] | None) -> None:
        self._low, self._high = parts
        self._number = number or _nothing
        self.fixed = number is not _text

    def fill(self, prediction_id: bytes, number: float) -> bytes:
        """Return the answer."""
        head, middle, tail = self._high if number >= 0.5 else self._low
        return b"".join((head, prediction_id, middle, self._number(number), tail))


def letter_of(write: Callable[[float], bytes]) -> Letter | None:
    """Return the letter of an answer; None when it cannot be cut into parts.

    Args:
        write: writes the whole answer about one row, with `EXAMPLE_ID` and this number.
    """
    low, high = write(_LOW), write(_HIGH)
    for told in (_text, _pack, None):
        parts = _cut(low, _LOW, told), _cut(high, _HIGH, told)
        if parts[0] is not None and parts[1] is not None:
            return Letter((parts[0], parts[1]), told)
    return None


def _cut(answer: bytes, number: float, told: Callable[[float], bytes] | None) -> Parts | None:
    head, found, rest = answer.partition(EXAMPLE_ID.encode())
    if not found:
        return None
    if told is None:
        return head, rest, b""
    mark = re.escape(told(number))
    if told is _text:
        mark = rb"(?<=[\[:])" + mark + rb"(?=[\],}])"  # as JSON has it
    places = list(re.finditer(mark, rest))
    if len(places) != 1:  # a class may be called so too
        return None
    return head, rest[: places[0].start()], rest[places[0].end() :]


def _nothing(number: float) -> bytes:
    return b""
