"""The latest row of each example, found among sorted numbers in memory instead of by a join of the engine.

The moments (`moments.py`) of a view are sorted, each example's is looked for among them, and only then are the rows
read that were found: nothing but integers is sorted, and ties are settled only where an example meets them. It is for
views that are only read, and that fit: `latest_rows` says None of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from bascule.features.cells import row_count
from bascule.features.columns import body, microseconds, quoted
from bascule.features.definitions import SEPARATOR, FeatureSet, FeatureView
from bascule.features.grids import Grid, Sieve, grid_of
from bascule.features.moments import (
    EXAMPLES,
    FARTHEST,
    MOMENT,
    Asked,
    Numbers,
    asked_about,
    indices,
    kept,
    numbers,
    query,
    same_keys,
    viewed,
)
from bascule.features.timelines import best_sql, rows_sql

MOST_EXAMPLES = 2_000_000
MOST_ROWS = 8_000_000  # of a view; each takes 24 bytes while they are sorted
FEW_ROWS = 1_000_000  # of a view; they are kept from the first reading
MOST_BYTES = 256 * 2**20  # of the examples, of what they become, and of the rows that are found for a view
BATCH = 122880
AHEAD, USUALLY_AHEAD = "32MB", "10.0 MiB"  # that the engine reads while what it read is sifted; two batches are less


@dataclass(frozen=True)
class Answers:
    """The rows that are the answers of examples.

    Attributes:
        rows: the fields, and more.
        places: of each example's row among them, -1 for none.
    """

    rows: pa.Table
    places: Numbers


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
    numbered = (
        f"SELECT *, row_number() OVER () - 1 AS __row, coalesce({at}, {-FARTHEST}) AS __at FROM (\n{body(spine_sql)}\n)"
    )
    try:
        spine = _within(connection.sql(numbered))
        if spine is None or [str(one) for one in connection.from_arrow(spine).types[:-2]] != [*columns.values()]:
            return None  # too large, or of types that Arrow does not have
        if numbers(spine.column("__at")).min(initial=0) < -FARTHEST:
            return None  # before all times that moments have
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
        asked = asked_about(connection, spine, entity)
        for view in feature_set.views:
            if view.entity != entity.name:
                continue
            answers = _answers(connection, view, asked, rows[view.name])
            if answers is None:
                return None
            for field, values in _placed(view, asked, answers).items():
                table = table.append_column(f"{view.name}{SEPARATOR}{field}", values)
    return connection.from_arrow(table)


def _answers(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, count: int) -> Answers | None:
    """The rows of a view of so many; None where they do not fit, or did not stay the same."""
    grid = grid_of(connection, view, asked, count)
    found = None if grid is None else _near(connection, view, asked, count, grid)
    return found or _all(connection, view, asked, count <= FEW_ROWS)


def _near(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, count: int, grid: Grid
) -> Answers | None:
    """The rows by a grid: those near examples are read once, and all of a key where an example finds none."""
    with _ahead(connection):
        reader = _events(connection, view, asked).to_arrow_reader(BATCH)  # it goes on while the sieve is made
        sieve = Sieve(grid, asked, view.known_time is not None)
        read = _held(reader, lambda batch: _sifted(sieve, asked, batch))
    if read is None or not read.num_rows:
        return None
    best = sieve.best() if view.known_time is None else _best(view, asked, read)
    if best is None:
        return None
    settled = grid.settled(view, asked, best)
    rows = sieve.rows() if view.known_time is None else None
    found = _chosen(connection, view, asked, np.where(settled, best, -1), read, rows)
    if found is None or settled.all():
        return found
    rest = asked.some(~settled)
    others = _all(connection, view, rest, count * rest.keys.num_rows <= FEW_ROWS * asked.keys.num_rows)
    if others is None:
        return None
    places = found.places.copy()
    places[~settled] = np.where(others.places < 0, -1, others.places + found.rows.num_rows)
    fields = [*view.fields]
    return Answers(pa.concat_tables([found.rows.select(fields), others.rows.select(fields)]), places)


def _all(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, once: bool) -> Answers | None:
    """The rows among all of the keys.

    Args:
        once: whether these are few enough to be kept from the first reading.
    """
    relation = _moments(connection, view, asked, view.fields if once else ())
    texts = once and any(view.types[field] == "VARCHAR" for field in view.fields)
    read = _within(relation) if texts else relation.to_arrow_table()
    best = None if read is None else _best(view, asked, read)
    if read is None or best is None:
        return None
    return _chosen(connection, view, asked, best, read if once else None)


def _chosen(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureView,
    asked: Asked,
    best: Numbers,
    read: pa.Table | None,
    known: Numbers | None = None,
) -> Answers | None:
    """The rows of the examples' events that have not run out.

    Args:
        best: the moment of the last event of each example, however old; -1 for none.
        read: rows with all fields among which they are; None: they are to be read.
        known: which of these it is; None: they are looked for.
    """
    told = best >= 0
    if view.ttl_us is not None:
        told &= asked.at - asked.times(best) <= view.ttl_us
    begins = np.diff(best[told], prepend=-1) != 0
    wanted, groups = best[told][begins], np.cumsum(begins) - 1
    places = np.full(len(asked.moments), -1)
    if read is not None and known is not None:
        places[told] = groups
        return Answers(_picked(read, known[told][begins]), places)
    if read is not None:
        chosen = kept(numbers(read.column(MOMENT)), wanted)
        rows: pa.Table | None = _picked(read, chosen)
        if view.known_time is None and len(chosen) == len(wanted):
            places[told] = groups
            return Answers(rows, places)
    else:
        rows = _rows(connection, view, asked, wanted)
    if rows is not None and (view.known_time is not None or rows.num_rows != len(wanted)):
        rows = _settled(connection, view, rows)
    if rows is None:
        return None
    moments = numbers(rows.column(MOMENT))
    order = np.argsort(moments)
    if not np.array_equal(moments[order][np.diff(moments[order], prepend=-1) != 0], wanted):
        return None
    if view.known_time is None:
        places[told] = order[groups]
    else:
        known = numbers(rows.column("__known"))
        places[told] = _newest(np.searchsorted(wanted, moments), known, groups, asked.at[told])
    return Answers(rows, places)


def _placed(view: FeatureView, asked: Asked, answers: Answers) -> dict[str, pa.Array]:
    """The fields of all examples, in their order."""
    places = np.full(asked.count, -1)
    places[asked.rows] = answers.places
    taken = indices(np.maximum(places, 0), places >= 0)
    return {field: _taken(answers.rows.column(field).combine_chunks(), taken) for field in view.fields}


def _moments(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureView,
    asked: Asked,
    fields: Sequence[str],
) -> duckdb.DuckDBPyRelation:
    """The rows that can be an example's: `__moment`, -1 where it is too long ago for one, and the fields.

    Where rows say when they became known also `__reached`, the moment of that or of the event, and `__known` (µs).
    """
    key = f"r.{quoted(asked.entity.keys[0])}"
    direct = asked.least is not None
    code = f"(CAST({key} AS BIGINT) - {asked.least}) << {asked.bits}" if direct else f"k.__code << {asked.bits}"
    columns, near = f"{code} AS {MOMENT}", []
    if view.event_time is not None:
        near.append(f"r.__from <= {asked.last}")
        fits = f"CASE WHEN r.__event > {asked.base} THEN ({code}) | "
        columns = f"{fits} (r.__event - {asked.base}) ELSE -1 END AS {MOMENT}"
        if view.known_time is not None:
            columns += f", {fits} (r.__from - {asked.base}) ELSE -1 END AS __reached, r.__known"
        if view.ttl_us is not None:
            near.append(f"r.__event >= {asked.first - view.ttl_us}")
    values = "".join(f", r.{quoted(field)}" for field in fields)
    selected = f"SELECT {columns}{values} FROM ({rows_sql(view, asked.entity, fields)}) r"
    if asked.least is not None:
        near.append(f"{key} BETWEEN {asked.least} AND {asked.least + int(asked.codes.max(initial=0))}")
        return connection.sql(f"{selected} WHERE {' AND '.join(near)}")
    where = f"WHERE {' AND '.join(near)}" if near else ""
    return query(connection, asked.keys, f"{selected} JOIN {EXAMPLES} k ON {same_keys(asked.entity)} {where}")


def _events(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked) -> duckdb.DuckDBPyRelation:
    """The rows that can be an example's, and others: `__code`, `__event` (µs), `__from` and `__known`, the fields.

    Infinite times, which lie outside of any grid, may be among them.
    """
    key, join = f"r.{quoted(asked.entity.keys[0])}", ""
    code, near = f"CAST({key} AS BIGINT) - {asked.least}", []
    if asked.least is None:
        code, join = "k.__code", f"JOIN {EXAMPLES} k ON {same_keys(asked.entity)}"
    elif view.types[asked.entity.keys[0]] == "UBIGINT":
        near.append(f"{key} <= {asked.least + int(asked.codes[-1])}")
    if view.known_time is not None:
        near.append(f"r.__from <= {asked.last}")
    where = f"WHERE {' AND '.join(near)}" if near else ""
    known = ", r.__from, r.__known" if view.known_time is not None else ""
    values = "".join(f", r.{quoted(field)}" for field in view.fields)
    rows = rows_sql(view, asked.entity, view.fields, raw=view.known_time is None)
    return query(
        connection, asked.keys, f"SELECT {code} AS __code, r.__event{known}{values} FROM ({rows}) r {join} {where}"
    )


def _sifted(sieve: Sieve, asked: Asked, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of events that may be an example's, with `__moment` instead of code and time, and `__reached`."""
    codes = viewed(batch.column(0))
    places, moments = sieve.sift(codes, viewed(batch.column(1).view(pa.int64())))
    rows = batch.select(batch.schema.names[2:]).take(indices(places))
    columns = {MOMENT: indices(moments)}
    if "__from" in rows.schema.names:
        reached = viewed(rows.column("__from")) - asked.base
        columns["__reached"] = indices((codes[places] << asked.bits) | reached)
    columns |= {name: rows.column(name) for name in rows.schema.names if name != "__from"}
    return pa.RecordBatch.from_pydict(columns)


def _best(view: FeatureView, asked: Asked, rows: pa.Table) -> Numbers | None:
    """The moment of each example's last event, however old, -1 for none; None where moments do not fit."""
    events = numbers(rows.column(MOMENT))
    if not len(events) or not len(asked.moments):
        return np.full(len(asked.moments), -1)
    if view.known_time is None:
        events.sort()
        times = events
    else:
        # Rows that became known after a newer one are never the answer.
        times = numbers(rows.column("__reached"))
        order = np.argsort(times)
        times, events = times[order], np.maximum.accumulate(events[order])
    if times[0] < 0:
        return None
    place = np.searchsorted(times, asked.moments, side="right") - 1
    best = events[np.maximum(place, 0)]
    told = (place >= 0) & (best >> asked.bits == asked.moments >> asked.bits)
    return np.where(told, best, -1)


def _rows(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, wanted: Numbers) -> pa.Table | None:
    """The rows of the wanted moments; None where they are too large."""
    keys = asked.keys_of(wanted).append_column(MOMENT, indices(wanted))
    columns, same, near = f"k.{MOMENT}", same_keys(asked.entity), ""
    if view.event_time is not None:
        keys = keys.append_column("__event", indices(asked.times(wanted)))
        same, near = f"{same} AND r.__event = k.__event", f"WHERE r.__from <= {asked.last}"
    if view.known_time is not None:
        columns += ", r.__known"
    values = "".join(f", r.{quoted(field)}" for field in view.fields)
    rows = rows_sql(view, asked.entity, view.fields)
    sql = f"SELECT {columns}{values} FROM ({rows}) r JOIN {EXAMPLES} k ON {same} {near}"
    return _within(query(connection, keys, sql))


def _settled(connection: duckdb.DuckDBPyConnection, view: FeatureView, rows: pa.Table) -> pa.Table:
    """One row of each moment, or of each moment and known time: the best of those that are tied."""
    tied = f"{MOMENT}, __known" if view.known_time else MOMENT
    once = f"QUALIFY row_number() OVER (PARTITION BY {tied} ORDER BY {best_sql(view.fields)}) = 1"
    return query(connection, rows, f"SELECT * FROM {EXAMPLES} {once}").to_arrow_table()


def _newest(groups: Numbers, known: Numbers, asked: Numbers, at: Numbers) -> Numbers:
    """For each example the row of its group that was known last by then; there is one."""
    count = len(known)
    later = np.arange(count + len(at)) >= count
    order = np.lexsort((later, np.concatenate((known, at)), np.concatenate((groups, asked))))
    newest = order[np.maximum.accumulate(np.where(order < count, np.arange(len(order)), 0))]
    found = np.empty(len(at), np.int64)
    found[order[order >= count] - count] = newest[order >= count]
    return found


@contextmanager
def _ahead(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let queries be read `AHEAD` of what is taken of them, where the session does not say how far."""
    size = connection.execute("SELECT current_setting('streaming_buffer_size')").fetchall()[0][0]
    if size != USUALLY_AHEAD:
        yield
        return
    connection.execute(f"SET streaming_buffer_size = '{AHEAD}'")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # of a transaction that failed; what failed is told
            connection.execute("RESET streaming_buffer_size")


def _within(relation: duckdb.DuckDBPyRelation) -> pa.Table | None:
    """The rows of a query; None when they are too large to be held."""
    return _held(relation.to_arrow_reader(BATCH))


def _held(
    reader: pa.RecordBatchReader, chosen: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None
) -> pa.Table | None:
    """The rows that are read, or those chosen of each batch; None when they are too large to be held."""
    batches, size = [], 0
    for batch in reader:
        batches.append(chosen(batch) if chosen else batch)
        size += batches[-1].nbytes
        if size > MOST_BYTES:
            return None
    return pa.Table.from_batches(batches, batches[0].schema if batches else reader.schema)


def _picked(table: pa.Table, places: Numbers) -> pa.Table:
    return table.take(indices(places))


def _taken(values: pa.Array, places: pa.Array) -> pa.Array:
    if pa.types.is_primitive(values.type):
        return values.take(places)
    return pa.DictionaryArray.from_arrays(places, values)  # a long text is kept once, however many examples have it
