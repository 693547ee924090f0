"""Mondrian: the rows are cut in two along the widest column, again and again, as long as every piece stays anonymous.

K. LeFevre, D. J. DeWitt, R. Ramakrishnan, "Mondrian Multidimensional K-Anonymity", ICDE 2006; strict, with median cuts.
With it the pieces are as small as greedy cuts make them; the best cuts of all are NP-hard to find. Distinct l-diversity
(A. Machanavajjhala et al., ICDE 2006) is another thing that a piece must have. A column with a hierarchy is cut by the
groups of the coarsest level at which a piece differs. Where a few outliers keep a piece from being cut, they may be
suppressed, as far as that is allowed.

Where rows are alike only their number counts, so what is cut are the combinations of values that there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, NotFound
from bascule.lake.privacy.columns import Quasi, at
from bascule.lake.privacy.hierarchies import Hierarchy

SOURCE = "Mondrian (LeFevre, DeWitt, Ramakrishnan 2006)"


@dataclass(frozen=True, slots=True)
class Classes:
    """The pieces that rows were cut into.

    Attributes:
        columns: the quasi-identifiers.
        parts: of each piece the places of its combinations.
        weights: how many rows have each combination.
    """

    columns: list[Quasi]
    parts: list[np.ndarray]
    weights: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The rows of each piece."""
        return np.array([self.weights[part].sum() for part in self.parts])

    def labels(self) -> dict[str, pa.Array]:
        """What stands in each quasi-identifier for each piece."""
        return {one.name: pa.array([one.called(part) for part in self.parts], pa.string()) for one in self.columns}

    def penalties(self) -> dict[str, float]:
        """How much of each column's extent its cells cover, on average over the rows that stay."""
        sizes = self.sizes
        wide = {one.name: np.array([one.width(part) for part in self.parts]) for one in self.columns}
        return {name: float((width * sizes).sum() / sizes.sum()) for name, width in wide.items()}


def classes(
    groups: pa.Table,
    weights: np.ndarray,
    quasi: Sequence[str],
    sensitive: Sequence[str],
    *,
    k: int,
    l: int,  # noqa: E741
    suppress: float,
    hierarchies: Mapping[str, Hierarchy],
) -> Classes:
    """Cut rows into anonymous pieces; only which combinations of values there are, and how many rows of each, counts.

    Args:
        groups: each combination of values of quasi-identifiers and sensitive columns once.
        weights: how many rows have it.

    Raises:
        InputError: the rows cannot have k or l at all.
    """
    columns = [Quasi.of(name, groups[name], hierarchies.get(name)) for name in quasi]
    private = [_codes(groups[name]) for name in sensitive]
    rows = int(weights.sum())
    parts = _Partition(columns, private, weights, k, l, int(suppress * rows)).parts(groups.num_rows)
    if not parts:
        lacking = f"{l} different values of {', '.join(sensitive)}" if l > 1 else f"{k} rows"
        raise InputError(
            f"The table cannot be made anonymous: all its {rows:,} rows together do not have "
            f"{lacking if rows >= k else f'{k} rows'}.",
            hint="Ask for less.",
        )
    return Classes(columns, parts, weights)


def refuse(
    columns: Sequence[str],
    quasi: Sequence[str],
    sensitive: Sequence[str],
    hierarchies: Collection[str],
    *,
    k: int,
    l: int,  # noqa: E741
    suppress: float,
) -> None:
    """Refuse what cannot be asked for.

    Raises:
        NotFound: there is no such column.
        InputError: k, l or the share is out of range, or a column is named twice.
    """
    for name in (*quasi, *sensitive):
        if name not in columns:
            raise NotFound("column", name, columns)
    for name in hierarchies:
        if name not in quasi:
            raise NotFound("quasi-identifier", name, list(quasi))
    if not quasi:
        raise InputError("No quasi-identifier is named.", hint="Name the columns that together tell who somebody is.")
    doubled = [name for name in (*quasi, *sensitive) if [*quasi, *sensitive].count(name) > 1]
    if doubled:
        raise InputError(f"{doubled[0]!r} is named twice.", hint="A column is a quasi-identifier or sensitive.")
    if k < 2:
        raise InputError(f"k is {k}: a row alone is not anonymous.", hint="Write 2 or more.")
    if l < 1:
        raise InputError(f"l is {l}.", hint="Write 1 or more.")
    if l > 1 and not sensitive:
        raise InputError("l-diversity is about sensitive columns, and none is named.", hint="Name one.")
    if not 0 <= suppress < 1:
        raise InputError(f"The share that may be suppressed is {suppress:g}.", hint="Write 0 or more, and less than 1.")


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    whole = pc.cast(column, pa.string()).combine_chunks() if not pa.types.is_string(column.type) else column
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    found = pc.fill_null(pc.index_in(whole, pc.drop_null(pc.unique(whole))), -1)
    codes: np.ndarray = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


@dataclass(slots=True)
class _Partition:
    columns: list[Quasi]
    private: list[np.ndarray]
    weights: np.ndarray
    k: int
    l: int  # noqa: E741
    budget: int

    def parts(self, groups: int) -> list[np.ndarray]:
        """Return the pieces that cannot be cut any more; none when even all rows together are not anonymous."""
        waiting, done = [np.arange(groups)], []
        if not self._holds(waiting[0]):
            return []
        while waiting:
            part = waiting.pop()
            pieces = self._cut(part)
            if pieces is None:
                done.append(part)
            else:
                waiting += pieces
        return done

    def _rows(self, part: np.ndarray) -> int:
        return int(self.weights[part].sum())

    def _holds(self, part: np.ndarray) -> bool:
        if self._rows(part) < self.k:
            return False
        return self.l < 2 or all(np.unique(codes[part]).size >= self.l for codes in self.private)

    def _cut(self, part: np.ndarray) -> list[np.ndarray] | None:
        if self.budget == 0 and self._rows(part) < 2 * self.k:
            return None
        widths = sorted(((column.width(part), n) for n, column in enumerate(self.columns)), reverse=True)
        for width, n in widths:
            pieces = self.columns[n].cuts(part, self.weights[part]) if width > 0 else [part]
            if len(pieces) > 1 and all(self._holds(piece) for piece in pieces):
                return pieces
        return self._without_outliers(part, [n for width, n in widths if width > 0])

    def _without_outliers(self, part: np.ndarray, order: list[int]) -> list[np.ndarray] | None:
        """Leave out pieces that are too small to stand alone, when what stays is half as wide."""
        for n in order:
            column = self.columns[n]
            whole = self._rows(part)
            for stays in _trimmed(column, part, self.weights[part], min(self.budget, whole - self.k)):
                gone = whole - self._rows(stays)
                if gone and column.width(stays) <= column.width(part) / 2 and self._holds(stays):
                    self.budget -= gone
                    return [stays]
        return None


def _trimmed(column: Quasi, part: np.ndarray, weights: np.ndarray, most: int) -> list[np.ndarray]:
    """Return a part without its few least, or its few greatest, values."""
    if most < 1:
        return []
    codes = column.codes[part]
    rows = int(weights.sum())
    found = []
    for stays in (codes >= at(codes, weights, most), codes <= at(codes, weights, rows - 1 - most)):
        if 0 < weights[~stays].sum() <= most:
            found.append(part[stays])
    return found
