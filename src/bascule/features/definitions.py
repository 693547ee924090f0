"""Entities, feature views and feature sets: immutable, validated, and plain JSON both ways.

    Entity        what features are about, and the columns that name one: carrier, or route (origin, dest)
    FeatureView   one SQL query whose rows become features: rows over time (event_time), aggregates over
                  past windows (windows + aggregates), or a reference table (neither)
    RequestView   scalar SQL expressions over what a request brings and what views say, computed when asked
    FeatureSet    all that a model needs to read its features, offline and online

`msgspec.to_builtins(x)` is the object that the history keeps (with its `kind`); `msgspec.convert(object, type)` reads
it back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from bascule.durations import format_duration, parse_duration
from bascule.errors import InputError, NotFound, suggestion
from bascule.features.aggregates import Aggregate, parse_aggregate
from bascule.store import digest_of

_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
SEPARATOR = "__"
LONGEST_WINDOW = 10_000 * 366 * 86_400_000_000  # µs; ends and buckets of such windows are still 64 bits
KEPT_OF_WINDOWS = KEPT_OF_TILES = 2  # each goes up when stores keep them in another form
T = TypeVar("T", "Entity", "FeatureView")


class Entity(msgspec.Struct, frozen=True, tag_field="kind", tag="entity"):
    """What features are about. `keys` are the columns that name one, in views and in requests alike."""

    name: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        where = f"[entity.{self.name}]"
        check_name(self.name, "entity")
        if not self.keys:
            raise InputError(f"{where} keys: an entity needs at least one key column.", hint='Write keys = ["COLUMN"].')
        check_unique(self.keys, f"{where} keys")


class FeatureView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="feature_view"):
    """A query whose rows become features of an entity.

    Attributes:
        sql: one SELECT; it gives the entity's key columns, the time columns and the fields.
        event_time: column that says from when on a row holds. None: a reference table, one row a key, always valid.
        known_time: column that says when a row became known; it counts only from then on.
        ttl_us: how long a row holds after its event time, in microseconds, both ends included. None: until the next.
        fields: columns that are features; empty means all but keys and times, and is filled when the view is bound.
        windows: lengths of time such as `6h`; each aggregate is computed over [t - window, t).
        aggregates: name to `mean(late)`, `count(*)`...; the feature is `NAME_WINDOW`, or `NAME_WINDOW_1` and so on.
        hop_us: the length of a tile, in microseconds: windows end at the last multiple of it, and not at t. Such a view
            is kept up to date from a stream; see `features/streams`.
        types: column to DuckDB type, of keys, times, fields and aggregated columns; filled when the view is bound.
    """

    name: str
    entity: str
    sql: str
    event_time: str | None = None
    known_time: str | None = None
    ttl_us: int | None = None
    fields: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    aggregates: dict[str, str] = {}
    hop_us: int | None = None
    types: dict[str, str] = {}

    def __post_init__(self) -> None:
        where = f"[features.{self.name}]"
        check_name(self.name, "feature view")
        if not self.sql.strip():
            raise InputError(f"{where} sql: the query is empty.", hint="Write one SELECT with keys and features.")
        if self.event_time is None:
            self._check_reference(where)
        if self.ttl_us is not None and self.ttl_us <= 0:
            raise InputError(f"{where} ttl: {self.ttl_us} µs is no time at all.", hint="Leave it out for no limit.")
        check_unique(self.fields, f"{where} fields")
        if self.hop_us is not None and not self.windows:
            raise InputError(
                f"{where} hop means nothing without windows.", hint='Write windows = ["1h"], or remove it.'
            )
        if self.windows or self.aggregates:
            self._check_windows(where)

    def _check_reference(self, where: str) -> None:
        for key, given in (("known_time", self.known_time), ("ttl", self.ttl_us), ("windows", self.windows)):
            if given:
                hint = 'Say from when on a row holds: event_time = "COLUMN".'
                raise InputError(f"{where} {key} needs event_time.", hint=hint)

    def _check_windows(self, where: str) -> None:
        if not self.windows or not self.aggregates:
            found, missing = ("windows", "aggregates") if self.windows else ("aggregates", "windows")
            raise InputError(f"{where} has {found} but no {missing}.", hint=f"Add {missing}, or remove {found}.")
        if self.ttl_us is not None or self.fields:
            key = "ttl" if self.ttl_us is not None else "fields"
            raise InputError(f"{where} {key} has no meaning for window aggregates.", hint=f"Remove {key}.")
        check_unique([_window(window, f"{where} windows") for window in self.windows], f"{where} windows")
        for name, text in self.aggregates.items():
            parse_aggregate(text, f"{where} aggregates.{name}")
        check_unique(self.outputs, f"{where} aggregates")
        if self.hop_us is not None:
            self._check_hop(self.hop_us, where)

    def _check_hop(self, hop: int, where: str) -> None:
        if self.known_time is not None:
            hint = "Remove one of them: a tile counts an event from when it came."
            raise InputError(f"{where} hop and known_time do not go together.", hint=hint)
        odd = next((window for window, length in self.lengths.items() if length % hop), None)
        if odd is not None:
            raise InputError(
                f"{where} hop: the window {odd} is no multiple of {format_duration(hop)}.",
                hint="Take a hop that divides every window, such as 1m for 5m, 1h and 1d.",
            )

    @property
    def parsed(self) -> dict[str, Aggregate]:
        """The aggregates, read."""
        return {name: parse_aggregate(text, self.name) for name, text in self.aggregates.items()}

    @property
    def lengths(self) -> dict[str, int]:
        """Window text to microseconds."""
        return {window: parse_duration(window) for window in self.windows}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what the view gives, without its own name: fields, or `late_6h`, `late_1d`, ..."""
        if self.windows:
            return tuple(n for name, a in self.parsed.items() for w in self.windows for n in a.outputs(name, w))
        return self.fields


class RequestView(msgspec.Struct, frozen=True, tag_field="kind", tag="request_view"):
    """Features computed when asked: name to a scalar SQL expression over request columns and `view.field`."""

    name: str
    expressions: dict[str, str]

    def __post_init__(self) -> None:
        check_name(self.name, "request view")


class FeatureSet(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="feature_set"):
    """All that training and serving need to read features, bound to types by `build_feature_set`.

    Attributes:
        columns: what a request brings: column to DuckDB type (keys, own features, inputs of expressions, the
            prediction time).
        features: the ordered names of the model's inputs: `view__field`, `request__name`, or a request column.
        types: feature to DuckDB type.
        prediction_time: the request column that says as of when features are read; empty when nothing has a time.
    """

    name: str
    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    request: RequestView | None
    columns: dict[str, str]
    features: tuple[str, ...]
    types: dict[str, str]
    prediction_time: str

    def __post_init__(self) -> None:
        check_unique([entity.name for entity in self.entities], "entities")
        names = [view.name for view in self.views] + ([self.request.name] if self.request else [])
        check_unique(names, "feature views")
        check_unique(self.features, "features")
        for view in self.views:
            self.entity(view)

    def entity(self, view: FeatureView) -> Entity:
        """The entity of a view. Raises `InputError` when there is none of that name."""
        return entity_of(view, self.entities)

    def view(self, name: str) -> FeatureView:
        """A view by name. Raises `NotFound`."""
        return named(name, self.views, "feature view")


def entity_of(view: FeatureView, entities: tuple[Entity, ...]) -> Entity:
    """Return the entity a view is about. Raises `InputError` that names the view."""
    known = {entity.name: entity for entity in entities}
    if view.entity not in known:
        raise InputError(
            f"[features.{view.name}] entity: there is no entity named {view.entity!r}.",
            hint=suggestion(view.entity, sorted(known), "entity"),
        )
    return known[view.entity]


def named(name: str, items: tuple[T, ...], kind: str) -> T:
    """Return the item of a name. Raises `NotFound` with the nearest one."""
    for item in items:
        if item.name == name:
            return item
    raise NotFound(kind, name, [item.name for item in items])


def feature_view(name: str, settings: Mapping[str, Any]) -> FeatureView:
    """Make a view from a project file's section: like the attributes, but `ttl` and `hop` are texts such as `6h`.

    Raises:
        InputError: an unknown key (with the nearest right one), or a value that cannot be.
    """
    allowed = ("sql", "entity", "event_time", "known_time", "ttl", "fields", "windows", "aggregates", "hop")
    for key in settings:
        if key not in allowed:
            raise InputError(f"[features.{name}] {key}: there is no such key.", hint=suggestion(key, allowed, "key"))
    values = {key: value for key, value in settings.items() if key not in ("ttl", "hop")}
    for key in ("ttl", "hop"):
        if settings.get(key) is not None:
            values[f"{key}_us"] = _window(settings[key], f"[features.{name}] {key}")
    try:
        return msgspec.convert({"kind": "feature_view", "name": name, **values}, FeatureView)
    except msgspec.ValidationError as error:
        raise InputError(f"[features.{name}]: {error}.", hint="See docs/features.md for what a view may say.") from None


def definition_digest(view: FeatureView, entity: Entity) -> str:
    """The identity of what a view computes: BLAKE3 of its canonical JSON with the entity's keys.

    It changes when the query, the keys, the times, the types, the fields or the windows change. It does not with the
    time to live, which is applied when a value is read. What stores keep of windows has a number, so that a store of an
    older one is filled anew.
    """
    said = msgspec.to_builtins(msgspec.structs.replace(view, ttl_us=None))
    if view.windows:
        said["kept"] = KEPT_OF_WINDOWS if view.hop_us is None else KEPT_OF_TILES
    return digest_of(msgspec.json.encode({**said, "keys": entity.keys}, order="sorted"))


def check_name(name: str, kind: str) -> None:
    """Raise `InputError` unless a name is letters, digits and single underscores: `view__field` must be unambiguous."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a {kind}.",
            hint="Use letters, digits and single underscores, beginning with a letter.",
        )


def _window(text: str, where: str) -> int:
    """Return in microseconds how far back rows count; in whole numbers, because features are named by it."""
    length = parse_duration(text, key=where)
    if length == 0:
        raise InputError(f"{where}: {text!r} is no time at all.", hint="Leave the setting out to mean no limit.")
    if "." in text:
        raise InputError(f"{where} is {text!r}; it must have whole numbers.", hint="Write 1.5d as 1d12h.")
    if length > LONGEST_WINDOW:
        raise InputError(f"{where}: {text!r} is longer than 10,000 years.", hint='Write "3650000d" for all of history.')
    return length


def check_unique(names: Any, where: str) -> None:
    """Raise `InputError` when something is named twice."""
    seen = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where}: {name!r} is there twice.", hint="Remove or rename one of them.")
        seen.add(name)
