"""Mondrian: the rows are cut in two along the widest column, again and again, as long as every piece stays anonymous.

K. LeFevre, D. J. DeWitt, R. Ramakrishnan, "Mondrian Multidimensional K-Anonymity", ICDE 2006; strict, with median cuts.
With it the pieces are as small as greedy cuts make them; the best cuts of all are NP-hard to find. Distinct l-diversity
(A. Machanavajjhala et al., ICDE 2006) is another thing that a piece must have. A column with a hierarchy is cut by the
groups of the coarsest level at which a piece differs. Where a few outliers keep a piece from being cut, they may be
suppressed, as far as that is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, NotFound
from bascule.lake.privacy.columns import Quasi
from bascule.lake.privacy.hierarchies import Hierarchy
from bascule.lake.privacy.measures import Anonymity, measured

SOURCE = "Mondrian (LeFevre, DeWitt, Ramakrishnan 2006)"


@dataclass(frozen=True, slots=True)
class Anonymised:
    """A table that was made anonymous, and what that cost.

    Attributes:
        table: the rows; quasi-identifiers are text now, such as `20..29`, `Bonn|Kiel`, `101*` or `*`.
        anonymity: what was counted in it.
        suppressed: rows that were left out.
        penalty: the normalised certainty penalty: how much of a column's extent a cell covers, on average over all
            cells: 0 for values as they were, 1 for `*` everywhere; a suppressed row counts 1.
        by_column: the same for each column, of the rows that stay.
        discernibility: the sum of the squared sizes of classes, suppressed rows counting all rows each.
    """

    table: pa.Table
    anonymity: Anonymity
    suppressed: int
    penalty: float
    by_column: dict[str, float]
    discernibility: int


def anonymised(
    table: pa.Table,
    quasi: Sequence[str],
    sensitive: Sequence[str] = (),
    *,
    k: int,
    l: int = 1,  # noqa: E741
    suppress: float = 0.0,
    hierarchies: Mapping[str, Hierarchy] | None = None,
) -> Anonymised:
    """Generalise quasi-identifiers until each row is equal to at least k - 1 others in them.

    Args:
        quasi: columns that together can tell who somebody is.
        sensitive: columns of which every class has at least `l` different values, null being one.
        suppress: the share of rows that may be left out.
        hierarchies: by column, what its values are called at coarser levels.

    Returns:
        The table without suppressed rows, in the order of its classes: the order of rows can tell who they are, too.

    Raises:
        NotFound: there is no such column.
        InputError: k, l or the share is out of range, a column is named twice, or the rows cannot have k or l at all.
    """
    _refuse(table, quasi, sensitive, k, l, suppress)
    given = hierarchies or {}
    for name in given:
        if name not in quasi:
            raise NotFound("quasi-identifier", name, list(quasi))
    columns = [Quasi.of(name, table[name], given.get(name)) for name in quasi]
    private = [_codes(table[name]) for name in sensitive]
    partition = _Partition(columns, private, k, l, int(suppress * table.num_rows))
    parts = partition.parts(table.num_rows)
    if not parts:
        lacking = f"{l} different values of {', '.join(sensitive)}" if l > 1 else f"{k} rows"
        raise InputError(
            f"The table cannot be made anonymous: all its {table.num_rows:,} rows together do not have "
            f"{lacking if table.num_rows >= k else f'{k} rows'}.",
            hint="Ask for less.",
        )
    return _made(table, columns, parts, sensitive)


def _refuse(
    table: pa.Table,
    quasi: Sequence[str],
    sensitive: Sequence[str],
    k: int,
    l: int,  # noqa: E741
    suppress: float,
) -> None:
    for name in (*quasi, *sensitive):
        if name not in table.column_names:
            raise NotFound("column", name, table.column_names)
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
    k: int
    l: int  # noqa: E741
    budget: int

    def parts(self, rows: int) -> list[np.ndarray]:
        """Return the pieces that cannot be cut any more; none when even all rows together are not anonymous."""
        waiting, done = [np.arange(rows)], []
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

    def _holds(self, part: np.ndarray) -> bool:
        if part.size < self.k:
            return False
        return self.l < 2 or all(np.unique(codes[part]).size >= self.l for codes in self.private)

    def _cut(self, part: np.ndarray) -> list[np.ndarray] | None:
        if part.size < 2 * self.k and self.budget == 0:
            return None
        widths = sorted(((column.width(part), n) for n, column in enumerate(self.columns)), reverse=True)
        for width, n in widths:
            pieces = self.columns[n].cuts(part) if width > 0 else [part]
            if len(pieces) > 1 and all(self._holds(piece) for piece in pieces):
                return pieces
        return self._without_outliers(part, [n for width, n in widths if width > 0])

    def _without_outliers(self, part: np.ndarray, order: list[int]) -> list[np.ndarray] | None:
        """Leave out pieces that are too small to stand alone, when what stays is half as wide."""
        for n in order:
            column = self.columns[n]
            for stays in _trimmed(column, part, min(self.budget, part.size - self.k)):
                gone = part.size - stays.size
                if gone and column.width(stays) <= column.width(part) / 2 and self._holds(stays):
                    self.budget -= gone
                    return [stays]
        return None


def _trimmed(column: Quasi, part: np.ndarray, most: int) -> list[np.ndarray]:
    """Return a part without its few least, or its few greatest, values."""
    if most < 1:
        return []
    codes = column.codes[part]
    ordered = np.sort(codes)
    found = []
    low, high = ordered[most], ordered[-most - 1]
    for stays in (codes >= low, codes <= high):
        if 0 < (~stays).sum() <= most:
            found.append(part[stays])
    return found


def _made(table: pa.Table, columns: list[Quasi], parts: list[np.ndarray], sensitive: Sequence[str]) -> Anonymised:
    kept = np.concatenate(parts)
    sizes = np.array([part.size for part in parts])
    result = table.take(pa.array(kept))
    by_column = {}
    for column in columns:
        labels = pa.array([column.called(part) for part in parts], pa.string())
        place = table.column_names.index(column.name)
        cells = labels.take(pa.array(np.repeat(np.arange(len(parts)), sizes)))
        result = result.set_column(place, pa.field(column.name, pa.string()), cells)
        by_column[column.name] = float((np.array([column.width(part) for part in parts]) * sizes).sum() / kept.size)
    quasi = [column.name for column in columns]
    counted = measured(result, quasi, sensitive)
    gone = table.num_rows - kept.size
    squares = result.group_by(quasi).aggregate([([], "count_all")])["count_all"].to_numpy()
    return Anonymised(
        result,
        counted,
        gone,
        (sum(by_column.values()) / len(by_column) * kept.size + gone) / table.num_rows,
        by_column,
        int((squares.astype(object) ** 2).sum()) + gone * table.num_rows,
    )
