"""Puts a feature set's values together from an online store: what `training_rows` would give, for requests.

Everything that can be decided beforehand is decided when the reader is made; a read is seeks and arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from bascule.errors import NotFound
from bascule.features.aggregates import COUNTS
from bascule.features.binding import compile_request, expression_inputs, output_types
from bascule.features.definitions import SEPARATOR, FeatureSet, FeatureView, definition_digest
from bascule.features.online.inputs import Refused, at_time, converter, refusal, stored
from bascule.features.online.keys import encoder
from bascule.features.online.parts import subtracts
from bascule.features.online.store import OnlineStore, Snapshot
from bascule.features.online.tiled import tiling
from bascule.features.online.windows import Look, reading

# What is known of a view's row: its event time (µs), or why there is none.
NOT_FOUND, EXPIRED = -(2**63), -(2**63) + 1
# Fills a view's slots for one key (None: there is no key) at one time. What it gives is for rows alone; of windows a
# `Note` tells, when somebody asks.
Fill = Callable[[Snapshot, bytes | None, int, list[Any]], int]
Note = Callable[[Snapshot, bytes | None, int], int]


class OnlineReader:
    """Reads a feature set as of any time.

    Args:
        feature_set: as bound by `build_feature_set`.
        store: filled by `materialise`.

    Raises:
        NotFound: a view of the set was never materialised in the store.
    """

    def __init__(self, feature_set: FeatureSet, store: OnlineStore) -> None:
        self.feature_set = feature_set
        self._store = store
        self._digests = {v.name: definition_digest(v, feature_set.entity(v)) for v in feature_set.views}
        self._check_filled()
        inputs = expression_inputs(feature_set.columns, feature_set.views)
        slots = {name: given.slot for name, given in inputs.items()}
        self._blank: list[Any] = [None] * len(slots)
        self._columns = [
            (slots[name], name, converter(column_type), column_type)
            for name, column_type in feature_set.columns.items()
            if name in slots and name != feature_set.prediction_time
        ]
        compiled = compile_request(feature_set)
        self._clock = self._clock_for(slots, [n for e in compiled.values() for n in e.names])
        self._keys, places = self._key_encoders(slots)
        self._views = [
            (places[view.entity], self._fill_for(view, slots[f"{view.name}.{next(iter(output_types(view)))}"]))
            for view in feature_set.views
        ]
        notes = [self._note_for(view) if view.windows else None for view in feature_set.views]
        self._noting = list(zip(self._views, notes, strict=True))
        named = {name: slots[name] for name in feature_set.columns if name in slots}
        for view in feature_set.views:
            named |= {f"{view.name}{SEPARATOR}{f}": slots[f"{view.name}.{f}"] for f in output_types(view)}
        self._given = _given(
            [compiled[feature].run if feature in compiled else named[feature] for feature in feature_set.features]
        )

    def read(self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> list[list[Any]]:
        """Return each row's feature values, in the order of `feature_set.features`.

        Args:
            rows: what requests bring, by column: entity keys and request columns; what is missing is null. The column
                of the prediction time is taken from `at`.
            at: for each row, as of when (µs since 1970 UTC).

        Returns:
            Values as in `training_rows` at that time: int, float, str, bool, date, datetime (with zone where the column
            has one) or None. All of one call are from one state of the store.

        Raises:
            InputError: a value of another type than its column, with row and column named.
        """
        with self._store.snapshot() as snapshot:
            return snapshot.gather(
                lambda: [self._read_row(snapshot, place, row, at[place]) for place, row in enumerate(rows)]
            )

    def read_noted(
        self, rows: Sequence[Mapping[str, Any]], at: Sequence[int]
    ) -> tuple[list[list[Any]], list[list[int]]]:
        """As `read`, and for each row and view the time of the newest event (µs), `NOT_FOUND` or `EXPIRED`."""
        with self._store.snapshot() as snapshot:
            return snapshot.gather(lambda: self._noted(snapshot, rows, at))

    def freshness(self) -> dict[str, int | None]:
        """For each view, until when (µs) rows that became known are in the store; None for reference tables."""
        with self._store.snapshot() as snapshot:
            found = {name: snapshot.view(digest) for name, digest in self._digests.items()}
        return {name: record.through if record else None for name, record in found.items()}

    def _read_row(self, snapshot: Snapshot, place: int, row: Mapping[str, Any], at: int) -> list[Any]:
        values, keys = self._brought(place, row, at)
        for entity, fill in self._views:
            fill(snapshot, keys[entity], at, values)
        return self._given(values)

    def _noted(
        self, snapshot: Snapshot, rows: Sequence[Mapping[str, Any]], at: Sequence[int]
    ) -> tuple[list[list[Any]], list[list[int]]]:
        found, noted = [], []
        views = self._noting
        for place, row in enumerate(rows):
            values, keys = self._brought(place, row, at[place])
            told = []
            for (entity, fill), note in views:
                said = fill(snapshot, keys[entity], at[place], values)
                told.append(said if note is None else note(snapshot, keys[entity], at[place]))
            found.append(self._given(values))
            noted.append(told)
        return found, noted

    def _brought(self, place: int, row: Mapping[str, Any], at: int) -> tuple[list[Any], list[bytes | None]]:
        """The slots with what a request brings, and the encoded key of each entity."""
        values = self._blank.copy()
        for slot, name, convert, column_type in self._columns:
            value = row.get(name)
            try:
                values[slot] = convert(value)
            except Refused:
                raise refusal(place, name, column_type, value) from None
        if self._clock is not None:
            slot, now = self._clock
            values[slot] = now(at)
        return values, [encode([values[slot] for slot in slots]) for encode, slots in self._keys]

    def _check_filled(self) -> None:
        with self._store.snapshot() as snapshot:
            for name, digest in self._digests.items():
                if snapshot.view(digest) is None:
                    known = [record.view for record in snapshot.views()]
                    raise NotFound(
                        "materialised feature view",
                        name,
                        known,
                        hint=f"Materialise feature set {self.feature_set.name!r} into this store first; "
                        "a changed definition counts as a new one.",
                    )

    def _clock_for(self, slots: Mapping[str, int], used: Sequence[str]) -> tuple[int, Callable[[int], Any]] | None:
        name = self.feature_set.prediction_time
        if name not in used and name not in self.feature_set.features:
            return None
        return slots[name], at_time(self.feature_set.columns[name])

    def _key_encoders(self, slots: Mapping[str, int]) -> tuple[list[tuple[Any, list[int]]], dict[str, int]]:
        encoders: list[tuple[Any, list[int]]] = []
        places: dict[str, int] = {}
        for view in self.feature_set.views:
            entity = self.feature_set.entity(view)
            if entity.name not in places:
                places[entity.name] = len(encoders)
                types = [view.types[key] for key in entity.keys]
                encoders.append((encoder(types), [slots[key] for key in entity.keys]))
        return encoders, places

    def _fill_for(self, view: FeatureView, first: int) -> Fill:
        digest = self._digests[view.name]
        if not view.windows:
            return _rows(view, self._store.track(digest, "rows"), first)
        order = {name: place for place, name in enumerate(output_types(view))}
        read = reading if view.hop_us is None else tiling
        names, look = read(view, lambda part: self._store.track(digest, part))
        slots = [first + order[name] for name in names]
        counts = {name: a for name, a in view.parsed.items() if a.function in COUNTS}
        empty = {output: 0 for name, a in counts.items() for w in view.windows for output in a.outputs(name, w)}
        return _windows(look, slots, {first + order[name]: value for name, value in empty.items()})

    def _note_for(self, view: FeatureView) -> Note:
        part = "tiles" if view.hop_us is not None else "running" if subtracts(view) else "events"
        track, hop = self._store.track(self._digests[view.name], part), view.hop_us or 1

        def note(snapshot: Snapshot, key: bytes | None, at: int) -> int:
            at = at // hop * hop  # of tiles, the last whole one
            found = None if key is None else snapshot.newest_time(track + key, at - 1)
            return NOT_FOUND if found is None else found

        return note


def _given(outputs: Sequence[int | Callable[[Sequence[Any]], Any]]) -> Callable[[list[Any]], list[Any]]:
    """A function from the slots to the features: places of slots, or what computes from them."""
    slots = [one for one in outputs if isinstance(one, int)]
    if len(slots) == len(outputs) > 1:
        if slots == list(range(slots[0], slots[0] + len(slots))):
            part = slice(slots[0], slots[0] + len(slots))
            return lambda values: values[part]
        pick = itemgetter(*slots)
        return lambda values: list(pick(values))
    run = [itemgetter(one) if isinstance(one, int) else one for one in outputs]
    return lambda values: [one(values) for one in run]


def _rows(view: FeatureView, track: bytes, first: int) -> Fill:
    decode = msgspec.msgpack.Decoder(list[Any]).decode
    last, ttl = first + len(view.fields), view.ttl_us
    changes = [(first + n, stored(view.types[field])) for n, field in enumerate(view.fields)]
    restored = [(slot, change) for slot, change in changes if change is not None]

    def fill(snapshot: Snapshot, key: bytes | None, at: int, values: list[Any]) -> int:
        found = None if key is None else snapshot.newest(track + key, at)
        if found is None:
            return NOT_FOUND
        entry = decode(found)
        event: int = entry[0]
        if ttl is not None and event < at - ttl:
            return EXPIRED
        values[first:last] = entry[1:]
        for slot, change in restored:
            values[slot] = change(values[slot])
        return event

    return fill


def _windows(look: Look, slots: Sequence[int], empty: Mapping[int, int]) -> Fill:
    def fill(snapshot: Snapshot, key: bytes | None, at: int, values: list[Any]) -> int:
        if key is None:
            for slot, value in empty.items():
                values[slot] = value
            return NOT_FOUND
        for slot, value in zip(slots, look(snapshot, key, at), strict=True):
            values[slot] = value
        return 0

    return fill
