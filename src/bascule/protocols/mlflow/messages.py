"""Requests and answers on the wire: protobuf's JSON, read leniently, and written plainly.

Fields may be spelt in snake or in camel case, null is unset, unknown fields are ignored, integers may be texts, and
doubles may be "NaN", "Infinity" or "-Infinity".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.tracker import Tracker

DOCS = "See the API docs for more information about request parameters."
LARGEST = 2**63 - 1
LONGEST = 65_535  # characters of a text of which nothing else is said


class Repeated(list[str]):
    """What a query says several times; a field of one value takes the last."""


class Fields:
    """The fields of a request or of an object in one.

    Args:
        values: field to value; `Repeated` where a query says one several times.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def get(self, name: str) -> Any:
        """Return a field's value as it came, or None.

        Raises:
            InputError: when it is there in both spellings.
        """
        camel = _camel(name)
        found, twin = self._values.get(name), self._values.get(camel) if camel != name else None
        if found is not None and twin is not None:
            raise InputError(f"Both {name!r} and {camel!r} were given: they are one field.", hint=DOCS)
        return twin if found is None else found

    def text(self, name: str, default: str = "", *, required: bool = False, most: int = LONGEST) -> str:
        """Return a text of at most so many characters; an empty one counts as missing."""
        value = _single(self.get(name))
        if value is None or value == "":
            if required:
                raise self._missing(name)
            return default if value is None else ""
        if not isinstance(value, str):
            raise self._wrong(name, value)
        if len(value) > most:
            told = f"'{self._named(name)}' exceeds the maximum length of {most} characters: it has {len(value)}."
            raise InputError(told, hint="Shorten it.")
        return value

    def given(self, name: str) -> str | None:
        """Return a text, or None when it was not given; "" is given."""
        value = _single(self.get(name))
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value)
        return value

    def integer(
        self,
        name: str,
        default: int | None = None,
        *,
        required: bool = False,
        least: int = -(2**63),
        most: int = LARGEST,
    ) -> int:
        """Return an integer between two limits."""
        value = _single(self.get(name))
        if value is None or value == "":
            if required or default is None:
                raise self._missing(name)
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                raise self._wrong(name, value) from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, value)
        if not least <= value <= most:
            told = f"Invalid value {value} for parameter '{self._named(name)}' supplied"
            raise InputError(f"{told}: it must be from {least} to {most}.", hint=DOCS)
        return value

    def number(self, name: str) -> float:
        """Return a double; "NaN", "Infinity" and "-Infinity" are such too."""
        value = _single(self.get(name))
        if value is None:
            raise self._missing(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._wrong(name, value)
        try:
            return float(value)
        except (ValueError, OverflowError):
            raise self._wrong(name, value) from None

    def flag(self, name: str) -> bool:
        """Return a truth value; false when it was not given."""
        value = _single(self.get(name))
        if value is None or isinstance(value, bool):
            return bool(value)
        if value in ("true", "false", "True", "False"):
            return str(value).lower() == "true"
        raise self._wrong(name, value)

    def choice(self, name: str, names: Sequence[str], numbers: Mapping[int, str], default: str = "") -> str:
        """Return the name of an enum's value, which may be given by its number."""
        value = _single(self.get(name))
        if value is None or value == "":
            return default
        if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
            value = int(value)
        found = numbers.get(value) if isinstance(value, int) else value
        if found not in names:
            raise InputError(
                f"Invalid value {str(value)[:60]!r} for parameter '{self._named(name)}' supplied.",
                hint=f"Valid values are {', '.join(names)}.",
            )
        return str(found)

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; empty when it was not given."""
        value = self.get(name)
        if value is None:
            return []
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise self._wrong(name, value)
        return values

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects; empty when it was not given."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._wrong(name, value)
        where = self._named(name)
        return [Fields(one, f"{where}[{place}]") for place, one in enumerate(value)]

    def object(self, name: str) -> Fields:
        """Return an object; one without fields when it was not given."""
        value = self.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, value)
        return Fields(value or {}, self._named(name))

    def _named(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _missing(self, name: str) -> InputError:
        return InputError(f"Missing value for required parameter '{self._named(name)}'.", hint=DOCS)

    def _wrong(self, name: str, value: Any) -> InputError:
        shown = msgspec.json.encode(value).decode()[:200]
        return InputError(
            f"Invalid value {shown} for parameter '{self._named(name)}' supplied: "
            f"Hint: Value was of type '{type(value).__name__}'.",
            hint=DOCS,
        )


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        branch: the branch that the client works on.
        user: who asks, as the audit log calls them.
        path: the parameters in the address.
        told: the fields of the body or of the query.
        named: the address names the branch, so nothing else chooses it.
    """

    tracker: Tracker
    artifacts: Artifacts
    branch: str
    user: str
    path: Mapping[str, str]
    told: Fields
    named: bool = True


@dataclass(frozen=True)
class Answer:
    """What is answered: JSON, as an object or as bytes that are written already."""

    body: Any = field(default_factory=dict)
    status: int = 200


def read_body(raw: bytes) -> dict[str, Any]:
    """Read a body; what is no JSON object is an empty one, as MLflow's server has it.

    Raises:
        InputError: a text in it has the character NUL, which no PostgreSQL holds.
    """
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if b"\\u0000" in raw:
        demand_no_nul(found)
    return found if isinstance(found, dict) else {}


def demand_no_nul(value: Any, where: str = "") -> None:
    """Refuse the character NUL in the texts and names of a value.

    Raises:
        InputError: naming the place, such as `params[3].value`.
    """
    if isinstance(value, str) and "\0" in value:
        raise InputError(
            f"Invalid value for parameter '{where[:200]}' supplied: it has the character NUL (\\u0000).",
            hint="Texts and names may have any other character.",
        )
    if isinstance(value, list):
        for place, one in enumerate(value):
            demand_no_nul(one, f"{where}[{place}]")
    elif isinstance(value, dict):
        for key, one in value.items():
            name = key.replace("\0", "\\u0000")
            demand_no_nul(key, f"{where}.{name}".lstrip("."))
            demand_no_nul(one, f"{where}.{name}".lstrip("."))


def milliseconds(at: int | None) -> int | None:
    """Return a time in milliseconds."""
    return None if at is None else at // 1000


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a mapping as protobuf writes it."""
    return [{"key": key, "value": value} for key, value in values.items()]


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is unset: None, and empty lists."""
    return {key: value for key, value in values.items() if value is not None and value != []}


def double(value: float) -> float | str:
    """Return a double as JSON holds it."""
    if math.isnan(value):
        return "NaN"
    return math.copysign(1.7976931348623157e308, value) if math.isinf(value) else value


def _single(value: Any) -> Any:
    return value[-1] if isinstance(value, Repeated) else value


@lru_cache(1024)
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
