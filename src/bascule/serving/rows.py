"""What a request asks about: rows by column name, or a matrix whose columns are the model's inputs in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bascule.errors import InputError

Columns = dict[str, list[Any]]


class Rows:
    """Rows of one request.

    Attributes:
        count: how many.
        columns: column to one value a row; None when a matrix came.
        matrix: float64 [count, inputs]; None when columns came.
    """

    __slots__ = ("columns", "count", "matrix")

    def __init__(self, count: int, columns: Columns | None, matrix: np.ndarray | None = None) -> None:
        self.count = count
        self.columns = columns
        self.matrix = matrix


def rows_of_records(records: Sequence[Mapping[str, Any]]) -> Rows:
    """Return rows from one mapping a row. A column that only some rows have is missing (None) in the others."""
    columns: dict[str, list[Any]] = {}
    for place, record in enumerate(records):
        for name, value in record.items():
            if name not in columns:
                columns[name] = [None] * len(records)
            columns[name][place] = value
    return Rows(len(records), columns)


def rows_of_split(names: Sequence[str], data: Sequence[Sequence[Any]]) -> Rows:
    """Return rows from column names and one list of values a row.

    Raises:
        InputError: a row has more or fewer values than there are names, or a name occurs twice.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"The column {twice!r} is named twice.")
    for place, row in enumerate(data):
        if len(row) != len(names):
            raise InputError(f"Row {place} of the data has {len(row)} values; there are {len(names)} columns.")
    return Rows(len(data), {name: [row[at] for row in data] for at, name in enumerate(names)})
