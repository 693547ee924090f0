"""What there is: files of tables, blobs, and what killed commands left, with sizes and ages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bascule.history import Workspace
from bascule.lake.iceberg.files import UNFINISHED
from bascule.lake.iceberg.tables import LOCK, TURN
from bascule.store import LocalStore, Place
from bascule.store.places import below, listed

DATA, METADATA, LEFT = "data", "metadata", "unfinished"


class Found(NamedTuple):
    """A file: its size in bytes and when it was written, in microseconds since the epoch."""

    path: Place
    bytes: int
    modified: int


def folders(lake: Place) -> list[Place]:
    """Return the folders of tables."""
    return sorted((folder for folder in lake.iterdir() if folder.is_dir()), key=str) if lake.exists() else []


def files(folder: Place) -> Iterator[Found]:
    """List the files of a table's folder, but for its locks."""
    return (Found(*one) for one in listed(folder) if one[0].name not in (LOCK, TURN))


def left(workspace: Workspace) -> Iterator[Found]:
    """List what killed commands left outside of the lake: blobs that were not finished, temporary files."""
    if isinstance(workspace.store, LocalStore):
        yield from (Found(*one) for one in workspace.store.unfinished())
    yield from (Found(*one) for one in listed(workspace.temporary_folder))


def kind_of(path: Place, folder: Place) -> str:
    """Return what a file of a table's folder is: data, metadata, or something that was never finished."""
    if path.name.endswith(UNFINISHED):
        return LEFT
    top = (below(path, folder) or "").partition("/")[0]
    return top if top in (DATA, METADATA) else LEFT


def table_of(folder: Place) -> str:
    """Return the name of the table whose folder it is, as the folder's own name begins with it."""
    return folder.name.rpartition("-")[0] or folder.name
