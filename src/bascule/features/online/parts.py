"""What a store keeps of a view, as bytes: which timelines, and how an entry's value is written and read.

rows      one entry for each change of the answer: msgpack [event time µs, field, ...]
running   one entry for each event time: the bucket, the running aggregates, and those with the bucket before, packed
events    one entry for each event time: msgpack [[known µs, value, ...], ...], for aggregates that cannot be
          subtracted, or not always
prints    one entry for each key: how many source rows it has and their hash, by which late and changed rows are found
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from bascule.features.aggregates import SPREADS, SUMS, Aggregate
from bascule.features.columns import family, microseconds, quoted
from bascule.features.components import Component, components
from bascule.features.definitions import Entity, FeatureView
from bascule.features.online import packing
from bascule.features.taking import taken_sql
from bascule.features.timelines import rows_sql, timeline_sql
from bascule.features.windows import events_sql, running_sql

PRINT = struct.Struct("<QQ")
Encode = Callable[[pa.RecordBatch], Sequence[bytes]]


class Part(NamedTuple):
    """One kind of timeline of a view.

    Attributes:
        sql: gives the keys, `__time` (µs), and what `encode` wants; one row for each entry.
        encode: the values of a batch of those rows.
        best: when rows may be tied on keys and time, the ORDER BY that puts the one first that is the answer; "" when
            `sql` has settled that.
    """

    name: str
    sql: str
    encode: Encode
    best: str = ""


FIRST_AND_LAST = ("0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00")


def parts_of(view: FeatureView, entity: Entity) -> list[Part]:
    """The timelines that a bound view needs."""
    keys = ", ".join(map(quoted, entity.keys))
    if not view.windows:
        fields = "".join(f", {_stored(field, view)}" for field in view.fields)
        if view.known_time:
            sql = f"SELECT {keys}, __from AS __time, __event{fields} FROM {timeline_sql(view, entity)}"
            return [Part("rows", sql, _packed_rows)]
        # Whoever streams the rows in order finds ties on the way, and saves a pass over all of them.
        sql = f"SELECT {keys}, __from AS __time, __event{fields} FROM ({rows_sql(view, entity, view.fields)})"
        best = ", ".join(f"{column} DESC NULLS LAST" for column in ("__event", *map(quoted, view.fields)))
        return [Part("rows", sql, _packed_rows, best)]
    parts = []
    if subtracts(view):
        shape = kept_running(view)
        numbers = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in _numbers(shape))
        sql = f"SELECT {keys}, __event AS __time, __bucket, {numbers} FROM {running_sql(view, entity, shape)}"
        parts.append(Part("running", sql, _packed_running(shape)))
    if scans(view):
        values = "".join(f", {_name(n)}: {_kept(a, view)}" for n, a in enumerate(scanned_inputs(view)))
        item = f"{{'known': __known{values}}}"
        sql = f"SELECT {keys}, __event AS __time, list({item}) AS __items FROM {events_sql(view, entity)} GROUP BY ALL"
        parts.append(Part("events", sql, _packed_events))
    return parts


def subtracts(view: FeatureView) -> bool:
    """Whether some of a window view's aggregates are read as differences of running ones."""
    return view.known_time is None and bool(kept_running(view))


def kept_running(view: FeatureView) -> tuple[Component, ...]:
    """The running aggregates that a store keeps; of doubles too, where no other aggregate reads all events anyway."""
    return components(view, all(a.function in ("count", *SUMS, *SPREADS) for a in view.parsed.values()))


def scans(view: FeatureView) -> bool:
    """Whether some of a window view's aggregates are read by going through the window's events, if only sometimes."""
    return any(scanned(a, view) for a in view.parsed.values())


def scanned(aggregate: Aggregate, view: FeatureView) -> bool:
    """Whether an aggregate of a window view is."""
    return view.known_time is not None or not aggregate.subtractable(view.types)


def scanned_inputs(view: FeatureView) -> tuple[Aggregate, ...]:
    """What is kept with each event, as one of the aggregates that take it."""
    wanted = [a for a in view.parsed.values() if scanned(a, view)]
    found = {(str(a.column), a.taken): a for a in wanted if a.column is not None}
    return tuple(found[key] for key in sorted(found))


def running_struct(shape: Sequence[Component]) -> struct.Struct:
    """How an entry of `running` is packed: bucket, components, components with the bucket before."""
    codes = "".join("q" if part.exact else "d" for part in shape)
    return struct.Struct(f"<q{codes}{codes}")


def _numbers(shape: Sequence[Component]) -> list[tuple[str, str]]:
    return [(part.name + suffix, "BIGINT" if part.exact else "DOUBLE") for suffix in ("", "_2") for part in shape]


def _name(place: int) -> str:
    return f"'v{place}'"


def _stored(field: str, view: FeatureView) -> str:
    return f"{_plain(field, view)} AS {quoted(field)}"


def _plain(field: str, view: FeatureView) -> str:
    known = view.types[field]
    if family(known) == "time":
        return _readable(microseconds(quoted(field), known), field, known)
    if family(known) == "date":
        return _readable(f"date_diff('day', DATE '1970-01-01', {quoted(field)})", field, known)
    return quoted(field)


def _readable(stored: str, field: str, known: str) -> str:
    """A time or date of the years 1 to 9999; any other, which no reader of the store could tell, ends the query."""
    times = ("0001-01-01", "9999-12-31") if known == "DATE" else FIRST_AND_LAST
    first, last = (f"CAST('{time}' AS {known})" for time in times)
    told = f"column '{field}' has a time beyond the years 1 to 9999: ".replace("'", "''")
    name = quoted(field)
    fits = f"{name} IS NULL OR {name} BETWEEN {first} AND {last}"
    return f"CASE WHEN {fits} THEN {stored} ELSE error('{told}' || {name} || ' (make it NULL in the SQL)') END"


def _kept(aggregate: Aggregate, view: FeatureView) -> str:
    column = str(aggregate.column)
    timed = family(view.types[column]) in ("time", "date") and aggregate.taken != "hash"
    return _plain(column, view) if timed else taken_sql(aggregate, view)


def _columns(batch: pa.RecordBatch, after: str) -> list[list[Any]]:
    first = batch.schema.get_field_index(after) + 1
    return [batch.column(place).to_pylist() for place in range(first, batch.num_columns)]


def _packed_rows(batch: pa.RecordBatch) -> list[bytes]:
    first = batch.schema.get_field_index("__time") + 1
    packed = packing.rows([batch.column(place) for place in range(first, batch.num_columns)])
    if packed is not None:
        return packed
    encode = msgspec.msgpack.Encoder().encode
    return [encode(row) for row in zip(*_columns(batch, "__time"), strict=True)]


def _packed_events(batch: pa.RecordBatch) -> list[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    items: list[list[dict[str, Any]]] = batch.column("__items").to_pylist()
    return [encode([tuple(item.values()) for item in entry]) for entry in items]


def _packed_running(shape: Sequence[Component]) -> Encode:
    names = [("__bucket", "<i8"), *((name, "<i8" if kind == "BIGINT" else "<f8") for name, kind in _numbers(shape))]
    layout = np.dtype(names)

    def packed(batch: pa.RecordBatch) -> list[bytes]:
        rows = np.empty(batch.num_rows, layout)
        for name, _ in names:
            rows[name] = batch.column(name).to_numpy(zero_copy_only=False)
        data, size = rows.tobytes(), layout.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]

    return packed
