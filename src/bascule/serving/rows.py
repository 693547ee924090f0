"""What a request asks about: rows by column name, or a matrix whose columns are the model's inputs in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bascule.errors import InputError

Columns = Mapping[str, Sequence[Any]]
_SCALARS = frozenset((str, int, float, bool, type(None)))
_NEVER_TOO_LARGE = _SCALARS - {int}


class Rows:
    """Rows of one request.

    Attributes:
        count: how many.
        columns: column to one value a row; None when a matrix came.
        matrix: float64 [count, inputs]; None when columns or a single row came. It may be the request's body itself,
            which cannot be written to and may lie at any address; see `owned`.
        row: the inputs of the only row.
    """

    __slots__ = ("columns", "count", "matrix", "row")

    def __init__(
        self,
        count: int,
        columns: Columns | None,
        matrix: np.ndarray | None = None,
        row: list[float] | None = None,
    ) -> None:
        self.count = count
        self.columns = columns
        self.matrix = matrix
        self.row = row

    def owned(self) -> np.ndarray | None:
        """Return the matrix for code that may write to it; the request's own body is copied for that."""
        return self.matrix if self.matrix is None or self.matrix.flags.writeable else self.matrix.copy()


def by_name(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return rows, each with one value a name, as one list of values a name: an empty one where there are no rows."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return dict(zip(names, map(list, columns), strict=True))


def rows_of_records(records: Sequence[Mapping[str, Any]]) -> Rows:
    """Return rows from one mapping a row. A column that only some rows have is missing (None) in the others."""
    columns: dict[str, list[Any]] = {}
    for place, record in enumerate(records):
        for name, value in record.items():
            if name not in columns:
                columns[name] = [None] * len(records)
            columns[name][place] = value
    return Rows(len(records), _checked(columns))


def rows_of_split(names: Sequence[str], data: Sequence[Sequence[Any]]) -> Rows:
    """Return rows from column names and one list of values a row.

    Raises:
        InputError: a row has more or fewer values than there are names, or a name occurs twice.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"The column {twice!r} is named twice.", hint="Name each column once.")
    for place, row in enumerate(data):
        if len(row) != len(names):
            raise InputError(f"Row {place} of the data has {len(row)} values; there are {len(names)} columns.")
    return Rows(len(data), _checked({name: [row[at] for row in data] for at, name in enumerate(names)}))


def rows_of_columns(columns: Mapping[str, Any], count: int | None = None) -> Rows:
    """Return rows from one list of values a column; a value that is no list stands for one row.

    Args:
        count: how many rows there are, when there may be no columns; as many as the first column has when not given.

    Raises:
        InputError: a column has more or fewer values than the first one.
    """
    lists = {name: values if isinstance(values, list) else [values] for name, values in columns.items()}
    for name, values in lists.items():
        if count is None:
            count = len(values)
        if len(values) != count:
            raise InputError(f"The column {name!r} has {len(values)} values; {next(iter(lists))!r} has {count}.")
    return Rows(count or 0, _checked({name: _flat(values) for name, values in lists.items()}))


def _flat(values: list[Any]) -> list[Any]:
    """Return values that came as lists of one each, as tensors of one column do, as they are."""
    if values and all(type(value) is list and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values


def _checked(columns: Columns) -> Columns:
    """Refuse what no column can hold: lists, objects, and integers beyond 64 bits, with a sign or without."""
    for name, values in columns.items():
        if len(values) > 1 and _NEVER_TOO_LARGE.issuperset(map(type, values)):
            continue
        for place, value in enumerate(values):
            kind = type(value)
            if kind not in _SCALARS or (kind is int and not -(2**63) <= value < 2**64):
                text = repr(value)
                text = text if len(text) <= 40 else text[:37] + "…"
                raise InputError(f"The column {name!r} has {text} in row {place}: that is no number, text or boolean.")
    return columns
