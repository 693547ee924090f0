"""Artifacts of runs and models that hold a subject's values, in their contents or in their names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bascule.history import Workspace
from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.contents import Sought, looked_into
from bascule.project.erasing.values import without
from bascule.store import Place
from bascule.tracking.artifacts import FOLDER


def from_artifacts(request: Request, sought: Sought, unread: dict[str, str] | None = None) -> list[Forgotten]:
    """Take the subject out of artifacts: files as somebody sent them, of any format, and what they are called.

    Args:
        unread: gets those that could not be looked into, by their paths, with why.
    """
    count = 0
    for place in sorted(_files(request.workspace), key=str):
        before = place.read_bytes()
        after, why = looked_into(before, sought)
        named = _named(place, request.workspace, sought)
        if why and unread is not None:
            unread[str(named)[len(str(request.workspace.storage)) :].strip("/")] = why
        if after == before and named == place:
            continue
        count += 1
        if request.dry_run:
            continue
        if after != before:
            _write(request.workspace, place, after)
        if named != place:
            _move(place, named)
    return [Forgotten("artifacts", count)] if count else []


def _files(workspace: Workspace) -> Iterator[Place]:
    root: Place = workspace.storage / FOLDER
    if root.is_dir():
        yield from (place for place in root.rglob("*") if place.is_file())


def _named(place: Place, workspace: Workspace, sought: Sought) -> Place:
    """Return where the file lies when no part of its path holds a value; beside what lies there already."""
    root: Place = workspace.storage / FOLDER
    parts = str(place)[len(str(root)) :].strip("/").split("/")
    fresh = [without(part, sought.key) for part in parts] if sought.values else parts
    if fresh == parts:
        return place
    target = root
    for part in fresh:
        target = target / part
    count = 1
    while target.exists():
        count += 1
        target = target.parent / f"{fresh[-1]}-{count}"
    return target


def _move(place: Place, target: Place) -> None:
    if not isinstance(place, Path) or not isinstance(target, Path):
        target.write_bytes(place.read_bytes())
        place.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    place.replace(target)
    folder = place.parent
    while not any(folder.iterdir()):  # a folder that was called by the value
        folder.rmdir()
        folder = folder.parent


def _write(workspace: Workspace, place: Place, data: bytes) -> None:
    """Put the file in the old one's place, whole: killed on the way, the old one is there, and found again."""
    if not isinstance(place, Path):
        place.write_bytes(data)
        return
    fresh = workspace.temporary_folder / f"{secrets.token_hex(8)}.artifact"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with fresh.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    fresh.replace(place)
