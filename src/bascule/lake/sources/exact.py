"""Texts as values, where they can mean one thing only: what a reading by a sample of the rows is held to.

The casts of a reader are lenient: `1.5` becomes the whole number 2, `007` becomes 7, a day's clock is cut off. What
passes here is written as a whole look at the file would want it for the same type; whatever is not is for that look to
say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bascule.lake.sources.conversions import NAIVE, WHOLE, ZONED, Conversion
from bascule.lake.sources.digits import may_change

_TYPES = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    NAIVE: pa.timestamp("us"),
    ZONED: pa.timestamp("us", "UTC"),
    "VARCHAR": pa.string(),
}
_ZERO, _NINE, _PLUS, _MINUS, _POINT, _COLON, _Z = (ord(sign) for sign in "09+-.:Z")
_LETTERS = [ord(sign) for sign in "tTfF"]


class Misfit(Exception):
    """A text that is not, beyond doubt, a value of its column's type."""


@dataclass(frozen=True, slots=True)
class Exact:
    """How the texts of a column become values.

    Attributes:
        type: the DuckDB type that they become.
        empty: nothing is to be there.
    """

    name: str
    type: str
    empty: bool = False

    @property
    def arrow(self) -> pa.DataType:
        """The type of the values."""
        return _TYPES[self.type]

    def values(self, texts: pa.Array) -> pa.Array:
        """Return the values.

        Raises:
            Misfit: one of the texts is none, or might be another one.
        """
        if texts.null_count == len(texts):
            return pa.nulls(len(texts), self.arrow)
        if self.empty:
            raise Misfit(self.name)
        if self.type == "VARCHAR":
            return texts
        test = _TESTS["WHOLE" if self.type in WHOLE else self.type]
        if not test(_Signs(texts if self.type in (*WHOLE, "DOUBLE") else texts.drop_null())):
            raise Misfit(self.name)
        try:
            found = pc.cast(texts, self.arrow)
        except pa.ArrowInvalid as error:
            raise Misfit(self.name) from error
        if self.type == "DOUBLE" and (np.isinf(found.to_numpy(zero_copy_only=False)).any() or may_change(texts, found)):
            raise Misfit(self.name)  # 1e400, or more digits than a double has
        return found


def exact(columns: Sequence[Conversion], seems: Mapping[str, str], empty: set[str]) -> list[Exact] | None:
    """Return how the texts of a file become values, when that can be told of every column; else None.

    Args:
        columns: how the file would be read.
        seems: the type that the sample shows, by column.
        empty: the columns without a value in it.
    """
    found = []
    for column in columns:
        seen, wanted = seems[column.name], column.wanted
        same = seen == wanted or wanted == "VARCHAR" or column.name in empty
        wider = seen == "BIGINT" and (wanted in WHOLE or wanted == "DOUBLE")
        if column.format is not None or wanted not in _TYPES or not (same or wider):
            return None
        found.append(Exact(column.name, wanted, column.name in empty))
    return found


def typed(batches: Iterator[pa.RecordBatch], columns: Sequence[Exact]) -> Iterator[pa.RecordBatch]:
    """Turn batches of texts into batches of values.

    Raises:
        Misfit: as `Exact.values`.
    """
    schema = schema_of(columns)
    for batch in batches:
        yield pa.RecordBatch.from_arrays(
            [column.values(batch.column(place)) for place, column in enumerate(columns)], schema=schema
        )


def schema_of(columns: Sequence[Exact]) -> pa.Schema:
    """Return the schema of the values."""
    return pa.schema([(column.name, column.arrow) for column in columns])


class _Signs:
    """The bytes of the texts of a column, by their place in each text. A missing text has the length 0."""

    def __init__(self, texts: pa.Array) -> None:
        width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
        _, ends, data = texts.buffers()
        offsets: npt.NDArray[Any] = np.frombuffer(ends, dtype=width)[texts.offset : texts.offset + len(texts) + 1]
        self.bytes = np.frombuffer(data if data is not None and data.size else b"\0", dtype=np.uint8)
        self.starts, self.lengths = offsets[:-1], np.diff(offsets)

    def at(self, place: int) -> npt.NDArray[np.uint8]:
        """The byte at a place of each text; any byte where the text is shorter."""
        found: npt.NDArray[np.uint8] = np.take(self.bytes, self.starts + place if place else self.starts, mode="clip")
        return found

    def before(self, place: int) -> npt.NDArray[np.uint8]:
        """The byte so many places before the end of each text."""
        found: npt.NDArray[np.uint8] = np.take(self.bytes, self.starts + self.lengths - place, mode="clip")
        return found


def _whole(signs: _Signs) -> bool:
    first = signs.at(0)
    if np.any((first == _ZERO) & (signs.lengths > 1)):
        return False
    minus = first == _MINUS  # a sign that is wrong is seen by the cast, but not what it stands before
    return not (minus.any() and np.any(minus & (signs.at(1) == _ZERO)))


def _number(signs: _Signs) -> bool:
    first, second = signs.at(0), signs.at(1)
    minus = first == _MINUS
    zero = (first == _ZERO) & (signs.lengths > 1) & (second != _POINT)
    zero |= minus & (second == _ZERO) & (signs.lengths > 2) & (signs.at(2) != _POINT)
    word = (first > _NINE) | (minus & (second > _NINE))
    return not np.any(zero | (first == _PLUS) | word)


def _truth(signs: _Signs) -> bool:
    return bool(np.all(np.isin(signs.at(0), _LETTERS) & (signs.lengths >= 4)))


def _day(signs: _Signs) -> bool:
    return bool(np.all(signs.lengths == 10))


def _clock(signs: _Signs) -> npt.NDArray[np.bool_]:
    short, whole = signs.lengths == 16, (signs.at(16) == _COLON) & (signs.lengths >= 19)
    found: npt.NDArray[np.bool_] = (signs.at(13) == _COLON) & (short | whole)
    return found


def _naive(signs: _Signs) -> bool:
    return bool(np.all((signs.lengths == 10) | _clock(signs)))


def _zoned(signs: _Signs) -> bool:
    sign = signs.before(6)
    offset = ((sign == _PLUS) | (sign == _MINUS)) & (signs.before(3) == _COLON) & (signs.lengths >= 25)
    zulu = (signs.before(1) == _Z) & (signs.lengths >= 20)
    return bool(np.all(_clock(signs) & (offset | zulu)))


_TESTS: Mapping[str, Callable[[_Signs], bool]] = {
    "WHOLE": _whole,
    "DOUBLE": _number,
    "BOOLEAN": _truth,
    "DATE": _day,
    NAIVE: _naive,
    ZONED: _zoned,
}
