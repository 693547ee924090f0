"""Whether a table is k-anonymous and l-diverse: counted, and not taken from how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Anonymity:
    """How alike the rows of a table are.

    Attributes:
        rows: of the table.
        classes: sets of rows that are equal in all quasi-identifiers.
        k: rows of the smallest class; 0 for no rows.
        l: different sensitive values in the class with the fewest, null being one; None without sensitive columns.
    """

    rows: int
    classes: int
    k: int
    l: int | None  # noqa: E741


def measured(table: pa.Table, quasi: Sequence[str], sensitive: Sequence[str] = ()) -> Anonymity:
    """Count the classes of a table.

    Args:
        quasi: columns that together can tell who somebody is.
        sensitive: columns whose values nobody should learn; the one with the fewest different values in a class counts.
    """
    if not table.num_rows:
        return Anonymity(0, 0, 0, 0 if sensitive else None)
    sizes = table.group_by(list(quasi)).aggregate([([], "count_all")])["count_all"]
    fewest: list[int] = []
    for column in sensitive:
        # A quasi-identifier may be called as anything: the names of the aggregates are made here.
        plain = pa.table([*(table[c] for c in quasi), table[column]], [*(f"q{n}" for n in range(len(quasi))), "s"])
        pairs = plain.group_by(plain.column_names).aggregate([])
        counts = pairs.group_by(plain.column_names[:-1]).aggregate([([], "count_all")])["count_all"]
        fewest.append(pc.min(counts).as_py())
    return Anonymity(table.num_rows, len(sizes), pc.min(sizes).as_py(), min(fewest) if fewest else None)
