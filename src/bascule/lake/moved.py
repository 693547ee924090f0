"""Which files' rows a table has in other files now: those that compactions took the place of.

Merging and picking ask whether a file that another state brings is here already. The list belongs to the table's state
and is kept as `seen` keeps sources: in files beside the metadata that are never changed, named by the table's property
`bascule.moved`. It holds the first bytes of a hash of each file's name, which is used once; a part's own name says
which snapshot had last taken rows away then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from blake3 import blake3

from bascule.errors import EnvironmentProblem
from bascule.lake.iceberg import files, snapshots
from bascule.lake.iceberg.tables import Table

MOVED = "bascule.moved"
WIDTH = 12
PARTS = 8
# In the place of a snapshot in a part's name: nobody can tell whether rows went since.
UNKNOWN = "x"


def note(table: Table, names: Iterable[str]) -> str:
    """Write down more files that others stand for, by their paths, and return the property's new value."""
    parts, new = paths(table), [mark(name) for name in names]
    since = snapshots.rows_since(table) or UNKNOWN
    if len(parts) >= PARTS:
        new, parts, since = [*_read(table, parts), *new], [], UNKNOWN
    name = f"moved-{since}-{uuid.uuid4()}.bin"
    files.write(table.folder / "metadata" / name, b"".join(new))
    return "\n".join([*parts, name])


def marks(table: Table, *, surely: bool = False) -> set[bytes]:
    """Return what stands for the files whose rows are in others now; see `mark`.

    Args:
        surely: only those of which no row can have been taken out since.
    """
    since = snapshots.rows_since(table) or UNKNOWN
    parts = [part for part in paths(table) if not surely or (part.split("-")[1] == since != UNKNOWN)]
    return set(_read(table, parts))


def mark(path: str) -> bytes:
    """Return what stands for a file in the list."""
    return blake3(path.rpartition("/")[2].encode()).digest(length=WIDTH)


def paths(table: Table) -> list[str]:
    """Return the names of the files that hold the list, below the table's `metadata` folder."""
    return [part for part in table.properties.get(MOVED, "").split("\n") if part]


def _read(table: Table, parts: Iterable[str]) -> list[bytes]:
    found = []
    for part in parts:
        path = table.folder / "metadata" / part
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EnvironmentProblem(
                f"{path}, which lists files of table {table.name!r} that were compacted, cannot be read.",
                hint="`bascule doctor` lists what is damaged, and the way back.",
            ) from error
        found += [data[at : at + WIDTH] for at in range(0, len(data), WIDTH)]
    return found
