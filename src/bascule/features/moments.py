"""Moments: a key's code and a time, in one integer, so that examples and events are sorted and looked up as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bascule.features.columns import quoted
from bascule.features.definitions import Entity

if TYPE_CHECKING:
    import duckdb

BITS = 63
FARTHEST = 2**62  # no time is as many µs from 1970
MARKS = 22  # bits of a hash, by which most rows that are not wanted are left out
DENSE = 2  # of so many whole numbers in a row one is a key of an example, or the keys get codes of their own
CODE, MOMENT, EXAMPLES = "__code", "__moment", "__examples"
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """The examples about one entity, by their moments; those without a key are left out.

    Attributes:
        keys: the different keys, each with its `__code`, by which they are sorted.
        least: of one key, a whole number, the least of all: a key's code is its distance from it. None: codes count
            the keys.
        count: how many examples there are in all.
        rows: their places among all examples.
        moments: sorted.
        at: their times (µs), `-FARTHEST` for none.
        bits: how many bits of a moment are its time.
        base: the time (µs) that is 0 in a moment, as is all before it; no event has it.
        first, last: the earliest and the latest of the times.
    """

    entity: Entity
    keys: pa.Table
    least: int | None
    count: int
    rows: Numbers
    moments: Numbers
    at: Numbers
    bits: int
    base: int
    first: int
    last: int

    @property
    def codes(self) -> Numbers:
        """The codes of the keys, ascending."""
        return numbers(self.keys.column(CODE))

    def times(self, moments: Numbers) -> Numbers:
        """The times (µs) of moments that are not `base`'s."""
        return (moments & ((1 << self.bits) - 1)) + self.base

    def keys_of(self, moments: Numbers) -> pa.Table:
        """The key of each moment."""
        places = np.searchsorted(self.codes, moments >> self.bits)
        return self.keys.drop_columns(CODE).take(indices(places))

    def some(self, chosen: Flags) -> Asked:
        """Some of the examples."""
        moments = self.moments[chosen]
        keys = self.keys.take(indices(np.flatnonzero(np.isin(self.codes, moments >> self.bits))))
        return replace(self, keys=keys, rows=self.rows[chosen], moments=moments, at=self.at[chosen])


def asked_about(connection: duckdb.DuckDBPyConnection, spine: pa.Table, entity: Entity) -> Asked:
    """Return the moments of examples, which have the entity's keys, `__row` and `__at` (µs; `-FARTHEST` for none)."""
    distances = _distances(spine, entity)
    if distances is not None:
        least, rows, codes, at = distances
        asked = _asked(entity, None, least, spine.num_rows, rows, codes, at)
        if asked is not None:
            return asked
    names = ", ".join(map(quoted, entity.keys))
    present = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in entity.keys)
    sql = f"""
WITH __different AS (SELECT DISTINCT {names} FROM {EXAMPLES} WHERE {present}),
k AS MATERIALIZED (SELECT *, row_number() OVER () - 1 AS {CODE} FROM __different)
SELECT r.__row, k.{CODE}, r.__at, k.* EXCLUDE {CODE}
FROM {EXAMPLES} r JOIN k ON {same_keys(entity)}"""
    coded = query(connection, spine, sql).to_arrow_table()
    rows, codes, at = map(numbers, coded.columns[:3])
    keys = coded.drop_columns(["__row", "__at"])
    asked = _asked(entity, keys, None, spine.num_rows, rows, codes, at)
    assert asked is not None  # counted codes always are dense
    return asked


def _distances(spine: pa.Table, entity: Entity) -> tuple[int, Numbers, Numbers, Numbers] | None:
    """The least key, and of the examples that have one their rows, distances from it and times; None if too far."""
    column = spine.column(entity.keys[0])
    if len(entity.keys) > 1 or not pa.types.is_integer(column.type):
        return None
    if column.null_count:
        spine = spine.filter(column.is_valid())
    try:
        keys = numbers(spine.column(entity.keys[0]).cast(pa.int64()))
    except pa.ArrowInvalid:
        return None  # beyond 63 bits
    if not len(keys):
        return None
    least, most = int(keys.min()), int(keys.max())
    if most - least >= DENSE * len(keys):
        return None
    at = numbers(spine.column("__at"))
    return least, numbers(spine.column("__row")), keys - least, at


def _asked(
    entity: Entity, keys: pa.Table | None, least: int | None, count: int, rows: Numbers, codes: Numbers, at: Numbers
) -> Asked | None:
    """Examples by their codes; None where few of the codes up to the greatest are any example's.

    Args:
        keys: of each example, with its code; None: they are `least` and more.
    """
    bits = BITS - max(1, int(codes.max(initial=0)).bit_length())
    last = int(at.max(initial=-FARTHEST))
    base = max(last + 1 - 2**bits, -FARTHEST)
    moments = (codes << bits) | (np.maximum(at, base) - base)
    order = np.argsort(moments)
    moments = moments[order]
    begins = np.flatnonzero(np.diff(moments >> bits, prepend=-1))
    if codes.max(initial=-1) >= DENSE * len(begins):
        return None
    if keys is None:
        assert least is not None
        each = moments[begins] >> bits
        keys = pa.table({entity.keys[0]: indices(each + least), CODE: indices(each)})
    else:
        keys = keys.take(indices(order[begins]))
    first = int(at[at > -FARTHEST].min(initial=FARTHEST))
    return Asked(entity, keys, least, count, rows[order], moments, at[order], bits, base, first, last)


def kept(moments: Numbers, wanted: Numbers) -> Numbers:
    """Return the places of the moments that are wanted, in the order of these, which are sorted and different."""
    marked = np.zeros(2**MARKS, np.bool_)
    marked[_hashes(wanted)] = True
    near = np.flatnonzero(marked[_hashes(moments)])
    found = moments[near]
    order = np.argsort(found)
    near, found = near[order], found[order]
    place = np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)
    chosen: Numbers = near[wanted[place] == found]
    return chosen


def _hashes(moments: Numbers) -> npt.NDArray[np.uint64]:
    return (moments.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - MARKS)


def query(connection: duckdb.DuckDBPyConnection, table: pa.Table, sql: str) -> duckdb.DuckDBPyRelation:
    """SQL in which a table has the name `EXAMPLES`; the connection keeps nothing of it."""
    relation = connection.from_arrow(table).query(EXAMPLES, sql)
    assert relation is not None  # of a SELECT it never is
    return relation


def same_keys(entity: Entity) -> str:
    """SQL of what holds where rows `r` and `k` have the same keys."""
    return " AND ".join(f"r.{quoted(key)} = k.{quoted(key)}" for key in entity.keys)


def indices(values: Numbers, told: Flags | None = None) -> pa.Array:
    """Numbers as Arrow's, null where they are not told. Not by `pa.array()`, which imports pandas where it is there."""
    valid = None if told is None else pa.py_buffer(np.packbits(told, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def numbers(column: pa.ChunkedArray) -> Numbers:
    """An Arrow column of BIGINT without nulls as numbers."""
    return np.concatenate([np.zeros(0, np.int64), *map(viewed, column.chunks)])


def viewed(values: pa.Array) -> Numbers:
    """An Arrow array of BIGINT without nulls as numbers, not copied. Not by `to_numpy()` either."""
    seen: Any = np.from_dlpack(values)
    return cast(Numbers, seen)
