"""From `[stream.TABLE]` and the views that count it to the parts of the features room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bascule.durations import parse_duration
from bascule.errors import InputError, NotFound
from bascule.features import FeatureView, OnlineStore, bind_view, open_online
from bascule.features.definitions import Entity
from bascule.features.streams.applying import TiledView, opened
from bascule.features.streams.consuming import Stream
from bascule.features.streams.events import EventType
from bascule.features.streams.log import EventLog
from bascule.features.streams.rowwise import check_rowwise
from bascule.features.streams.sources import GrowingFile, StreamSource, Topic
from bascule.history import Workspace
from bascule.lake.origins.origin import resolved
from bascule.project.definitions import entities, view_tables, views
from bascule.project.file import ProjectFile
from bascule.project.sections import Stream as Settings
from bascule.project.streaming.following import CHANGES, PREFIX, FollowedTable
from bascule.project.streaming.landing import LakeLanding

FOLDER = "streams"
PUSH = "push"


def open_stream(
    project: ProjectFile, workspace: Workspace, name: str, branch: str, say: Callable[[str], None] = lambda text: None
) -> Stream:
    """Put one stream of a project together, on a branch.

    Raises:
        NotFound: the project has no such stream.
        InputError: a view of it needs more than one event at a time, or its SQL does not fit the events.
    """
    settings = settings_of(project, name)
    events = EventType(name, settings.columns, settings.time)
    log = log_of(workspace, settings, name, branch)
    landing = LakeLanding(workspace, project, name, settings, branch)
    log.begin_at(landing.offsets())
    lateness = parse_duration(settings.lateness)
    store = online_store(workspace, branch)
    tiled = [TiledView(view, entity, store, name, lateness) for view, entity in streamed_views(project, name, events)]
    source = _source(project, workspace, settings, name, branch, events)
    return Stream(name, log, source, tiled, landing, land_every=parse_duration(settings.land) / 1e6)


def settings_of(project: ProjectFile, name: str) -> Settings:
    """Return a stream's settings. Raises `NotFound`."""
    if name not in project.stream:
        raise NotFound("stream", name, list(project.stream))
    return project.stream[name]


def log_of(workspace: Workspace, settings: Settings, name: str, branch: str) -> EventLog:
    """The log of a stream on a branch."""
    return EventLog(
        folder_of(workspace, name, branch),
        EventType(name, settings.columns, settings.time),
        lateness=parse_duration(settings.lateness),
        ahead=parse_duration(settings.ahead),
    )


def folder_of(workspace: Workspace, name: str, branch: str) -> Path:
    """Where the log of a stream on a branch is: names of branches hold signs that names of folders do not."""
    from urllib.parse import quote

    return workspace.folder / FOLDER / quote(workspace.namespace(branch), safe="") / quote(name, safe="")


def online_store(workspace: Workspace, branch: str) -> OnlineStore:
    """The online store of a branch."""
    return open_online(workspace.online, workspace.namespace(branch))


def streamed_views(project: ProjectFile, name: str, events: EventType) -> list[tuple[FeatureView, Entity]]:
    """Return the views that count a stream, bound to what its events are.

    Raises:
        InputError: a view needs more than one event at a time, reads another table, or does not fit the events.
    """
    about = {entity.name: entity for entity in entities(project)}
    found = []
    for view in views(project):
        if view.hop_us is None:
            continue
        read = view_tables(project, view.name)
        if name not in read:
            if not set(read) & set(project.stream):
                hint = f"Streams: {', '.join(project.stream)}. Without hop, bascule run computes it."
                told = f"[features.{view.name}] hop: it reads {', '.join(read)}, which is no stream."
                raise InputError(told, hint=hint)
            continue
        check_rowwise(view, name)
        with opened() as connection:
            connection.register("__events", events.schema.empty_table())
            schema, _, table = name.rpartition(".")
            if schema:
                connection.execute(f'CREATE SCHEMA "{schema}"')
            place = f'"{schema}"."{table}"' if schema else f'"{table}"'
            connection.execute(f"CREATE VIEW {place} AS SELECT * FROM __events")
            found.append((bind_view(connection, view, about[view.entity]), about[view.entity]))
    return found


def _source(
    project: ProjectFile, workspace: Workspace, settings: Settings, name: str, branch: str, events: EventType
) -> StreamSource | None:
    path = settings.path
    if path == PUSH:
        return None
    if path.startswith(PREFIX):
        changes = settings.options.get("changes", CHANGES[0])
        table = path.removeprefix(PREFIX)
        return FollowedTable(events, workspace, branch, table, begin=settings.begin, changes=changes)
    if path.startswith("kafka://"):
        return Topic(events, resolved(path), settings.options, settings.begin)
    if "://" in path:
        raise InputError(
            f"[stream.{name}] path: {path.partition(':')[0]} is no source of events.",
            hint="Write kafka://HOST:PORT/TOPIC, table:NAME, a file that grows, or push.",
        )
    return GrowingFile(events, project.path(path))
