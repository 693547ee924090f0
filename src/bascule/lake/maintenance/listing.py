"""What there is: files of tables, blobs, and what killed commands left, with sizes and ages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bascule.history import Workspace
from bascule.lake.iceberg.files import UNFINISHED
from bascule.lake.iceberg.tables import LOCK, TURN
from bascule.store import LocalStore

DATA, METADATA, LEFT = "data", "metadata", "unfinished"


class Found(NamedTuple):
    """A file: its size in bytes and when it was written, in microseconds since the epoch."""

    path: Path
    bytes: int
    modified: int


def folders(lake: Path) -> list[Path]:
    """Return the folders of tables."""
    return sorted(folder for folder in lake.iterdir() if folder.is_dir()) if lake.exists() else []


def files(folder: Path) -> Iterator[Found]:
    """List the files of a table's folder, but for its locks."""
    for path in folder.rglob("*"):
        if path.name in (LOCK, TURN):
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            yield Found(path, found.st_size, found.st_mtime_ns // 1000)


def left(workspace: Workspace) -> Iterator[Found]:
    """List what killed commands left outside of the lake: blobs that were not finished, temporary files."""
    if isinstance(workspace.store, LocalStore):
        yield from (Found(*one) for one in workspace.store.unfinished())
    for path in sorted(workspace.temporary_folder.rglob("*")):
        if path.is_file():
            found = path.stat()
            yield Found(path, found.st_size, found.st_mtime_ns // 1000)


def kind_of(path: Path, folder: Path) -> str:
    """Return what a file of a table's folder is: data, metadata, or something that was never finished."""
    if path.name.endswith(UNFINISHED):
        return LEFT
    top = path.relative_to(folder).parts[0]
    return top if top in (DATA, METADATA) else LEFT


def table_of(folder: Path) -> str:
    """Return the name of the table whose folder it is, as the folder's own name begins with it."""
    return folder.name.rpartition("-")[0] or folder.name
