"""Rows into the floats that a model reads, with what is wrong said by the column's name.

Equal to `training.encode` on what both accept: a category becomes its code, an unseen or missing one NaN (of an input
that is `hashed` any text has a code); a boolean 0 or 1; a number itself; None NaN. What has no code (`Field.is_raw`)
stays as it is, and rows are then of objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bascule.errors import BasculeError, InputError, suggestion
from bascule.serving.moments import EPOCH, MICROSECOND, WANTED, moment_of
from bascule.serving.rows import Columns
from bascule.training import Field, Signature
from bascule.training.texthash import TextHashes

NAN = float("nan")
_SHOWN = 5
LONGEST_TEXT = 4_096  # characters of a text that is hashed: they take a millisecond, of everybody's
# In the words of scikit-learn and others; XGBoost speaks of `missing` when it means infinities too.
_OF_GAPS = re.compile(r"\bnans?\b|\bmissing\b|\bnull\b", re.IGNORECASE)
_OF_UNKNOWN = re.compile(r"\bunknown categor|\bunseen\b|\bnot seen\b|\bunknown label|previously unseen", re.IGNORECASE)
_OF_INFINITIES = re.compile(r"\binf(inity|inities|inite)?\b", re.IGNORECASE)
_LARGEST_FLOAT = 3.4028234663852886e38  # libraries that compute in 32 bits say the same of what is larger
_WANTED = {"double": "a number", "bigint": "a whole number", "boolean": "true or false", "varchar": "a text"}


class Encoder:
    """Encodes rows for one signature. It may be used from several threads.

    Attributes:
        names, slots: the inputs in order.
        known: their names.
        is_raw: an input has no code.
    """

    def __init__(self, signature: Signature) -> None:
        self.names = signature.names()
        self.known = frozenset(self.names)
        self.is_raw = signature.is_raw
        self.slots = tuple(
            (RawSlot if field.is_raw else Slot)(place, field) for place, field in enumerate(signature.inputs)
        )
        self._optional = frozenset(field.name for field in signature.inputs if field.optional)
        self._steps = tuple((slot.name, slot.codes, slot.any_float, slot) for slot in self.slots)

    def encode_one(self, columns: Columns) -> list[Any]:
        """Return the inputs of a single row, from columns of one value each: floats, and what has no code.

        Raises:
            KeyError: a column is missing.
            InputError: a value has the wrong type.
        """
        row: list[Any] = []
        append = row.append
        for name, codes, any_float, slot in self._steps:
            value = columns[name][0]
            kind = value.__class__
            if codes is None:
                append(value if kind is float and any_float else slot.number(value, 0))
            else:
                append(codes.get(value, NAN) if kind is str else slot.text(value, 0))
        return row

    def encode(self, columns: Columns, count: int) -> np.ndarray:
        """Return the inputs of many rows as float64 [count, inputs]; objects where an input has no code.

        Raises:
            InputError: a column is missing, or a value has the wrong type.
        """
        absent = [name for name in self.names if name not in columns]
        if demanded := [name for name in absent if name not in self._optional]:
            raise missing(demanded, columns)
        if absent:
            columns = {**columns, **{name: [None] * count for name in absent}}
        matrix = np.empty((count, len(self.slots)), dtype=object if self.is_raw else np.float64)
        for place, slot in enumerate(self.slots):
            matrix[:, place] = slot.column(columns[slot.name])
        return matrix

    def blame(self, matrix: np.ndarray | None, error: Exception) -> None:
        """Say which input is missing, or infinite, when a model failed because it takes no such ones.

        Args:
            matrix: float64 [rows, inputs] that the model failed on.

        Raises:
            InputError: the error speaks of missing or of infinite values, and the rows have one; the text names the
                first.
        """
        words = str(error)
        if matrix is None or isinstance(error, BasculeError) or words.startswith("the step "):
            return  # what a step raises is about what it was given, whatever it says
        if self.is_raw:
            _blame_raw(self.slots, matrix, error)
            return
        if _OF_INFINITIES.search(words):
            for row, place in np.argwhere(np.abs(matrix) > _LARGEST_FLOAT)[:1]:
                raise InputError(
                    f"The column {self.names[place]!r} of row {row} is {matrix[row, place]:.6g}, and the model takes "
                    f"no such numbers: {words.splitlines()[0][:200]}",
                    hint="Send a finite number, or leave the value out where the model takes missing ones.",
                ) from error
        if _OF_GAPS.search(words):
            for row, place in np.argwhere(np.isnan(matrix))[:1]:
                raise InputError(
                    f"The column {self.names[place]!r} of row {row} is missing or of no category that the model knows, "
                    f"and the model takes no missing ones: {words.splitlines()[0][:200]}",
                    hint="Send a value, or train the model on rows that miss some.",
                ) from error


class _Codes(TextHashes):
    """The codes of one input's texts, however they are asked for; what is far too long for a category is refused."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, text: str) -> float:
        if len(text) > LONGEST_TEXT:
            raise InputError(
                f"The column {self._name!r} has a text of {len(text):,} characters; a category has {LONGEST_TEXT:,} at "
                "most.",
                hint="Send the category itself, or cut long texts the same way before training and before asking.",
            )
        return super().__missing__(text)


class Slot:
    """One input: its place, and how its values become floats."""

    __slots__ = ("any_float", "boolean", "codes", "name", "place", "type", "whole")

    def __init__(self, place: int, field: Field) -> None:
        self.place = place
        self.name = field.name
        self.type = field.type
        self.boolean = field.type == "boolean"
        self.whole = field.type == "bigint"
        self.any_float = not self.boolean and not self.whole
        self.codes: dict[str, float] | None = None
        if field.hashed:
            self.codes = _Codes(field.name)
        elif field.categories is not None:
            self.codes = {text: float(code) for code, text in enumerate(field.categories)}

    def number(self, value: Any, row: int) -> float:
        """Return a number, or raise `InputError` that names the row."""
        if value is None:
            return NAN
        kind = type(value)
        if kind is float or kind is int:
            if self.boolean and value == value and value not in (0, 1):
                raise self.wrong(value, row)
            if self.whole and (value >= 2**63 if kind is int else value == value and not value.is_integer()):
                raise self.wrong(value, row)
            try:
                return float(value)
            except OverflowError:
                raise self.wrong(value, row) from None
        if kind is bool and self.boolean:
            return 1.0 if value else 0.0
        raise self.wrong(value, row)

    def text(self, value: Any, row: int) -> float:
        """Return a category's code, or raise `InputError` that names the row."""
        if value is None or value != value:
            return NAN
        if type(value) is not str or self.codes is None:
            raise self.wrong(value, row)
        return self.codes.get(value, NAN)

    def column(self, values: Sequence[Any]) -> np.ndarray:
        """Return the floats of many rows, or raise `InputError` that names one of them."""
        one = self.number if self.codes is None else self.text
        if self.codes is None and self.any_float and set(map(type, values)) <= {float}:
            return np.array(values, dtype=np.float64)
        return np.array([one(value, row) for row, value in enumerate(values)], dtype=np.float64)

    def wrong(self, value: Any, row: int) -> InputError:
        """Return what is said of a value of another type."""
        return wrong_type(self.name, _WANTED[self.type], value, row)


class RawSlot(Slot):
    """An input without a code: what comes stays a text, or is a time in microseconds since the epoch."""

    __slots__ = ()

    def __init__(self, place: int, field: Field) -> None:
        super().__init__(place, field)
        self.any_float = False  # a row's value always goes through `number`

    def number(self, value: Any, row: int) -> Any:
        """Return a value as the model reads it, None where it is missing, or raise `InputError` that names the row."""
        if value is None or value != value:
            return None
        if self.type == "varchar":
            if type(value) is not str:
                raise self.wrong(value, row)
            return value
        try:
            return (moment_of(value) - EPOCH) // MICROSECOND
        except (ValueError, OverflowError):
            raise wrong_type(self.name, WANTED, value, row) from None

    def column(self, values: Sequence[Any]) -> np.ndarray:
        """Return the values of many rows, as objects."""
        found = np.empty(len(values), dtype=object)
        found[:] = [self.number(value, row) for row, value in enumerate(values)]
        return found


def _blame_raw(slots: Sequence[Slot], matrix: np.ndarray, error: Exception) -> None:
    """Say which value a model refused that reads texts: an unknown one that it names, or a missing one.

    Raises:
        InputError: the error is about such a value; the text names its column.
    """
    words = str(error)
    first = (words.splitlines() or [""])[0][:200]
    if _OF_UNKNOWN.search(words):
        for slot in slots:
            for row, value in enumerate(matrix[:, slot.place].tolist()):
                if type(value) is str and repr(value) in words:
                    raise InputError(
                        f"The column {slot.name!r} of row {row} has {value[:40]!r}, which the model does not know: "
                        f"{first}",
                        hint="Send a value that the model has seen, or train it to take others (handle_unknown).",
                    ) from error
    if _OF_GAPS.search(words) or "NoneType" in words or "NaTType" in words:
        gaps = missing_in(matrix)
        for row in np.flatnonzero(gaps.any(axis=1))[:1]:
            names = [repr(slot.name) for slot in slots if gaps[row, slot.place]]
            many = len(names) > 1  # which of them the model means, nobody knows
            raise InputError(
                f"The column{'s' * many} {', '.join(names[:_SHOWN])} of row {row} {'are' if many else 'is'} missing, "
                f"and the model takes no missing ones: {first}",
                hint="Send a value (an empty text is one), or train the model on rows that miss some.",
            ) from error


def missing_in(matrix: np.ndarray) -> np.ndarray:
    """Return which cells are missing, as bool [rows, inputs], of rows that `Encoder` or `training.encode` made."""
    if matrix.dtype != object:
        return np.asarray(np.isnan(matrix))
    return np.array([[value is None or value != value for value in row] for row in matrix.tolist()], dtype=bool)


def wrong_type(name: str, wanted: str, value: Any, row: int) -> InputError:
    """The error for a value that a column cannot hold. The value is shown shortened."""
    text = repr(value)
    text = text if len(text) <= 40 else text[:37] + "…"
    return InputError(f"The column {name!r} needs {wanted}; row {row} has {text}.")


def missing(names: Sequence[str], given: Iterable[str]) -> InputError:
    """The error for columns that are not there; the nearest given name that is not needed is offered."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    plural = "columns" if len(names) > 1 else "column"
    return InputError(f"The request has no {plural} {shown}{more}.", hint=_nearest(names[0], sorted(given)))


def extra(names: Sequence[str], known: Sequence[str]) -> InputError:
    """The error for columns that nobody knows."""
    shown = ", ".join(repr(name[:60]) for name in names[:_SHOWN])
    plural = "columns" if len(names) > 1 else "column"
    hint = suggestion(names[0], known, "column")
    return InputError(f"The model does not know the {plural} {shown}.", hint=hint)


def _nearest(name: str, given: Sequence[str]) -> str:
    if not given:
        return "Send one input for each column."
    near = suggestion(name, given, "column")
    if near.startswith("Did you mean"):
        return f"It has {near.removeprefix('Did you mean ').removesuffix('?')}: is that the same?"
    shown = ", ".join(given[:8])
    return f"It has: {shown}{', …' if len(given) > 8 else ''}."
