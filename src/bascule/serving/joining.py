"""Requests that bring keys instead of features: which columns they have, of which types, and who joins the rest.

The features come from a `FeatureReader`, the same definitions that training used read as of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol, runtime_checkable

from bascule.errors import InputError
from bascule.serving.encoding import extra, missing, wrong_type
from bascule.serving.moments import EPOCH, MICROSECOND, WANTED, moment_of
from bascule.serving.rows import Columns

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
FLOATS = ("FLOAT", "DOUBLE", "REAL")
UNSURE = 2.0**53  # from here on a float may stand for the integer beside it


class FeatureReader(Protocol):
    """Reads a model's inputs for request rows. It may be called from several threads."""

    def read(self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> list[list[Any]]:
        """Return for each row the values of the feature set's features in order, as of `at` (µs since the epoch)."""
        ...


@runtime_checkable
class FarReader(Protocol):
    """A reader whose store may be a server.

    Attributes:
        far: it is one.
    """

    far: bool

    def demand_alive(self) -> None:
        """Raise `EnvironmentProblem` when the store does not answer; it may wait."""
        ...


class Joiner:
    """What a model's requests may bring instead of its inputs.

    Args:
        columns: request column to DuckDB type, the prediction time among them.
        prediction_time: the column that says as of when; a request without it means now. "" when nothing depends on it.
        keys: the columns that name what the request is about, in order.
        reader: gives the inputs.
    """

    def __init__(
        self, columns: Mapping[str, str], prediction_time: str, keys: Sequence[str], reader: FeatureReader
    ) -> None:
        self.columns = dict(columns)
        self.prediction_time = prediction_time
        self.keys = tuple(keys)
        self.reader = reader
        self.types = {name: kind.upper() for name, kind in columns.items()}
        self._needed = [name for name in columns if name != prediction_time]
        self._readers = {name: _reader_of(kind) for name, kind in self.types.items()}

    def join(self, columns: Columns, count: int, now: int) -> tuple[list[list[Any]], list[int]]:
        """Return the inputs of each row and as of when they were read.

        Args:
            now: microseconds since the epoch, for rows that do not say.

        Raises:
            InputError: a column is missing, is not known, or has a value of the wrong type.
        """
        absent = [name for name in self._needed if name not in columns]
        if absent:
            raise missing(absent, columns)
        unknown = [name for name in columns if name not in self.columns]
        if unknown:
            raise extra(unknown, sorted(self.columns))
        read = {name: self._column(name, columns[name]) for name in columns}
        at = self.times(columns, count, now)
        if self.prediction_time:
            read[self.prediction_time] = [EPOCH + moment * MICROSECOND for moment in at]
        names = list(read)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*read.values(), strict=True)]
        return self.reader.read(rows, at), at

    def times(self, columns: Columns, count: int, now: int) -> list[int]:
        """Return as of when each row is asked, in microseconds since the epoch."""
        sent = columns.get(self.prediction_time)
        if sent is None:
            return [now] * count
        name = self.prediction_time
        moments = (_moment(name, value, row) for row, value in enumerate(sent))
        return [now if moment is None else (moment - EPOCH) // MICROSECOND for moment in moments]

    def _column(self, name: str, values: Sequence[Any]) -> list[Any]:
        read = self._readers[name]
        if self.types[name] in FLOATS:  # where NaN is a value; elsewhere pandas writes a missing one so
            return [None if value is None else read(name, value, row) for row, value in enumerate(values)]
        return [None if value is None or value != value else read(name, value, row) for row, value in enumerate(values)]


def _reader_of(kind: str) -> Callable[[str, Any, int], Any]:
    if kind == "UBIGINT":
        return _unsigned
    if kind in INTEGERS:
        return _integer
    if kind == "BOOLEAN":
        return _boolean
    if kind.startswith("TIMESTAMP"):
        return _moment
    if kind == "DATE":
        return _date
    if kind in FLOATS or kind.startswith("DECIMAL"):
        return _number
    return _text


def _integer(name: str, value: Any, row: int) -> int:
    return _whole(name, value, row, -(2**63))


def _unsigned(name: str, value: Any, row: int) -> int:
    return _whole(name, value, row, 0)


def _whole(name: str, value: Any, row: int, least: int) -> int:
    if type(value) is float and value.is_integer() and abs(value) < UNSURE:
        value = int(value)
    if type(value) is not int or not least <= value < least + 2**64:
        raise wrong_type(name, f"a whole number of 64 bits from {least} on", value, row)
    return value


def _number(name: str, value: Any, row: int) -> float:
    if type(value) not in (int, float):
        raise wrong_type(name, "a number", value, row)
    try:
        found = float(value)
    except OverflowError:
        raise wrong_type(name, "a number", value, row) from None
    if found != value and value == value:
        raise wrong_type(name, "a number that a double holds", value, row)
    return found


def _boolean(name: str, value: Any, row: int) -> bool:
    if type(value) is not bool and value not in (0, 1):
        raise wrong_type(name, "true or false", value, row)
    return bool(value)


def _text(name: str, value: Any, row: int) -> str:
    if type(value) is not str:
        raise wrong_type(name, "a text", value, row)
    return value


def _moment(name: str, value: Any, row: int) -> datetime | None:
    """A time as DuckDB's TIMESTAMP has it: UTC, without a zone. An integer means microseconds since the epoch."""
    if value is None:
        return None
    try:
        return moment_of(value)
    except (ValueError, OverflowError):
        raise wrong_type(name, WANTED, value, row) from None


def _date(name: str, value: Any, row: int) -> date:
    try:
        if type(value) is str:
            return date.fromisoformat(value.strip())
    except ValueError:
        pass
    raise wrong_type(name, "a date such as 2026-03-01", value, row)


def time_of(name: str, value: Any) -> int:
    """Return a time that was sent as microseconds since the epoch.

    Raises:
        InputError: it is neither an ISO 8601 text nor an integer.
    """
    moment = _moment(name, value, 0)
    if moment is None:
        raise InputError(f"{name} is null; it must be a time.")
    return (moment - EPOCH) // MICROSECOND
