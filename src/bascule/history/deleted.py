"""Versions of models that somebody deleted from a branch, as the catalog records it with the commit that took them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog.schema import model_deletions
from bascule.history.commits import Object


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """One deletion of a version from a branch; times in microseconds since 1970 UTC.

    Whoever renames a model renames its deleted versions: each has one more record, by the new name.

    Attributes:
        version_id: the id of the version's entry.
        commit_id: the commit that took it from the branch, or renamed the model since.
        held: what restores it; of one that was purged, the digests of what went.
        purged_at: when it went for good, or None.
    """

    id: str
    model: str
    version: int
    version_id: str
    branch: str
    commit_id: str
    actor: str
    reason: str
    at: int
    held: dict[str, Any]
    purged_at: int | None = None

    @property
    def name(self) -> str:
        """The version as people write it: `delays@3`."""
        return f"{self.model}@{self.version}"


def deletions(
    conn: Connection, *, purged: bool | None = None, model: str | None = None, version_id: str | None = None
) -> list[Deletion]:
    """Return deletions, oldest first.

    Args:
        purged: only those that went for good, or only those that did not.
        model: only those of versions that had its name once when they were deleted, also by their later names.
        version_id: only those of one version, by the id of its entry.
    """
    d = model_deletions.c
    query = select(model_deletions).order_by(d.at, d.id)
    if purged is not None:
        query = query.where(d.purged_at.is_not(None) if purged else d.purged_at.is_(None))
    if model is not None:
        query = query.where(d.version_id.in_(select(d.version_id).where(d.model == model)))
    if version_id is not None:
        query = query.where(d.version_id == version_id)
    return [
        Deletion(held=msgspec.json.decode(row.held_json), **{k: v for k, v in row._mapping.items() if k != "held_json"})
        for row in conn.execute(query)
    ]


def ids_in(model: Object) -> set[str]:
    """Return the ids of the versions that an object of the history has, if it is a model."""
    if model.get("kind") != "model":
        return set()
    return {str(entry["id"]) for entry in model["versions"].values() if "id" in entry}
