"""What an object of the history, and a record of the catalog, leads to beside the history itself.

The rule needs no list of kinds: whatever an object or a record names by its whole id is what it leads to. A blob is
named by its digest; a commit by its id, or through a run or a training set that was made on it. So a registered version
keeps its model, its card and the state that it was trained on. Only what is named *inside* of a blob needs to be told:
a kind of object whose blobs name others has an entry in `WITHIN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, String, Table, Text, select

from bascule.catalog.schema import metadata, model_deletions, runs, training_sets
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.store import BlobStore

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_RUN = re.compile(r"\brun_[0-9a-z]{26}\b")
AT_ONCE = 500

# By kind of object, `module:function`: given a store and an object, it yields the digests of all blobs that the object
# needs. Parts that are in `seen` were looked through before, and are passed over; those that are looked through are
# added to it.
WITHIN: dict[str, str] = {"files": "bascule.lake.filesets.references:references"}


class Within(Protocol):
    """Yields the blobs that an object needs."""

    def __call__(self, store: BlobStore, value: Object, seen: set[bytes]) -> Iterable[str]:
        """Go through the object's blobs."""
        ...


def within(value: Object) -> Within | None:
    """Return what goes through the blobs of an object, if its kind has blobs that name others."""
    where = WITHIN.get(str(value.get("kind")))
    if where is None:
        return None
    module, _, name = where.partition(":")
    found: Within = getattr(import_module(module), name)
    return found


# These name no blob: the history's own rows, names and moves; numbers by the million; what was let go.
_HISTORY = {"nodes", "commits", "refs", "ref_log", "audit", "expirations", "holds"}
_SILENT = {*_HISTORY, "model_deletions", "monitor_points", "names", "run_documents", "tokens"}
# These say what was made, and not what is needed: they do not hold what went with a version that was purged.
_REMEMBERING = {"model_versions", "optimizations", "run_io", "step_cache"}


@dataclass(frozen=True, slots=True)
class Purged:
    """Versions of models that were deleted for good.

    Attributes:
        ids: of their entries, in whatever state they are.
        blobs: digests of what they answered with; what else names one holds it still.
    """

    ids: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()

    def without(self, model: Object) -> Object:
        """Return a model's object without them; another object as it is."""
        versions = model.get("versions")
        if not self.ids or model.get("kind") != "model" or not isinstance(versions, dict):
            return model
        gone = {number for number, entry in versions.items() if entry.get("id") in self.ids}
        left = {number: entry for number, entry in versions.items() if number not in gone}
        chosen = {number: one for number, one in model.get("runtimes", {}).items() if number not in gone}
        return {**model, "versions": left, "runtimes": chosen} if gone else model

    def without_in(self, body: bytes) -> bytes:
        """As `without`, of an object's JSON."""
        if not any(name.encode() in body for name in self.ids):
            return body
        return msgspec.json.encode(self.without(msgspec.json.decode(body)))


NOTHING = Purged()


def digests_in(value: Any) -> set[str]:
    """Return every digest that a JSON value names."""
    return set(_DIGEST.findall(_text(value)))


def runs_in(value: Any) -> set[str]:
    """Return the id of every run that a JSON value names."""
    return set(_RUN.findall(_text(value)))


def commits_of(conn: Connection, digests: Iterable[str], run_ids: Iterable[str]) -> set[str]:
    """Return the commits on which runs and training sets were made, and those that are named themselves."""
    names = set(digests)
    found = set(names)
    for part in _parts(names):
        found |= set(conn.execute(select(training_sets.c.commit_id).where(training_sets.c.id.in_(part))).scalars())
    for part in _parts(run_ids):
        found |= set(conn.execute(select(runs.c.commit_id).where(runs.c.id.in_(part))).scalars())
    return {name for name in found if name}


def blobs_of_records(workspace: Workspace, purged: Purged = NOTHING) -> set[str]:
    """Return the digests of the blobs that records name: models, training sets, code, cached steps, outputs."""
    found: set[str] = set()
    with workspace.catalog.read() as conn:
        for table in metadata.sorted_tables:
            if table.name not in _SILENT:
                named = _in_rows(conn, table)
                found |= named - purged.blobs if table.name in _REMEMBERING else named
        for held in restorable(conn, purged):
            found |= set(_DIGEST.findall(held))
        code = set(conn.execute(select(runs.c.code_snapshot).where(runs.c.code_snapshot.is_not(None))).scalars())
    for snapshot in code:
        try:  # a listing of files, by the digests of their texts
            found |= set(msgspec.json.decode(workspace.store.get(snapshot), type=dict[str, str]).values())
        except NotFound:
            continue  # `doctor` tells of it; there is nothing to keep
    return found


def restorable(conn: Connection, purged: Purged = NOTHING) -> list[str]:
    """Return what brings deleted versions of models back, as JSON, of all that were not purged."""
    d = model_deletions.c
    rows = conn.execute(select(d.version_id, d.held_json).where(d.purged_at.is_(None)))
    return [row.held_json for row in rows if row.version_id not in purged.ids]


def _in_rows(conn: Connection, table: Table) -> set[str]:
    texts = [column for column in table.columns if isinstance(column.type, String | Text)]
    found: set[str] = set()
    if texts:
        with conn.execute(select(*texts), execution_options={"yield_per": 1000}) as rows:
            for row in rows:
                for value in row:
                    if value and len(value) >= 64:
                        found.update(_DIGEST.findall(value))
    return found


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(names)
    return (wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE))
