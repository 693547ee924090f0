"""Features by their names for entities by their keys: values, whether they are there, and of when they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from bascule.errors import InputError, NotFound, suggestion
from bascule.features.binding import output_types
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView, RequestView, definition_digest
from bascule.features.expressions import references
from bascule.features.online.reading import EXPIRED, NOT_FOUND, OnlineReader
from bascule.features.online.store import OnlineStore, ViewRecord, current
from bascule.features.timelines import ALWAYS

PRESENT, NULL, MISSING, OLD = "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"
_THERE = {NOT_FOUND: MISSING, EXPIRED: OLD}
MOST_ROWS = 100_000
SETS = "sets"


class Vectors(msgspec.Struct, frozen=True):
    """What was read, column by column.

    Attributes:
        entities: the columns that were asked with, to their values.
        names: of the features, in the order that was asked for.
        values, statuses, times: for each feature, of each row: its value, `PRESENT`, `NULL_VALUE` (the newest row has
            no value), `NOT_FOUND` (the key has no row) or `OUTSIDE_MAX_AGE` (its newest row is older than the view's
            time to live), and its event time (µs) or None; a reference table's rows hold since ever, and have none.
        types: feature to DuckDB type.
        at: as of when (µs).
    """

    entities: dict[str, list[Any]]
    names: tuple[str, ...]
    values: list[list[Any]]
    statuses: list[list[str]]
    times: list[list[int | None]]
    types: tuple[str, ...]
    at: int

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns by name, the entities' first."""
        return {**self.entities, **dict(zip(self.names, self.values, strict=True))}

    def to_arrow(self) -> pa.Table:
        """Columns by name, in their types; statuses and event times are `NAME__status` and `NAME__event_time`."""
        columns = {name: _asked(values) for name, values in self.entities.items()}
        moment = pa.timestamp("us", "UTC")
        for place, name in enumerate(self.names):
            columns[name] = pa.array(self.values[place], _arrow_type(self.types[place]))
            columns[f"{name}__status"] = pa.array(self.statuses[place], pa.string())
            columns[f"{name}__event_time"] = pa.array(self.times[place], pa.int64()).cast(moment)
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """The values as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())


class VectorReader:
    """Reads some features of one namespace of a store.

    Attributes:
        sample: which share of the keys is to be logged, for who serves them.

    Args:
        store: says itself which views it holds, and how these are defined.
        features: `view:feature`, `view.feature`, `view__feature`, or `view` for all of it.
        full_names: features are called `view__feature`, else `feature`.
        whole: the project's features as they were materialised, for those that are computed from requests.
        beside: other names that one may have meant, for the message.

    Raises:
        NotFound: a view or a feature that the store does not hold; it says which ones there are.
        InputError: two features would have one name.
    """

    def __init__(
        self,
        store: OnlineStore,
        features: Sequence[str],
        full_names: bool = False,
        whole: FeatureSet | None = None,
        beside: Iterable[str] = (),
    ) -> None:
        with store.snapshot() as snapshot:
            held = current(snapshot)
        self.sample = 0.0
        self._records = {name: record for name, record in held.items() if record.bound is not None}
        request = whole.request if whole is not None else None
        chosen = self._chosen(features, request, beside)
        self.feature_set = self._feature_set(chosen, request, whole)
        self._reader = OnlineReader(self.feature_set, store)
        order = {view.name: place for place, view in enumerate(self.feature_set.views)}
        self._places = [order.get(view, -1) for view, _ in chosen]  # -1: what is computed from the request
        self.full = tuple(f"{view}{SEPARATOR}{feature}" for view, feature in chosen)
        self.names = self.full if full_names else tuple(feature for _, feature in chosen)
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise InputError(
                f"Several features are called {min(twice)!r}.",
                hint="Ask with full_feature_names, or leave one of them out.",
            )
        self.types = tuple(self.feature_set.types[name] for name in self.full)
        self.keys = tuple(dict.fromkeys(key for entity in self.feature_set.entities for key in entity.keys))
        self.columns = tuple(name for name in self.feature_set.columns if name != self.feature_set.prediction_time)

    def read(self, entities: Mapping[str, Sequence[Any]], at: int) -> Vectors:
        """Read all rows as of one moment, from one state of the store.

        Args:
            entities: key (and request) columns to their values, one for each row.
            at: as of when (µs since 1970 UTC).

        Raises:
            InputError: a column is missing, unknown, of another length, or has a value of another type.
        """
        count = self._check(entities)
        names = list(entities)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*entities.values(), strict=True)]
        values, noted = self._reader.read_noted(rows, [at] * count)
        if count == 1:  # as below, without turning rows into columns
            columns, notes = [[value] for value in values[0]], [[note] for note in noted[0]]
            whole = None not in values[0]
        else:
            columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in self.names]
            notes = [list(column) for column in zip(*noted, strict=True)] or [[] for _ in self.feature_set.views]
            whole = False
        told: list[list[int | None]] = [[None if note <= ALWAYS else note for note in column] for column in notes]
        there = [[_THERE.get(note, PRESENT) for note in column] for column in notes]
        told.append([None] * count)
        there.append([PRESENT] * count)
        if whole:
            statuses = [there[place] for place in self._places]
        else:
            statuses = [_statuses(column, there[place]) for column, place in zip(columns, self._places, strict=True)]
        times = [told[place] for place in self._places]
        given = {name: list(values) for name, values in entities.items()}
        return Vectors(given, self.names, columns, statuses, times, self.types, at)

    def _check(self, entities: Mapping[str, Sequence[Any]]) -> int:
        missing = [name for name in self.columns if name not in entities]
        if missing:
            raise InputError(
                f"The request has no column {missing[0]!r}; it brings {', '.join(map(repr, entities)) or 'none'}.",
                hint=f"These features are read by {', '.join(self.columns)}.",
            )
        for name in entities:
            if name not in self.columns:
                raise InputError(
                    f"These features are not read by {name!r}.", hint=suggestion(name, self.columns, "column")
                )
        counts = {name: len(values) for name, values in entities.items()}
        if len(counts) > 1 and len(set(counts.values())) > 1:
            shown = ", ".join(f"{name!r} has {count:,}" for name, count in counts.items())
            raise InputError(f"The columns have different lengths: {shown}.", hint="Send one value for each row.")
        count = next(iter(counts.values()), 0)
        if count > MOST_ROWS:
            raise InputError(f"{count:,} rows are asked for; at most {MOST_ROWS:,} are answered.", hint="Send parts.")
        return count

    def _chosen(
        self, features: Sequence[str], request: RequestView | None, beside: Iterable[str]
    ) -> list[tuple[str, str]]:
        known = [*self._records, *([request.name] if request else [])]
        found: dict[tuple[str, str], None] = {}
        for asked in features:
            view, feature = _split(asked, known)
            if view not in known:
                hint = "" if known else "Run: bascule features materialise"
                raise NotFound("materialised feature view", view, [*known, *beside], hint=hint)
            outputs = tuple(request.expressions) if request and view == request.name else self._outputs(view)
            if feature and feature not in outputs:
                raise NotFound(f"feature of view {view!r}", feature, list(outputs))
            found |= dict.fromkeys((view, one) for one in ([feature] if feature else outputs))
        if not found:
            raise InputError("No features are asked for.", hint="Name some as view:feature, or a feature service.")
        return list(found)

    def _outputs(self, view: str) -> tuple[str, ...]:
        return tuple(output_types(_bound(self._records[view])))

    def _feature_set(
        self, chosen: Sequence[tuple[str, str]], request: RequestView | None, whole: FeatureSet | None
    ) -> FeatureSet:
        needed = dict.fromkeys(view for view, _ in chosen)
        wanted = {feature for view, feature in chosen if request is not None and view == request.name}
        expressions = {name: text for name, text in (request.expressions if request else {}).items() if name in wanted}
        read = [one for text in expressions.values() for one in references(text, "expression")]
        needed |= dict.fromkeys(one.split(".")[0] for one in read if "." in one)
        views = tuple(_bound(self._records[name]) for name in needed if name in self._records)
        entities = {record.entity: Entity(record.entity, record.keys) for record in map(self._record, views)}
        columns = {key: view.types[key] for view in views for key in self._record(view).keys}
        prediction_time = whole.prediction_time if whole is not None else ""
        for name in (one for one in read if "." not in one):
            if whole is not None and name in whole.columns:
                columns[name] = whole.columns[name]
        types = {f"{v.name}{SEPARATOR}{f}": kind for v in views for f, kind in output_types(v).items()}
        if request is not None and whole is not None:
            types |= {name: whole.types[name] for name in whole.types if name.startswith(f"{request.name}{SEPARATOR}")}
        features = tuple(f"{view}{SEPARATOR}{feature}" for view, feature in chosen)
        return FeatureSet(
            name="online",
            entities=tuple(entities.values()),
            views=views,
            request=RequestView(request.name, expressions) if request is not None and expressions else None,
            columns=columns,
            features=features,
            types={name: types[name] for name in features},
            prediction_time=prediction_time if prediction_time in columns else "",
        )

    def _record(self, view: FeatureView) -> ViewRecord:
        return self._records[view.name]


def keep_set(store: OnlineStore, feature_set: FeatureSet) -> None:
    """Note in a store what the project's features are, beside the views that it holds."""
    encoded = msgspec.msgpack.encode(feature_set)
    track = store.track("", SETS)
    with store.snapshot() as snapshot:
        if snapshot.newest(track, 0) == encoded:
            return
    store.write(lambda transaction: transaction.put(track, [(0, encoded)]))


def kept_set(store: OnlineStore) -> FeatureSet | None:
    """Return the project's features as noted in a store."""
    with store.snapshot() as snapshot:
        found = snapshot.newest(store.track("", SETS), 0)
    return None if found is None else msgspec.msgpack.decode(found, type=FeatureSet)


def holds(store: OnlineStore, feature_set: FeatureSet) -> bool:
    """Tell whether all views of a set, as they are defined, are in a store."""
    with store.snapshot() as snapshot:
        return all(
            snapshot.view(definition_digest(view, feature_set.entity(view))) is not None for view in feature_set.views
        )


def _bound(record: ViewRecord) -> FeatureView:
    assert record.bound is not None
    return record.bound


def _split(asked: str, known: Sequence[str]) -> tuple[str, str]:
    """`view:feature`, `view.feature` or `view__feature` as a pair; `view` alone has no feature."""
    if asked in known:
        return asked, ""
    for mark in (":", ".", SEPARATOR):
        view, found, feature = asked.partition(mark)
        if found:
            return view, feature
    return asked, ""


def _statuses(column: list[Any], there: list[str]) -> list[str]:
    """The view's statuses, with what is null in this column. A column without nulls shares the view's list."""
    if None not in column:
        return there
    return [NULL if value is None and one is PRESENT else one for value, one in zip(column, there, strict=True)]


def _asked(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:  # integers from 2^63 on
        fits = min(value for value in values if value is not None) >= 0
        return pa.array(values, pa.uint64() if fits else pa.decimal128(20))


def _arrow_type(type_name: str) -> pa.DataType:
    return {
        "TINYINT": pa.int8(),
        "SMALLINT": pa.int16(),
        "INTEGER": pa.int32(),
        "BIGINT": pa.int64(),
        "UTINYINT": pa.uint8(),
        "USMALLINT": pa.uint16(),
        "UINTEGER": pa.uint32(),
        "UBIGINT": pa.uint64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    }.get(type_name, pa.string())
