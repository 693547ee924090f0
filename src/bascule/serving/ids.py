"""Prediction ids: sorted by time, never repeated, and made in under a microsecond.

`pred_` and 26 characters of Crockford's base 32: 11 for the time in microseconds (as `catalog.ids` has it), 9 random
for the process, 6 that count up within it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import overload

import numpy as np

from bascule.catalog.ids import ALPHABET

PREFIX = "pred_"
LENGTH = len(PREFIX) + 26
_COUNTING = 3  # letters by which ids of one request differ
STEM = LENGTH - _COUNTING
_SHAPE = re.compile(rf"{PREFIX}[{ALPHABET}]{{26}}")
_TRIPLES = ["".join(three) for three in product(ALPHABET, repeat=3)]
_WRAP = 1 << 30
_LAST = (1 << 15) - 1  # among all threes of letters


class IdSource:
    """Gives ids that increase, also when the clock goes back. It belongs to one thread."""

    def __init__(self) -> None:
        self._worker = _text(secrets.randbits(45), 9)
        self._count = secrets.randbits(20)
        self._upper = -1
        self._prefix = ""
        self._last = 0

    def next(self, at: int) -> str:
        """Return an id for a moment in microseconds since the epoch."""
        if at < self._last:
            at = self._last
        count = self._count = self._count + 1
        if count == _WRAP:
            count = self._count = 0
            at += 1  # so that the order holds within this microsecond too
        self._last = at
        if at >> 30 != self._upper:
            self._upper = at >> 30
            self._prefix = PREFIX + _text(self._upper, 5)
        return (
            f"{self._prefix}{_TRIPLES[at >> 15 & 32767]}{_TRIPLES[at & 32767]}"
            f"{self._worker}{_TRIPLES[count >> 15]}{_TRIPLES[count & 32767]}"
        )

    def many(self, at: int, count: int) -> Sequence[str]:
        """Return several ids for one moment, in order."""
        first = self._count + 1
        if first >> 15 != first + count >> 15:  # the last letters are not enough: begin where they do
            first = (first | _LAST) + 1
        if not 2 <= count <= _LAST or first + count >= _WRAP:
            return [self.next(at) for _ in range(count)]
        self._count = first - 1
        stem = self.next(at)[:STEM]
        self._count = first + count - 1
        return Ids(stem, first & 32767, count)


class Ids(Sequence[str]):
    """Ids that differ by their last three letters: a thousand are wanted as bytes more often than as a thousand texts.

    Args:
        stem: what stands before those.
        low: the first one's place among all threes of letters.
    """

    def __init__(self, stem: str, low: int, count: int) -> None:
        self._stem, self._low, self._count = stem, low, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return map(self._stem.__add__, _TRIPLES[self._low : self._low + self._count])

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        found = range(self._low, self._low + self._count)[place]
        return self._stem + _TRIPLES[found] if isinstance(found, int) else [self._stem + _TRIPLES[at] for at in found]

    def counted(self) -> str:
        """Return the first of the ids, and how many there are, as one text."""
        return f"{self._stem}{_TRIPLES[self._low]}+{self._count}"

    def between(self, before: bytes, behind: bytes = b"") -> bytearray:
        """Return the ids one after the other, each between two texts."""
        head = before + self._stem.encode()
        one = head + bytes(_COUNTING) + behind
        parts, letters = bytearray(one) * self._count, _letters()
        blanks = np.ndarray(self._count, letters.dtype, parts, len(head), (len(one),))
        blanks[:] = letters[self._low : self._low + self._count]
        return parts


def json_of(ids: Sequence[str]) -> bytes:
    """Return ids as a JSON list."""
    if isinstance(ids, Ids):
        return b"".join((b"[", _less(ids.between(b'"', b'",')), b"]"))
    return b"[%b]" % ",".join([f'"{one}"' for one in ids]).encode()


def json_text_of(ids: Sequence[str]) -> bytes:
    """Return ids as a JSON list within a JSON text, as a parameter has it."""
    if isinstance(ids, Ids):
        return b"".join((b'"[', _less(ids.between(b'\\"', b'\\",')), b']"'))
    return b'"%b"' % json_of(ids).replace(b'"', b'\\"')


def logged(ids: Sequence[str]) -> Sequence[str] | str:
    """Return ids as the log has them: those that follow each other as the first one and their number."""
    return ids.counted() if isinstance(ids, Ids) else ids


def read_logged(said: list[str] | str) -> list[str]:
    """Return the ids that the log has so."""
    if not isinstance(said, str):
        return said
    first, _, count = said.partition("+")
    high, middle, low = map(ALPHABET.index, first[STEM:])
    return list(Ids(first[:STEM], high << 10 | middle << 5 | low, int(count)))


def _less(listed: bytearray) -> bytearray:
    """Return a list without the comma behind its last element."""
    del listed[-1]
    return listed


@cache
def _letters() -> np.ndarray:
    return np.frombuffer("".join(_TRIPLES).encode(), dtype=f"V{_COUNTING}")


def is_prediction_id(text: str) -> bool:
    """Return whether a text has the shape of a prediction id."""
    return _SHAPE.fullmatch(text) is not None


def made_at(prediction_id: str) -> int:
    """Return the moment in a prediction id, in microseconds since the epoch."""
    moment = 0
    for letter in prediction_id[len(PREFIX) : len(PREFIX) + 11]:
        moment = moment << 5 | ALPHABET.index(letter)
    return moment


def _text(number: int, width: int) -> str:
    letters = []
    for _ in range(width):
        letters.append(ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(letters))
