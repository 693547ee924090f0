"""The latest row of each example, found among sorted numbers in memory instead of by a join of the engine.

A moment is a key's code and a time, in one integer. The moments of a view are sorted, each example's is looked for
among them, and only then are the rows read that were found: nothing but integers is sorted, and ties are settled only
where an example meets them. It is for views that are only read, and that fit: `latest_rows` says None of all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bascule.features.cells import row_count
from bascule.features.columns import body, microseconds, quoted
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView
from bascule.features.timelines import best_sql, rows_sql

MOST_EXAMPLES = 2_000_000
MOST_ROWS = 8_000_000  # of a view; each takes 24 bytes while they are sorted
FEW_ROWS = 1_000_000  # of a view; they are kept from the first reading
MOST_BYTES = 256 * 2**20  # of the examples, of what they become, and of the rows that are found for a view
BATCH = 122_880
BITS = 63
FARTHEST = 2**62  # no time is as many µs from 1970
MARKS = 22  # bits of a hash, by which most rows that are not wanted are left out
MOMENT, EXAMPLES = "__moment", "__examples"
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """The examples about one entity, by their moments; those without a key are left out.

    Attributes:
        keys: the different keys, each with its `__code`.
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
    count: int
    rows: Numbers
    moments: Numbers
    at: Numbers
    bits: int
    base: int
    first: int
    last: int


def latest_rows(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    spine_sql: str,
    columns: Mapping[str, str],
    asked: int | None,
) -> duckdb.DuckDBPyRelation | None:
    """Return the examples, in order, with `view__field` of each view; None where the engine has to join them.

    Args:
        columns: the examples' columns and DuckDB types.
        asked: how many examples there are; None: it is not known.
    """
    rows = _row_counts(connection, feature_set, asked)
    if not rows:
        return None
    time = feature_set.prediction_time
    at = microseconds(quoted(time), columns[time]) if time else "CAST(0 AS BIGINT)"
    numbered = f"SELECT *, row_number() OVER () - 1 AS __row, {at} AS __at FROM (\n{body(spine_sql)}\n)"
    try:
        spine = _within(connection.sql(numbered))
        if spine is None or [str(one) for one in connection.from_arrow(spine).types[:-2]] != [*columns.values()]:
            return None  # too large, or of types that Arrow does not have
        return _found(connection, feature_set, spine, rows)
    except duckdb.Error:
        return None  # the engine's own join says what is wrong, or spills what does not fit


def _row_counts(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, asked: int | None) -> dict[str, int]:
    """How many rows each view has, by its name; none where the set is not for this."""
    views = feature_set.views
    fields = sum(len(view.fields) for view in views)
    if asked is None or asked > MOST_EXAMPLES or asked * fields * 8 > MOST_BYTES:
        return {}
    # An error() tells a value that is refused: it must be met wherever it stands.
    if any(view.windows or "error(" in view.sql for view in views):
        return {}
    if not connection.execute("SELECT current_setting('preserve_insertion_order')").fetchall()[0][0]:
        return {}
    counts: dict[str, int] = {}
    for view in views:
        count = row_count(connection, view.sql)
        if count is None or count > MOST_ROWS:
            return {}
        counts[view.name] = count
    return counts


def _found(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, spine: pa.Table, rows: Mapping[str, int]
) -> duckdb.DuckDBPyRelation | None:
    table = spine
    for entity in feature_set.entities:
        asked = _asked(connection, spine, entity)
        for view in feature_set.views:
            if view.entity != entity.name:
                continue
            fields = _fields(connection, view, asked, rows[view.name] <= FEW_ROWS)
            if fields is None:
                return None
            for field, values in fields.items():
                table = table.append_column(f"{view.name}{SEPARATOR}{field}", values)
    return connection.from_arrow(table)


def _asked(connection: duckdb.DuckDBPyConnection, spine: pa.Table, entity: Entity) -> Asked:
    names = ", ".join(map(quoted, entity.keys))
    present = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in entity.keys)
    sql = f"""
WITH __different AS (SELECT DISTINCT {names} FROM {EXAMPLES} WHERE {present}),
k AS MATERIALIZED (SELECT *, row_number() OVER () - 1 AS __code FROM __different)
SELECT r.__row, k.__code, coalesce(r.__at, {-FARTHEST}) AS __at, k.* EXCLUDE __code
FROM {EXAMPLES} r JOIN k ON {_same(entity)}"""
    coded = _query(connection, spine, sql).to_arrow_table()
    rows, codes, at = map(_numbers, coded.columns[:3])
    bits = BITS - max(1, int(codes.max(initial=0)).bit_length())
    last = int(at.max(initial=-FARTHEST))
    base = max(last + 1 - 2**bits, -FARTHEST)
    moments = (codes << bits) | np.maximum(at - base, 0)
    order = np.argsort(moments)
    each = order[np.flatnonzero(np.diff(codes[order], prepend=-1))]
    keys = coded.drop_columns(["__row", "__at"]).take(_indices(each))
    first = int(at[at > -FARTHEST].min(initial=FARTHEST))
    return Asked(entity, keys, spine.num_rows, rows[order], moments[order], at[order], bits, base, first, last)


def _fields(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, once: bool
) -> dict[str, pa.Array] | None:
    """The fields of each example's row; None where they do not fit, or the rows did not stay the same.

    Args:
        once: whether the rows are few enough to be kept from the first reading.
    """
    relation = _moments(connection, view, asked, view.fields if once else ())
    texts = once and any(view.types[field] == "VARCHAR" for field in view.fields)
    read = _within(relation) if texts else relation.to_arrow_table()
    best = None if read is None else _best(view, asked, read)
    if read is None or best is None:
        return None
    told = best >= 0
    begins = np.diff(best[told], prepend=-1) != 0
    wanted, groups = best[told][begins], np.cumsum(begins) - 1
    kept = _kept(read, wanted) if once else None
    if kept is not None and view.known_time is None and len(kept) == len(wanted):
        return _placed(view, asked, told, read, kept[groups])
    rows = _rows(connection, view, asked, wanted) if kept is None else read.take(_indices(kept))
    if rows is not None and (view.known_time is not None or rows.num_rows != len(wanted)):
        rows = _settled(connection, view, rows)
    if rows is None:
        return None
    moments = _numbers(rows.column(MOMENT))
    order = np.argsort(moments)
    if not np.array_equal(moments[order][np.diff(moments[order], prepend=-1) != 0], wanted):
        return None
    if view.known_time is None:
        found = order[groups]
    else:
        known = _numbers(rows.column("__known"))
        found = _newest(np.searchsorted(wanted, moments), known, groups, asked.at[told])
    return _placed(view, asked, told, rows, found)


def _placed(
    view: FeatureView, asked: Asked, told: npt.NDArray[np.bool_], rows: pa.Table, found: Numbers
) -> dict[str, pa.Array]:
    """The fields of all examples in their order: those that are told have the rows that were found."""
    places, answered = np.zeros(asked.count, np.int64), np.zeros(asked.count, np.bool_)
    places[asked.rows[told]], answered[asked.rows[told]] = found, True
    indices = _indices(places, answered)
    return {field: _taken(rows.column(field).combine_chunks(), indices) for field in view.fields}


def _moments(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, fields: Sequence[str]
) -> duckdb.DuckDBPyRelation:
    """The rows that can be an example's: `__moment`, -1 where it is too long ago for one, and the fields.

    Where rows say when they became known also `__reached`, the moment of that or of the event, and `__known` (µs).
    """
    code = f"k.__code << {asked.bits}"
    columns, near = f"{code} AS {MOMENT}", ""
    if view.event_time is not None:
        near = f"WHERE r.__from <= {asked.last}"
        fits = f"CASE WHEN r.__event > {asked.base} THEN ({code}) | "
        columns = f"{fits} (r.__event - {asked.base}) ELSE -1 END AS {MOMENT}"
        if view.known_time is not None:
            columns += f", {fits} (r.__from - {asked.base}) ELSE -1 END AS __reached, r.__known"
    if view.event_time is not None and view.ttl_us is not None:
        near += f" AND r.__event >= {asked.first - view.ttl_us}"
    values = "".join(f", r.{quoted(field)}" for field in fields)
    rows = rows_sql(view, asked.entity, fields)
    sql = f"SELECT {columns}{values} FROM ({rows}) r JOIN {EXAMPLES} k ON {_same(asked.entity)} {near}"
    return _query(connection, asked.keys, sql)


def _best(view: FeatureView, asked: Asked, rows: pa.Table) -> Numbers | None:
    """The moment of the event that is each example's, -1 where there is none; None where moments do not fit."""
    events = _numbers(rows.column(MOMENT))
    if not len(events) or not len(asked.moments):
        return np.full(len(asked.moments), -1)
    if view.known_time is None:
        events.sort()
        times = events
    else:
        # Rows that became known after a newer one are never the answer.
        times = _numbers(rows.column("__reached"))
        order = np.argsort(times)
        times, events = times[order], np.maximum.accumulate(events[order])
    if times[0] < 0:
        return None
    place = np.searchsorted(times, asked.moments, side="right") - 1
    best = events[np.maximum(place, 0)]
    told = (place >= 0) & (best >> asked.bits == asked.moments >> asked.bits)
    if view.ttl_us is not None:
        told &= asked.at - ((best & ((1 << asked.bits) - 1)) + asked.base) <= view.ttl_us
    return np.where(told, best, -1)


def _rows(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, wanted: Numbers) -> pa.Table | None:
    """The rows of the wanted moments; None where they are too large."""
    keys = asked.keys.drop_columns("__code").take(_indices(wanted >> asked.bits))
    keys = keys.append_column(MOMENT, _indices(wanted))
    columns, same, near = f"k.{MOMENT}", _same(asked.entity), ""
    if view.event_time is not None:
        events = (wanted & ((1 << asked.bits) - 1)) + asked.base
        keys = keys.append_column("__event", _indices(events))
        same, near = f"{same} AND r.__event = k.__event", f"WHERE r.__from <= {asked.last}"
    if view.known_time is not None:
        columns += ", r.__known"
    values = "".join(f", r.{quoted(field)}" for field in view.fields)
    rows = rows_sql(view, asked.entity, view.fields)
    sql = f"SELECT {columns}{values} FROM ({rows}) r JOIN {EXAMPLES} k ON {same} {near}"
    return _within(_query(connection, keys, sql))


def _kept(rows: pa.Table, wanted: Numbers) -> Numbers:
    """The places of the rows of the wanted moments, in the order of these."""
    moments = _numbers(rows.column(MOMENT))
    marked = np.zeros(2**MARKS, np.bool_)
    marked[_hashes(wanted)] = True
    near = np.flatnonzero(marked[_hashes(moments)])
    found = moments[near]
    order = np.argsort(found)
    near, found = near[order], found[order]
    place = np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)
    kept: Numbers = near[wanted[place] == found]
    return kept


def _hashes(moments: Numbers) -> npt.NDArray[np.uint64]:
    return (moments.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - MARKS)


def _settled(connection: duckdb.DuckDBPyConnection, view: FeatureView, rows: pa.Table) -> pa.Table:
    """One row of each moment, or of each moment and known time: the best of those that are tied."""
    tied = f"{MOMENT}, __known" if view.known_time else MOMENT
    once = f"QUALIFY row_number() OVER (PARTITION BY {tied} ORDER BY {best_sql(view.fields)}) = 1"
    return _query(connection, rows, f"SELECT * FROM {EXAMPLES} {once}").to_arrow_table()


def _newest(groups: Numbers, known: Numbers, asked: Numbers, at: Numbers) -> Numbers:
    """For each example the row of its group that was known last by then; there is one."""
    count = len(known)
    later = np.arange(count + len(at)) >= count
    order = np.lexsort((later, np.concatenate((known, at)), np.concatenate((groups, asked))))
    newest = order[np.maximum.accumulate(np.where(order < count, np.arange(len(order)), 0))]
    found = np.empty(len(at), np.int64)
    found[order[order >= count] - count] = newest[order >= count]
    return found


def _query(connection: duckdb.DuckDBPyConnection, table: pa.Table, sql: str) -> duckdb.DuckDBPyRelation:
    """SQL in which a table has the name `EXAMPLES`; the connection keeps nothing of it."""
    relation = connection.from_arrow(table).query(EXAMPLES, sql)
    assert relation is not None  # of a SELECT it never is
    return relation


def _within(relation: duckdb.DuckDBPyRelation) -> pa.Table | None:
    """The rows of a query; None when they are too large to be held."""
    reader = relation.to_arrow_reader(BATCH)
    batches, size = [], 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > MOST_BYTES:
            return None
    return pa.Table.from_batches(batches, reader.schema)


def _taken(values: pa.Array, indices: pa.Array) -> pa.Array:
    if pa.types.is_primitive(values.type):
        return values.take(indices)
    return pa.DictionaryArray.from_arrays(indices, values)  # a long text is kept once, however many examples have it


def _same(entity: Entity) -> str:
    return " AND ".join(f"r.{quoted(key)} = k.{quoted(key)}" for key in entity.keys)


def _indices(numbers: Numbers, told: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    # Not pa.array(), which imports pandas where it is installed.
    valid = None if told is None else pa.py_buffer(np.packbits(told, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(numbers), [valid, pa.py_buffer(np.ascontiguousarray(numbers))])


def _numbers(column: pa.ChunkedArray) -> Numbers:
    # Nor to_numpy().
    return np.concatenate([np.zeros(0, np.int64), *map(np.from_dlpack, column.chunks)])
