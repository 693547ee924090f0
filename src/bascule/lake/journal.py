"""The journal of a forgetting: what is still to be renamed and deleted, so that a killed one is finished by the next.

Everything new is written and durable before the journal is; from then on, replaying it is all that there is to do, and
replaying it twice does no harm. It holds paths and counts, and no values. A writer that meets one replays it first, so
that nothing is built on a state that is half the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bascule.lake.iceberg import files
from bascule.lake.iceberg.tables import LOCK
from bascule.store import Place

FOLDER = "forgetting"
WAITING = "journal.json"
REPLAYED = "replayed.json"


class Rewritten(msgspec.Struct, frozen=True):
    """A data file that lost rows: its path in the lake, and digests of its content before and after."""

    path: str
    rows: int
    before: str
    after: str


class Journal(msgspec.Struct, frozen=True):
    """A forgetting in one table's folder; paths are relative to it.

    Attributes:
        id: the forgetting's.
        renames: files to put in the place of others, in this order.
        deletes: files to delete after that.
        files: what happens to data files, for the report.
        documents: the metadata documents whose state had such rows, for the report.
    """

    id: str
    renames: list[tuple[str, str]]
    deletes: list[str]
    files: list[Rewritten]
    documents: list[str]


def staging_folder(table: Place) -> Place:
    """Return an empty folder for new files; what an attempt left there that was killed early is deleted."""
    folder = table / FOLDER
    files.remove_folder(folder)
    files.make_folder(folder)
    return folder


def found(table: Place) -> Journal | None:
    """Return the journal of a forgetting that was interrupted, or None."""
    for name in (WAITING, REPLAYED):
        path = table / FOLDER / name
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=Journal)
    return None


def begin(table: Place, journal: Journal) -> None:
    """Make the journal durable: from here on the forgetting will happen."""
    files.sync_folder(table / FOLDER)
    files.sync_folder(table / "data")
    files.write(table / FOLDER / WAITING, msgspec.json.encode(journal))
    files.sync_folder(table / FOLDER)


def replay(table: Place) -> None:
    """Do what is left of a journal, if there is one. The caller holds the table's lock alone."""
    path = table / FOLDER / WAITING
    if not path.exists():
        return
    journal = msgspec.json.decode(path.read_bytes(), type=Journal)
    for new, old in journal.renames:
        if (table / new).exists():
            files.replace(table / new, table / old)
    files.sync_folder(table / "metadata")
    for old in journal.deletes:
        (table / old).unlink(missing_ok=True)
        _remove_empty(table / old, table / "data")
    files.sync_folder(table / "data")
    files.replace(path, table / FOLDER / REPLAYED)


def _remove_empty(gone: Place, data: Place) -> None:
    # Other engines make folders that are named by the values of a partition.
    if not isinstance(gone, Path) or not isinstance(data, Path):
        return
    folder = gone.parent
    while folder != data and folder.is_relative_to(data):
        try:
            folder.rmdir()
        except OSError:  # it holds other files, or is gone already
            if folder.exists():
                return
        folder = folder.parent


def end(table: Place) -> None:
    """Remove a journal that was replayed and told of."""
    files.remove_folder(table / FOLDER)


@contextmanager
def writing(table: Place) -> Iterator[None]:
    """Share a table's folder with other writers for the length of a block, but with no forgetting."""
    while True:
        with files.locked(table / LOCK, exclusive=False):
            if not (table / FOLDER / WAITING).exists():
                yield
                return
        with files.locked(table / LOCK, exclusive=True):
            replay(table)
