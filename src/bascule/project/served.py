"""Features of a branch in its online store, asked for by people: bringing them up to date, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec

from bascule.catalog import now
from bascule.errors import InputError, NotFound
from bascule.features import FeatureSet, bind_view, materialise, open_online
from bascule.features.definitions import entity_of
from bascule.features.materialising import MaterialiseReport
from bascule.features.online.inputs import read_key
from bascule.features.online.vectors import Vectors, keep_set
from bascule.project.computing import computed_set, computed_tables
from bascule.project.definitions import (
    definitions_read,
    entities,
    view_tables,
    views,
)
from bascule.project.file import ProjectFile
from bascule.project.place import Place
from bascule.project.tables import opened_for, views_without
from bascule.serving.features import FeatureServer

Progress = Callable[[str, int, int], None]


class Materialised(msgspec.Struct, frozen=True, kw_only=True):
    """What was brought up to date, view by view, and where.

    Attributes:
        streamed: the views that streams keep, which were left alone.
        left_out: the views, of all that were asked for, that read a table which is not there, and that table.
    """

    branch: str
    store: str
    views: MaterialiseReport
    streamed: tuple[str, ...] = ()
    left_out: dict[str, str] = {}


def service_views(project: ProjectFile) -> list[str]:
    """Return the views of the project's services that its model does not read."""
    known, read = project.views(), set()
    if project.training is not None and project.model is not None:
        read = {path.removeprefix("features/") for path in definitions_read(project)}
    named = {one.split(".")[0] for service in project.service.values() for one in service.features}
    return sorted(name for name in named if name in known and name not in read)


def views_tables(project: ProjectFile, names: Sequence[str]) -> list[str]:
    """Return the tables that some views read."""
    return sorted({table for name in names for table in view_tables(project, name)})


def views_set(project: ProjectFile, connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> FeatureSet:
    """Return some views, bound to the types that their queries give: what a store needs to hold them.

    Raises:
        InputError: a view's SQL cannot be run, or lacks a column that it names.
    """
    known, about = {view.name: view for view in views(project)}, entities(project)
    bound = tuple(bind_view(connection, known[name], entity_of(known[name], about)) for name in names)
    used = {view.entity for view in bound}
    return FeatureSet(
        name=project.project.name,
        entities=tuple(entity for entity in about if entity.name in used),
        views=bound,
        request=None,
        columns={},
        features=(),
        types={},
        prediction_time="",
    )


def materialise_features(
    place: Place,
    names: Sequence[str] = (),
    *,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> Materialised:
    """Bring the branch's online store up to its tables; `OpenProject.materialise` says more."""
    project = place.file
    known, asked = project.views(), _views(project, names)
    streamed = tuple(name for name in asked if known[name].hop is not None)
    chosen = [name for name in asked if name not in streamed]
    left_out = {} if names else views_without(project, place.workspace, place.branch, chosen)
    chosen = [name for name in chosen if name not in left_out]
    first, last = moment_of(since, "since"), moment_of(until, "until")
    if first is not None and full:
        raise InputError("A full run writes all of a view, not what begins at a time.", hint="Leave out one of them.")
    if first is not None and last is not None and last < first:
        raise InputError(f"until ({until}) is before since ({since}).", hint="Turn them around.")
    tables = sorted({*views_tables(project, chosen), *computed_tables(project)})
    store = open_online(place.workspace.online, place.workspace.namespace(place.branch))
    with opened_for(project, place.workspace, place.branch, tables) as connection:
        wanted = views_set(project, connection, chosen)
        noted = computed_set(project, connection)
        report = materialise(connection, wanted, store, last, progress, since=first, full=full)
        if noted is not None:
            keep_set(store, noted)
    return Materialised(branch=place.branch, store=_shown(place), views=report, streamed=streamed, left_out=left_out)


def get_online_features(
    place: Place,
    features: Sequence[str] | str,
    entity_rows: Sequence[Mapping[str, Any] | str] | Mapping[str, Sequence[Any]],
    *,
    at: str | datetime | None = None,
    full_feature_names: bool = False,
) -> Vectors:
    """Read features of the branch from its online store; `OpenProject.get_online_features` says more."""
    asked = [features] if isinstance(features, str) else list(features)
    moment = moment_of(at, "at")
    server = FeatureServer(place.workspace)
    try:
        reader = server.reader(place.branch, asked, full_feature_names)
    except NotFound as missing:
        raise _undefined(place, missing) from None
    columns = _columns(entity_rows, reader.feature_set.columns)
    return reader.read(columns, now() if moment is None else moment)


def _undefined(place: Place, missing: NotFound) -> NotFound:
    """Say of a service or a view that the project file has, and the branch has not, how it gets there."""
    project, name = place.file, missing.name
    for path, known in (("services", project.service), ("features", project.views())):
        if name in known and place.workspace.history.read(place.branch, f"{path}/{name}") is None:
            streamed = path == "features" and project.views()[name].hop is not None
            way = "bascule stream run, or bascule up" if streamed else "bascule run"
            hint = f"The project file has it, and branch {place.branch!r} does not yet. Run: {way}"
            return NotFound(missing.kind, name, hint=hint)
    return missing


def _columns(
    given: Sequence[Mapping[str, Any] | str] | Mapping[str, Sequence[Any]], types: Mapping[str, str]
) -> dict[str, list[Any]]:
    if isinstance(given, Mapping):
        return {name: list(values) for name, values in given.items()}
    rows = [_read_row(row, types) if isinstance(row, str) else row for row in given]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _read_row(text: str, types: Mapping[str, str]) -> dict[str, Any]:
    """Read `user_id=1,shop=a`."""
    row: dict[str, Any] = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        if not found:
            raise InputError(f"{text!r} names no entity.", hint="Write KEY=VALUE, or KEY=VALUE,KEY=VALUE.")
        read = read_key(types.get(name, "VARCHAR"), value)
        row[name] = value if read is None else read
    return row


def _views(project: ProjectFile, names: Sequence[str]) -> list[str]:
    """Views by name, and those of services; all of the project's by default."""
    known, found = project.views(), []
    for name in names:
        service = name.removeprefix("service:").partition("@")[0]
        if name in known:
            found.append(name)
        elif service in project.service:
            found += [one.split(".")[0] for one in project.service[service].features]
        else:
            raise NotFound("feature view or service", name, [*known, *project.service])
    if not names:
        found = list(known)
    if not found:
        raise InputError("The project has no feature views.", hint="Write [features.NAME] into bascule.toml.")
    return [name for name in dict.fromkeys(found) if name in known]


def moment_of(given: str | datetime | None, key: str) -> int | None:
    """Return a time as microseconds since 1970 UTC. Raises `InputError` that names the key."""
    if given is None:
        return None
    try:
        found = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except ValueError:
        hint = "Write it as 2013-07-01 or 2013-07-01T14:00:00Z."
        raise InputError(f"{key} is {given!r}, which is not a time.", hint=hint) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def _shown(place: Place) -> str:
    location = str(place.workspace.online)
    scheme, found, rest = location.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else location
