"""A quasi-identifier as the partitioning sees it: codes in an order, how wide a part of them is, what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.lake.privacy.hierarchies import TOP, Hierarchy

LISTED = 3  # so many different texts are named, before they are called by what they begin with


@dataclass(slots=True)
class Quasi:
    """One column.

    Attributes:
        codes: of each row: 0 for null, then 1, 2, … in the order of the values.
        values: by code less 1.
        places: where each value lies between 0 and 1, for numbers and times; None where only the order counts.
        groups: by level, the group of each value, when a hierarchy names them; the values' own level first.
    """

    name: str
    codes: np.ndarray
    values: list[Any]
    places: np.ndarray | None
    groups: list[np.ndarray] | None
    names: list[list[str]]

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray, hierarchy: Hierarchy | None) -> Quasi:
        """Read a column. Raises `InputError` for a nested one, or one whose hierarchy does not name all values."""
        kind = column.type
        if pa.types.is_nested(kind):
            raise InputError(f"{name!r} is {kind}: only plain columns can be generalised.", hint="Leave it out.")
        if hierarchy is not None:
            column = pc.cast(column, pa.string())
        if pa.types.is_floating(kind):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
            column = pc.add(column, pa.scalar(0, kind))  # both zeros are one value, told as 0.0
        whole = column.combine_chunks()
        distinct = pc.drop_null(pc.unique(whole))
        distinct = distinct.take(pc.sort_indices(distinct))
        found = pc.fill_null(pc.index_in(whole, distinct), -1)
        codes = found.to_numpy(zero_copy_only=False).astype(np.int64) + 1
        values = distinct.to_pylist()
        groups, names = None, []
        if hierarchy is not None:
            hierarchy.refuse_unknown(values, name)
            names = [[hierarchy.levels[value][level] for value in values] for level in range(hierarchy.depth)]
            groups = [np.unique(np.array(level, dtype=object), return_inverse=True)[1] for level in names]
        return cls(name, codes, values, None if groups else _places(distinct), groups, names)

    def width(self, rows: np.ndarray) -> float:
        """How much of the column's whole extent a part of the rows covers, from 0 to 1."""
        present = np.unique(self.codes[rows])
        if present.size < 2:
            return 0.0
        return max(self._extent(present), 1e-9)

    def _extent(self, present: np.ndarray) -> float:
        there = present[present > 0] - 1
        if self.places is not None and present[0] > 0:
            return float(self.places[there[-1]] - self.places[there[0]])
        total = len(self.values) + bool((self.codes == 0).any())
        return (present.size - 1) / max(total - 1, 1)

    def cuts(self, rows: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        """Return a part's rows in two or more pieces by this column; one piece when it cannot be cut.

        Args:
            weights: how many times each counts.
        """
        codes = self.codes[rows]
        if self.groups is not None:
            return self._by_group(rows, codes)
        middle = at(codes, weights, int(weights.sum()) // 2)
        left = codes < middle
        if not left.any():
            left = codes <= middle
        return [rows[left], rows[~left]] if left.any() and not left.all() else [rows]

    def _by_group(self, rows: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
        assert self.groups is not None
        if (codes == 0).any():
            return [rows[codes == 0], rows[codes > 0]] if (codes > 0).any() else [rows]
        for level in reversed(self.groups):  # from the coarsest: the first at which they differ
            group = level[codes - 1]
            if (group != group[0]).any():
                return [rows[group == one] for one in np.unique(group)]
        return [rows]

    def called(self, rows: np.ndarray) -> str | None:
        """Return what stands in this column for a part of the rows; None when all are null."""
        present = np.unique(self.codes[rows])
        if present.size == 1:
            return None if present[0] == 0 else self._text(present[0])
        if present[0] == 0:
            return TOP
        if self.groups is not None:
            for group, names in zip(self.groups, self.names, strict=True):
                if np.unique(group[present - 1]).size == 1:
                    return str(names[present[0] - 1])
            return TOP
        first, last = self._text(present[0]), self._text(present[-1])
        if self.places is not None:
            return f"{first}..{last}"
        if present.size <= LISTED:
            return "|".join(self._text(one) for one in present)
        # The texts are in order, so what the first and the last begin with, all do.
        return f"{_beginning(first, last)}*"

    def _text(self, code: int) -> str:
        value = self.values[code - 1]
        return value.isoformat() if hasattr(value, "isoformat") else str(value)


def at(codes: np.ndarray, weights: np.ndarray, place: int) -> int:
    """Return which code stands at a place, from 0 on, when each stands in order as often as it weighs."""
    order = np.argsort(codes, kind="stable")
    return int(codes[order[np.searchsorted(np.cumsum(weights[order]), place, side="right")]])


def _beginning(a: str, b: str) -> str:
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:same]


def _places(distinct: pa.Array) -> np.ndarray | None:
    kind = distinct.type
    if pa.types.is_decimal(kind):
        numbers = pc.cast(distinct, pa.float64()).to_numpy(zero_copy_only=False)
    elif pa.types.is_temporal(kind):
        wide = pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()
        numbers = distinct.view(wide).to_numpy(zero_copy_only=False).astype(float)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = distinct.to_numpy(zero_copy_only=False).astype(float)
    else:
        return None
    if not len(numbers):
        return np.array([], dtype=float)
    with np.errstate(over="ignore", invalid="ignore"):
        places = (numbers - numbers[0]) / (numbers[-1] - numbers[0])
    # Infinities, or one value alone: by their order then.
    found: np.ndarray = places if np.isfinite(places).all() else np.linspace(0.0, 1.0, len(numbers))
    return found
