"""What the splits of a training set share: entities on both sides, and examples that are there twice.

A model that has seen an entity, or the very example, is not judged by it. Both are counted over all rows, by hashes
(of 64 bits), so the set may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import msgspec

from bascule.counting import counted
from bascule.lake.iceberg.types import quoted

ENTITIES, DUPLICATES = "entities", "duplicates"
REASONS = (ENTITIES, DUPLICATES)
EXAMPLES = 5
_SIDES = ("train", "validation", "test")
_WHAT = {ENTITIES: "of an entity that {} has, too", DUPLICATES: "equal in all features and the label to one of {}"}


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """What one split has of another.

    Attributes:
        reason: `entities` or `duplicates`.
        split, of: rows of `split` are in `of`, too; for folds `a fold` and `another fold`.
        rows: how many rows of `split`; `share` of all of its rows.
        columns: what they are equal in: the keys, or the features and the label.
        examples: pairs of row numbers, from 0: of `split` and of `of`.
    """

    reason: str
    split: str
    of: str
    rows: int
    share: float
    columns: tuple[str, ...]
    examples: tuple[tuple[int, int], ...]

    @property
    def message(self) -> str:
        """It, in a sentence's end."""
        what = _WHAT[self.reason].format(self.of)
        are = "is" if self.rows == 1 else "are"
        return f"{counted(self.rows, 'row')} of {self.split} ({self.share:.1%}) {are} {what}"


def find_overlaps(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    side: str,
    *,
    keys: Sequence[str],
    features: Sequence[str],
    label: str | None,
) -> list[Overlap]:
    """Return what splits share, entities first; none for what they do not share.

    Args:
        rows: the relation that has them, in order.
        side: its column `split`, or one with the fold. Rows without one take no part.
        keys: what names an entity; empty when nobody knows. A row with a null key is of no entity.
        features: what an example is made of, with the label. A row that has no feature at all is no example.
    """
    same = {ENTITIES: tuple(keys), DUPLICATES: (*features, *([label] if label else []))}
    marks = {
        ENTITIES: _mark(keys, " AND ".join(f"{quoted(key)} IS NOT NULL" for key in keys)),
        DUPLICATES: _mark(same[DUPLICATES], " OR ".join(f"{quoted(one)} IS NOT NULL" for one in features)),
    }
    listed = ", ".join(f"{mark} AS {reason}" for reason, mark in marks.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE overlap_marks AS SELECT * FROM (SELECT row_number() OVER () - 1 AS place, "
        f"{quoted(side)}::VARCHAR AS side, {listed} FROM {rows}) WHERE side IS NOT NULL"
    )
    try:
        total = dict(connection.execute("SELECT side, count(*) FROM overlap_marks GROUP BY side").fetchall())
        found = []
        for reason in REASONS:
            if not same[reason]:
                continue
            if set(total) <= set(_SIDES):
                pairs = [(a, b) for at, a in enumerate(_SIDES) for b in _SIDES[at + 1 :]]
                found += [
                    _between(connection, reason, of, split, total.get(split, 0), same[reason]) for of, split in pairs
                ]
            else:
                found.append(_among_folds(connection, reason, sum(total.values()), same[reason]))
        return [one for one in found if one.rows]
    finally:
        connection.execute("DROP TABLE overlap_marks")


def _mark(columns: Sequence[str], where: str) -> str:
    return (
        f"CASE WHEN {where} THEN hash({', '.join(map(quoted, columns))}) END" if columns and where else "NULL::UBIGINT"
    )


def _between(
    connection: duckdb.DuckDBPyConnection, reason: str, of: str, split: str, total: int, columns: tuple[str, ...]
) -> Overlap:
    first = f"SELECT {reason}, min(place) AS first FROM overlap_marks WHERE side = '{of}' GROUP BY {reason}"
    shared = f"FROM overlap_marks m JOIN ({first}) f USING ({reason}) WHERE m.side = '{split}'"
    return _told(connection, reason, split, of, total, columns, shared)


def _among_folds(connection: duckdb.DuckDBPyConnection, reason: str, total: int, columns: tuple[str, ...]) -> Overlap:
    several = (
        f"SELECT {reason}, arg_min(side, place) AS at, min(place) AS first FROM overlap_marks "
        f"GROUP BY {reason} HAVING count(DISTINCT side) > 1"
    )
    shared = f"FROM overlap_marks m JOIN ({several}) f USING ({reason}) WHERE m.side <> f.at"
    return _told(connection, reason, "a fold", "another fold", total, columns, shared)


def _told(
    connection: duckdb.DuckDBPyConnection,
    reason: str,
    split: str,
    of: str,
    total: int,
    columns: tuple[str, ...],
    shared: str,
) -> Overlap:
    rows = int(connection.execute(f"SELECT count(*) {shared}").fetchall()[0][0])
    query = f"SELECT m.place, f.first {shared} ORDER BY m.place LIMIT {EXAMPLES}"
    pairs: list[Any] = connection.execute(query).fetchall() if rows else []
    return Overlap(
        reason=reason,
        split=split,
        of=of,
        rows=rows,
        share=rows / total if total else 0.0,
        columns=columns,
        examples=tuple((int(a), int(b)) for a, b in pairs),
    )
