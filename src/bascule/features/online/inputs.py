"""What a request brings, checked and made into the types that features were bound to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from bascule.errors import InputError
from bascule.features.columns import family, feature_type
from bascule.features.expressions.scalars import EPOCH, naive
from bascule.features.expressions.scalars import from_microseconds as moment

UNSURE = 2.0**53  # from here on a float may stand for the integer beside it
_SINGLE = struct.Struct("f")
Converter = Callable[[Any], Any]


class Refused(Exception):
    """A value that is not of its column's type. The reader adds which row and column."""


#: How JSON says the numbers that it lacks: in answers, and so in requests.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def converter(type_name: str) -> Converter:
    """A function from what JSON or Python gives to a value of a column's type; None stays None.

    Raises (the function): `Refused`.
    """
    known = feature_type(type_name) or "VARCHAR"
    if known == "TIMESTAMP":
        return _time
    if known == "TIMESTAMP WITH TIME ZONE":
        return _zoned
    if known == "FLOAT":
        return _single
    return _CONVERTERS[family(known)]


def read_key(type_name: str, value: Any) -> Any:
    """A key's value, given as itself or as its text; None when it cannot be a value of the type."""
    try:
        return converter(type_name)(value)
    except Refused:
        read = _READ.get(family(feature_type(type_name) or "VARCHAR"))
    try:
        return read(value) if read is not None and isinstance(value, str) else None
    except (ValueError, KeyError):
        return None


def at_time(type_name: str) -> Callable[[int], Any]:
    """A function from µs to the value of the prediction time's column."""
    known = feature_type(type_name)
    if known == "TIMESTAMP WITH TIME ZONE":
        return lambda at: moment(at).replace(tzinfo=UTC)
    if known == "DATE":
        return lambda at: moment(at).date()
    return moment


def stored(type_name: str) -> Converter | None:
    """A function from a stored field to its value, where the two differ: times are kept as integers."""
    if family(type_name) == "date":
        first = EPOCH.date().toordinal()
        return lambda value: None if value is None else date.fromordinal(first + value)
    if type_name == "TIMESTAMP WITH TIME ZONE":
        return lambda value: None if value is None else moment(value).replace(tzinfo=UTC)
    if family(type_name) == "time":
        return lambda value: None if value is None else moment(value)
    return None


def refusal(row: int, column: str, type_name: str, value: Any) -> InputError:
    """What the sender of a request is told."""
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    wanted = _WANTED[family(feature_type(type_name) or "VARCHAR")]
    return InputError(
        f"Row {row}: column {column!r} should be {wanted} and is {shown}.",
        hint="Send the type that the feature set was bound to, or null.",
    )


def _integer(value: Any) -> Any:
    if value is None:
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, (bool, int)):  # no column holds an integer of more bits
        raise Refused
    if isinstance(value, float) and value.is_integer() and abs(value) < UNSURE:
        return int(value)
    try:
        return int(value.__index__())  # numpy's integers
    except AttributeError:
        raise Refused from None


def _number(value: Any) -> Any:
    if type(value) is float or value is None:
        return value
    if isinstance(value, str) and value in NOT_FINITE:
        return float(value)
    if isinstance(value, (bool, str)):
        raise Refused
    try:
        found = float(value)
        same = Decimal(repr(found)) == value if isinstance(value, Decimal) else found == value or found != found
    except (TypeError, ValueError, OverflowError):
        raise Refused from None
    if not same:  # an integer or a decimal of more digits than a double holds
        raise Refused
    return found


def _single(value: Any) -> Any:
    number = _number(value)
    try:
        return None if number is None else _SINGLE.unpack(_SINGLE.pack(number))[0]
    except OverflowError:
        raise Refused from None


def _boolean(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    raise Refused


def _text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    raise Refused


def _time(value: Any) -> Any:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(found, datetime):
            return naive(found)
    except (ValueError, OverflowError):  # the latter: in UTC it is of no year that a time has
        pass
    raise Refused


def _zoned(value: Any) -> Any:
    found = _time(value)
    return None if found is None else found.replace(tzinfo=UTC)


def _date(value: Any) -> Any:
    if value is None:
        return None
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise Refused from None
    if isinstance(found, datetime) or not isinstance(found, date):
        raise Refused
    return found


_CONVERTERS: dict[str, Converter] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "text": _text,
    "date": _date,
}
_READ: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
}
_WANTED = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "text": "a text",
    "time": "a time such as 2013-01-31T05:00:00Z",
    "date": "a date such as 2013-01-31",
}
