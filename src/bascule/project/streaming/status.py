"""How streams are: how far behind, how fresh, what was set aside, what is waited for; and counting one anew."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from bascule.errors import NotFound
from bascule.features.streams.entries import LogState
from bascule.features.streams.log import EventLog
from bascule.project.file import ProjectFile
from bascule.project.place import Place
from bascule.project.streaming.assembling import log_of, open_stream, streamed_views

SILENT = 10_000_000  # a consumer that said nothing for so long (µs) does not run


class ViewLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a view's tiles are.

    Attributes:
        behind: entries of the log that they do not count yet; None before the first.
        rows: events that they count.
    """

    view: str
    behind: int | None
    rows: int


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stream on one branch.

    Attributes:
        running: whether a process consumes it now.
        events: how many were taken over since the log began.
        aside: how many were not, by why: unreadable, late, ahead.
        lag: what the source has and was not read: messages of a topic, bytes of a file.
        newest: the newest event time (µs since 1970 UTC); `age` how old that is now (µs).
        waiting: events that are durable and not in the table yet.
        rate: events a second, lately.
        problems: what is waited for, by part: source, lake, features.VIEW, room.
    """

    name: str
    branch: str
    path: str
    running: bool = False
    events: int = 0
    aside: dict[str, int] = {}
    lag: int | None = None
    newest: int | None = None
    age: int | None = None
    waiting: int = 0
    waiting_bytes: int = 0
    rate: float = 0.0
    problems: dict[str, str] = {}
    views: tuple[ViewLag, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def list_streams(place: Place) -> list[StreamInfo]:
    """Return the project's streams on the current branch."""
    return [info_of(place.file, place.workspace, name, place.branch) for name in place.file.stream]


def info_of(project: ProjectFile, workspace: Any, name: str, branch: str) -> StreamInfo:
    """Return how one stream is."""
    settings = project.stream[name]
    log = log_of(workspace, settings, name, branch)
    if not log.folder.exists():
        return StreamInfo(name=name, branch=branch, path=settings.path)
    state, told, now = log.state(), log.told(), time.time_ns() // 1000
    running = bool(told.get("running")) and now - int(told.get("at", 0)) < SILENT
    return StreamInfo(
        name=name,
        branch=branch,
        path=settings.path,
        running=running,
        events=state.events,
        aside=state.aside,
        lag=told.get("lag"),
        newest=state.watermark,
        age=None if state.watermark is None else now - state.watermark,
        waiting=state.waiting_rows,
        waiting_bytes=state.waiting_bytes,
        rate=float(told.get("rate", 0.0)) if running else 0.0,
        problems=dict(told.get("problems", {})),
        views=_lags(project, workspace, name, branch, log, state),
    )


def _lags(
    project: ProjectFile, workspace: Any, name: str, branch: str, log: EventLog, state: LogState
) -> tuple[ViewLag, ...]:
    from bascule.features import definition_digest
    from bascule.project.streaming.assembling import online_store

    found = []
    with online_store(workspace, branch).snapshot() as snapshot:
        for view, entity in streamed_views(project, name, log.events):
            record = snapshot.view(definition_digest(view, entity))
            place = None
            if record is not None and record.version.startswith(f"{state.id}:"):
                place = int(record.version.rpartition(":")[2])
            behind = None if place is None else state.last - place
            found.append(ViewLag(view=view.name, behind=behind, rows=record.rows if record else 0))
    return tuple(found)


def replay_stream(place: Place, name: str, view: str | None = None) -> list[ViewLag]:
    """Count the views of a stream anew: from the table's history, and what is not in it yet. Readers see old or new.

    It may be done while the stream is consumed.

    Args:
        view: only this one.

    Raises:
        NotFound: the project has no such stream, or the stream no such view.
    """
    stream = open_stream(place.file, place.workspace, name, place.branch)
    known = [one.view.name for one in stream.views]
    if view is not None and view not in known:
        raise NotFound("streamed view", view, known)
    state = stream.log.state()
    for one in stream.views:
        if view in (None, one.view.name):
            with stream.landing.table(state.id) as now:
                one.fill(now.connection, now.source, state.id, now.through, state.watermark)
    from bascule.features.streams.consuming import Consumer

    consumer = Consumer(stream)
    try:
        consumer.count()
    finally:
        consumer.close()
    return [one for one in info_of(place.file, place.workspace, name, place.branch).views if view in (None, one.view)]
