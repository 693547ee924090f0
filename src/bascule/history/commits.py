"""What a commit is, and what changed between two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from blake3 import blake3
from sqlalchemy import Row

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of the system.

    Attributes:
        id: BLAKE3 over all other fields, 64 hex characters.
        parents: none for the first commit, one for a usual one, two (target, source) for a merge.
        root: the tree's root.
        created_at: microseconds since the epoch, UTC.
        generation: one more than the greatest generation of the parents.
        meta: what else was said of it, JSON-able: the git commit, the run, the batch.
    """

    id: str
    parents: tuple[str, ...]
    root: str
    author: str
    message: str
    created_at: int
    generation: int
    meta: Mapping[str, Any]

    @property
    def short(self) -> str:
        """The first ten characters of the id, as people write it."""
        return self.id[:10]

    @property
    def time(self) -> datetime:
        """When it was made, UTC."""
        return datetime.fromtimestamp(self.created_at / 1e6, UTC)

    def as_dict(self) -> dict[str, Any]:
        """The commit as one JSON object."""
        return {
            "id": self.id,
            "parents": list(self.parents),
            "author": self.author,
            "message": self.message,
            "time": self.time.isoformat(),
            "meta": dict(self.meta),
        }


# Looks at the objects that are about to land on a commit, by path, and raises to refuse them. Returns what else must
# still be there when they land: path to digest (None: not there), `prefix*` to the listing of all paths below it.
Guard = Callable[[Commit, Mapping[str, Object | None]], Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two states. `before` and `after` are objects, or None where there is none."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: Object | None
    after: Object | None

    @classmethod
    def of(cls, path: str, before: Object | None, after: Object | None) -> Change:
        """Make the change from one object to another at a path."""
        return cls(path, "added" if before is None else "removed" if after is None else "changed", before, after)


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces. Equal values have equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def commit_id(
    parents: tuple[str, ...], root: str, author: str, message: str, created_at: int, meta: Mapping[str, Any]
) -> str:
    """Return the id that a commit with these fields has."""
    return blake3(canonical([parents, root, author, message, created_at, meta])).hexdigest()


def from_row(row: Row[Any]) -> Commit:
    """Read a commit from its row in the catalog."""
    return Commit(
        id=row.id,
        parents=tuple(p for p in (row.parent, row.parent2) if p),
        root=row.root,
        author=row.author,
        message=row.message,
        created_at=row.created_at,
        generation=row.generation,
        meta=msgspec.json.decode(row.meta_json),
    )
