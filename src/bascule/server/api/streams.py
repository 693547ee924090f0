"""Streams over HTTP: events that are sent, and how each stream is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import Busy, NotFound
from bascule.history import Workspace
from bascule.project.file import FILE_NAME, ProjectFile, load_project
from bascule.project.streaming.pushing import StreamPush, push_events
from bascule.project.streaming.status import StreamInfo, info_of
from bascule.server.answers import Refused
from bascule.server.api.history import BASE
from bascule.server.api.sending import ROWS_BYTES, sent_as
from bascule.server.reads import history
from bascule.server.routes import Call, Route


class BranchQuery(msgspec.Struct, frozen=True):
    """On which branch."""

    branch: str = "main"


def list_streams(call: Call[BranchQuery, None]) -> list[StreamInfo]:
    """The project's streams: how far behind, how fresh, what was set aside, what is waited for."""
    branch, project = history.demand_branch(call.workspace, call.query.branch), project_of(call)
    return [info_of(project, call.workspace, name, branch) for name in project.stream]


def push(call: Call[BranchQuery, bytes]) -> StreamPush:
    """Send events: JSON objects or Arrow IPC. The answer says that they are durable; one Idempotency-Key, once."""
    kind, once = sent_as(call)
    branch = history.demand_branch(call.workspace, call.query.branch)
    try:
        return push_events(
            project_of(call), call.workspace, call.path["stream"], call.body, kind, branch=branch, once=once
        )
    except Busy as error:
        raise Refused(503, error, {"retry-after": "5"}) from None


def project_of(call: Call[Any, Any]) -> ProjectFile:
    """The project beside the workspace, read again when it changed. Raises `NotFound` where there is none."""
    folder = call.request.scope["bascule.context"].folder or _beside(call.workspace)
    path = folder / FILE_NAME
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise NotFound("project file", FILE_NAME, hint="Streams are declared in the project's bascule.toml.") from None


def _beside(workspace: Workspace) -> Path:
    return workspace.folder.parent


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> ProjectFile:
    """The project file, read again when it changed."""
    return load_project(path)


ROUTES = [
    Route("GET", f"{BASE}/streams", list_streams, "read"),
    Route("POST", f"{BASE}/streams/{{stream}}/events", push, "write", max_body=ROWS_BYTES),
]
