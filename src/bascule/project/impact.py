"""What a change of a column touches, and which features nobody needs: questions to the lineage of the branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import duckdb
import msgspec
from sqlalchemy import select

from bascule.catalog.schema import training_sets
from bascule.durations import parse_duration
from bascule.errors import BasculeError, InputError, NotFound
from bascule.features import Entity
from bascule.features.aggregates import parse_aggregate
from bascule.features.columns import describe
from bascule.features.definitions import SEPARATOR
from bascule.features.expressions import references
from bascule.features.lineage import Influence, influence, parts_of_query
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.project.definitions import read_by_query
from bascule.project.place import Place
from bascule.project.readers import readers
from bascule.project.tables import opened_tables
from bascule.project.viewing import SERVICES, VIEWS


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a change of a column touches.

    Attributes:
        kind: `feature`, `feature view` (when its SQL is not understood), `feature service`, `training set`, `model`,
            `deployment`, `contract` or `engine`.
        name: what it is called; of a feature `view.feature`.
        why: `is computed from it`, `its rows are chosen by it`, `its entities are named by it`, `its time is made from
            it`, `reads it`, or through what.
    """

    kind: str
    name: str
    why: str


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """Features that compute the same, under several names: `view.feature`, the first by name first."""

    features: tuple[str, ...]


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """One view of a branch with what its query gives."""

    name: str
    object: Object
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    def features(self) -> dict[str, str | None]:
        """Its features, without its name, with the column of the query that each is made from (None: of rows)."""
        view = self.object
        if view.get("windows"):
            parsed = {name: parse_aggregate(text, name) for name, text in view["aggregates"].items()}
            return {o: a.column for n, a in parsed.items() for w in view["windows"] for o in a.outputs(n, w)}
        named = (*self.keys, view.get("event_time"), view.get("known_time"))
        fields = view.get("fields") or [column for column in self.columns if column not in named]
        return {field: field for field in fields}


def impact(place: Place, column: str) -> list[Impact]:
    """Return what breaks when a column of a table changes, nearest first.

    Args:
        column: TABLE.COLUMN, or TABLE for any column of it.

    Raises:
        NotFound: the branch has no such table, or it has no such column.
    """
    return impact_at(place.workspace, place.branch, column)


def impact_at(workspace: Workspace, branch: str, column: str) -> list[Impact]:
    """Do what `impact` does for any state: a branch, a tag or a commit."""
    history = workspace.history
    entries = dict(history.entries(branch, VIEWS))
    with tables_of(workspace, branch) as tables:
        table, name = _split(column, tables)
        found = list(_features(views_of(workspace, branch, entries, tables), table, name, tables))
        found += _expressions(entries, {one.name: one for one in found})
        found += _services(dict(history.entries(branch, SERVICES)), {one.name for one in found})
        known = readers(workspace, lambda prefix: history.entries(branch, prefix), tables)
    others = [one for one in known if one.kind != "feature view" and one.uses(table, name)]
    return [*found, *(Impact(kind=one.kind, name=one.name, why="reads it") for one in others)]


def unused(place: Place) -> list[str]:
    """Return the features that no version of a model, no service and no expression that is used itself reads."""
    entries = dict(place.workspace.history.entries(place.branch, VIEWS))
    used = _used(place)
    with tables_of(place.workspace, place.branch) as tables:
        views = list(views_of(place.workspace, place.branch, entries, tables))
    every = [f"{view.name}.{feature}" for view in views for feature in view.features()]
    for path, view in entries.items():
        for feature, text in view.get("expressions", {}).items():
            own = f"{path.removeprefix(VIEWS)}.{feature}"
            every.append(own)
            if own in used or own.split(".")[0] in used:
                used |= set(references(text, own))
    derived = {name for view in views for name in _read_views(view)}
    return [one for one in every if not {one, one.split(".")[0]} & (used | derived)]


def duplicates(place: Place) -> list[Alike]:
    """Return the groups of features that have the same definition: the same column of the same query, or expression."""
    entries = dict(place.workspace.history.entries(place.branch, VIEWS))
    groups: dict[object, list[str]] = {}
    with tables_of(place.workspace, place.branch) as tables:
        for view in views_of(place.workspace, place.branch, entries, tables):
            for feature, column in view.features().items():
                said = _signature(view, feature, column)
                if said is not None:
                    groups.setdefault(said, []).append(f"{view.name}.{feature}")
    for path, request in entries.items():
        for feature, text in request.get("expressions", {}).items():
            groups.setdefault(" ".join(text.split()), []).append(f"{path.removeprefix(VIEWS)}.{feature}")
    return [Alike(features=tuple(sorted(group))) for group in groups.values() if len(group) > 1]


def _signature(view: _View, feature: str, column: str | None) -> object:
    """What a feature computes; None when its query is not understood."""
    sql, said = str(view.object["sql"]), view.object
    parts = [parts_of_query(sql, one) for one in (*view.keys, *filter(None, (said.get("event_time"), column)))]
    if None in parts:
        return None
    known = parts_of_query(sql, said["known_time"]) if said.get("known_time") else None
    how: object = said.get("ttl_us")
    for name, text in said.get("aggregates", {}).items():
        aggregate = parse_aggregate(text, name)
        for window in said.get("windows", ()):
            outputs = aggregate.outputs(name, window)
            if feature in outputs:
                # The first of several is what the aggregate gives alone.
                one = msgspec.structs.replace(aggregate, several=0)
                how = (one, parse_duration(window), outputs.index(feature))
    return (view.keys, tuple(parts), known, bool(said.get("event_time")), how)


class _Tables:
    """The tables of a branch: called with a name, it gives columns and types; none of what is not there."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
        self.connection = connection
        self.names = names
        self._held: dict[str, Mapping[str, str]] = {}

    def __call__(self, name: str) -> Mapping[str, str]:
        bare = name.replace('"', "")
        if bare not in self._held:
            place = ".".join(f'"{part}"' for part in bare.rsplit(".", 1))
            known = bare in self.names
            self._held[bare] = describe(self.connection, f"SELECT * FROM {place}", bare) if known else {}
        return self._held[bare]


@contextmanager
def tables_of(workspace: Workspace, branch: str) -> Iterator[_Tables]:
    """Open the tables of a state, whose columns can be asked for."""
    history = workspace.history
    names = [path.removeprefix("tables/") for path in history.digests(history.resolve(branch), "tables/")]
    with opened_tables(workspace, branch, names) as connection:
        yield _Tables(connection, names)


def _split(text: str, tables: _Tables) -> tuple[str, str | None]:
    """TABLE or TABLE.COLUMN, where a table may have a namespace, too."""
    if text in tables.names:
        return text, None
    table, dot, column = text.rpartition(".")
    if not dot or table not in tables.names:
        raise NotFound("table", table or text, tables.names, hint="Write TABLE.COLUMN, such as flights.arr_delay.")
    found = next((name for name in tables(table) if name.lower() == column.lower()), None)
    if found is None:
        raise NotFound(f"column of {table}", column, tables(table))
    return table, found


def views_of(workspace: Workspace, branch: str, entries: Mapping[str, Object], tables: _Tables) -> Iterator[_View]:
    """Return views of a state with what their queries give."""
    read = workspace.history.read
    for path, view in entries.items():
        if not view.get("sql"):
            continue
        entity = read(branch, f"entities/{view['entity']}")
        keys = msgspec.convert(entity, Entity).keys if entity else ()
        try:
            given = tuple(describe(tables.connection, str(view["sql"]), path))
        except InputError:  # a table or a column of it is not there any more
            given = ()
        yield _View(name=path.removeprefix(VIEWS), object=view, keys=keys, columns=given)


def _features(views: Iterator[_View], table: str, column: str | None, tables: _Tables) -> Iterator[Impact]:
    for view in views:
        found = influence(str(view.object["sql"]), tables)
        if found is None or not _mentions(found, table):
            if table in _tables(str(view.object["sql"])):
                yield Impact(kind="feature view", name=view.name, why="its SQL is not understood; it reads the table")
            continue

        def touched(read: frozenset[tuple[str, str]]) -> bool:
            return any(one.replace('"', "") == table and column in (None, name) for one, name in read)

        reason = ""
        times = [view.object.get("event_time"), view.object.get("known_time")]
        for named, why in ((times, "its time is made from it"), (view.keys, "its entities are named by it")):
            if any(touched(found.outputs.get(one.lower(), frozenset())) for one in named if one):
                reason = why
        if not reason and touched(found.rows):
            reason = "its rows are chosen by it"
        for feature, source in view.features().items():
            made = found.outputs.get((source or "").lower(), frozenset())
            why = "is computed from it" if touched(made) else reason
            if why:
                yield Impact(kind="feature", name=f"{view.name}.{feature}", why=why)


def _mentions(found: Influence, table: str) -> bool:
    """Whether any column of a table is said to be read; if none is of a table that is, nothing was understood."""
    return any(one.replace('"', "") == table for one, _ in found.rows.union(*found.outputs.values()))


def _tables(sql: str) -> frozenset[str]:
    try:
        return read_by_query(sql)
    except BasculeError:
        return frozenset()


def _expressions(entries: Mapping[str, Object], touched: Mapping[str, Impact]) -> list[Impact]:
    found = []
    for path, view in entries.items():
        for feature, text in view.get("expressions", {}).items():
            name = f"{path.removeprefix(VIEWS)}.{feature}"
            through = [one for one in references(text, name) if one in touched]
            if through:
                found.append(Impact(kind="feature", name=name, why=f"is computed from {', '.join(through)}"))
    return found


def _services(services: Mapping[str, Object], touched: set[str]) -> list[Impact]:
    found = []
    for path, service in services.items():
        wanted = set(service["features"])
        through = sorted(one for one in touched if one in wanted or one.split(".")[0] in wanted)
        if through:
            name = f"{path.removeprefix(SERVICES)}@{service['version']}"
            found.append(Impact(kind="feature service", name=name, why=f"gives {', '.join(through)}"))
    return found


def _used(place: Place) -> set[str]:
    """What is read: `view`, or `view.feature`. Of models all versions on the branch; and what the project trains on."""
    history = place.workspace.history
    used = {one for _, service in history.entries(place.branch, SERVICES) for one in service["features"]}
    if place.has_file and place.file.training is not None:
        used |= set(place.file.training.features)
    made = {
        version.get("training_set")
        for _, model in history.entries(place.branch, "models/")
        for version in model.get("versions", {}).values()
    }
    learned = learned_from(place.workspace, made)
    return used.union(*learned.values())


def learned_from(workspace: Workspace, made: Iterable[str | None]) -> dict[str, set[str]]:
    """Return the features, as `view.feature`, of some training sets by their ids."""
    with workspace.catalog.read() as conn:
        wanted = training_sets.c.id.in_(sorted(filter(None, made)))
        rows = conn.execute(select(training_sets.c.id, training_sets.c.spec_json).where(wanted)).all()
    found = {}
    for row in rows:
        features = (msgspec.json.decode(row.spec_json).get("feature_set") or {}).get("features", ())
        found[row.id] = {one.replace(SEPARATOR, ".", 1) for one in features if SEPARATOR in one}
    return found


def feature_specs(workspace: Workspace, ref: str) -> list[tuple[str, set[str]]]:
    """Return the newest version of each model of a state, as `delays@3`, with the features that it learned from."""
    newest = {}
    for path, model in workspace.history.entries(ref, "models/"):
        versions = model.get("versions") or {}
        if versions:
            number = max(map(int, versions))
            newest[f"{path.partition('/')[2]}@{number}"] = versions[str(number)].get("training_set")
    learned = learned_from(workspace, newest.values())
    return [(name, learned[made]) for name, made in newest.items() if made in learned]


def _read_views(view: _View) -> list[str]:
    """The views that a view's SQL reads as `features.NAME`."""
    return [part.split('"')[0] for part in str(view.object["sql"]).split('"features.')[1:]]
