"""Reading a feature set for rows of a request, each as of its own moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bascule.errors import InputError, NotFound
from bascule.features.definitions import FeatureSet, FeatureView, definition_digest
from bascule.features.expressions import Input, compile_expression
from bascule.features.online.store import Lookup, OnlineStore, entity_key
from bascule.features.online.values import decode_row, difference, layout, restored

Row = Mapping[str, Any]
Fill = Callable[[list[Any], Row, int, Lookup], None]


class OnlineReader:
    """Reads the features of a set. All that can be prepared is prepared when it is made.

    Args:
        features: what to read.
        store: where from.

    Raises:
        NotFound: the store lacks a view of the set: it was not materialised on this branch.
        InputError: a view has an aggregate that the store cannot answer.
    """

    def __init__(self, features: FeatureSet, store: OnlineStore) -> None:
        self.features = features
        self.store = store
        self._views: list[tuple[str, Fill]] = []
        slots: dict[str, int] = {name: at for at, name in enumerate(features.columns)}
        self._columns = list(features.columns)
        for view in features.views:
            digest = definition_digest(view, features.entity(view))
            if store.version(digest) is None:
                raise NotFound("materialised view", view.name, hint="Fill the online store with: bascule run")
            first = len(slots)
            for field in view.outputs:
                slots[f"{view.name}.{field}"] = len(slots)
            keys = features.entity(view).keys
            self._views.append((digest, _window(view, keys, first) if view.windows else _row(view, keys, first)))
        self._width = len(slots)
        self._outputs = _outputs(features, slots)

    def read(self, rows: Sequence[Row], at: Sequence[int]) -> list[list[Any]]:
        """Return the features of each row, in the order of `features.features`.

        Args:
            rows: the request columns by name; what is not there is null.
            at: the moment of each row, microseconds since 1970 UTC.
        """
        with ExitStack() as stack:
            views = [(stack.enter_context(self.store.reading(digest)), fill) for digest, fill in self._views]
            found = []
            for row, moment in zip(rows, at, strict=True):
                slots: list[Any] = [row.get(name) for name in self._columns]
                slots += [None] * (self._width - len(slots))
                for lookup, fill in views:
                    fill(slots, row, moment, lookup)
                found.append([output(slots) for output in self._outputs])
        return found


def _row(view: FeatureView, keys: tuple[str, ...], first: int) -> Fill:
    timeless, ttl = view.event_time is None, view.ttl_us
    restore = [(at, made) for at, field in enumerate(view.fields) if (made := restored(view.types[field]))]

    def fill(slots: list[Any], row: Row, moment: int, lookup: Lookup) -> None:
        values = [row.get(key) for key in keys]
        if None in values:
            return
        found = lookup(entity_key(values), 0 if timeless else moment)
        if found is None:
            return
        at, *fields = decode_row(found)
        if ttl is not None and moment - at > ttl:
            return
        for place, made in restore:
            fields[place] = made(fields[place])
        slots[first : first + len(fields)] = fields

    return fill


def _window(view: FeatureView, keys: tuple[str, ...], first: int) -> Fill:
    unpack = layout(view).unpack
    nothing = (0.0,) * (layout(view).size // 8)
    lengths = list(view.lengths.values())
    parsed = view.parsed
    extreme = next((name for name, aggregate in parsed.items() if not _subtractable(aggregate.function)), None)
    if extreme is not None:
        raise InputError(
            f"[features.{view.name}] aggregates.{extreme}: {parsed[extreme].function} over a window is not served.",
            hint="Use count, sum or mean in features that are served.",
        )
    takes = [difference(aggregate, view) for aggregate in parsed.values()]

    def fill(slots: list[Any], row: Row, moment: int, lookup: Lookup) -> None:
        values = [row.get(key) for key in keys]
        if None in values:
            found = None
        else:
            key = entity_key(values)
            found = lookup(key, moment - 1)
        end = unpack(found) if found is not None else nothing
        place = first
        if found is None:
            begins = [nothing] * len(lengths)
        else:
            begins = [unpack(b) if (b := lookup(key, moment - w - 1)) is not None else nothing for w in lengths]
        for take in takes:
            for begin in begins:
                slots[place] = take(end, begin)
                place += 1

    return fill


def _subtractable(function: str) -> bool:
    return function in ("count", "sum", "mean")


def _outputs(features: FeatureSet, slots: Mapping[str, int]) -> list[Callable[[list[Any]], Any]]:
    inputs = {name: Input(_type(features, name), at, "NULL") for name, at in slots.items()}
    made: dict[str, Callable[[list[Any]], Any]] = {}
    for view in features.views:
        for field in view.outputs:
            made[f"{view.name}__{field}"] = _slot(slots[f"{view.name}.{field}"])
    if features.request is not None:
        for name, text in features.request.expressions.items():
            where = f"[features.{features.request.name}] expressions.{name}"
            made[f"{features.request.name}__{name}"] = compile_expression(text, inputs, where).run
    return [made[name] if name in made else _slot(slots[name]) for name in features.features]


def _slot(at: int) -> Callable[[list[Any]], Any]:
    return lambda slots: slots[at]


def _type(features: FeatureSet, name: str) -> str:
    return features.columns.get(name) or features.types[name.replace(".", "__", 1)]
