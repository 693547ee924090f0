"""Versions of models that somebody deleted: which of them may go for good, and what holds nothing any more since.

A deletion is a commit, so older states have the version still. Once nobody can want it back that does not matter: what
was purged is told by its record, and its entry in an older state leads to nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from bascule.history import holds
from bascule.history.deleted import Deletion, deletions, ids_in
from bascule.lake.maintenance.keeping import Graph, Keeping
from bascule.lake.maintenance.reaching import Library, Reached, bodies
from bascule.lake.maintenance.references import Purged
from bascule.lake.maintenance.retention import Retention, Rule
from bascule.naming import MODELS, model_path


@dataclass(frozen=True, slots=True)
class Due:
    """Deletions that are old enough, the last of each version.

    Attributes:
        going: those that no state holds any more.
        staying: those that something holds, each with what does, in words.
    """

    going: tuple[Deletion, ...]
    staying: tuple[tuple[Deletion, str], ...]


def due(conn: Connection, library: Library, retention: Retention, *, now: int, grace: int) -> Due:
    """Return what may be purged: deleted for as long as a deleted branch's states are kept, and in no state that stays.

    A state stays while a branch, a tag or a hold names it, or did within that time. Rules that keep more of a branch's
    past keep no deleted version: who deletes one says that it shall go.

    Args:
        now, grace: microseconds, as `Keeping.of`.
    """
    before = now - max(retention.unnamed, grace)
    every = deletions(conn, purged=False)
    last = {one.version_id: one for one in every}
    old = {name: one for name, one in last.items() if one.at < before}
    if not old:
        return Due((), ())
    graph = Graph.read(conn)
    short = Retention((Rule("*", keep=retention.unnamed),), retention.unnamed)
    kept = Keeping.of(graph, short, now, grace).kept
    kept |= {head for _, head, at in graph.ended if at >= now - retention.unnamed}  # was a branch's own till then
    kept &= graph.commits.keys()
    found = _held(conn, library, (graph.commits[name].root for name in sorted(kept)), old.keys())
    paths = {hold.subject for hold in graph.holds if hold.kind == holds.PATH}
    why = {
        one.version_id: f"{model_path(one.model)} is under legal hold"
        for one in every  # by any name that its model had
        if one.version_id in old and model_path(one.model) in paths
    }
    for name in old.keys() - why.keys():
        if name in found:
            why[name] = _who_has(conn, library, graph, name) or "a state had it lately"
    going = tuple(one for name, one in old.items() if name not in why)
    return Due(going, tuple((old[name], said) for name, said in why.items()))


def _held(conn: Connection, library: Library, roots: Any, ids: Collection[str]) -> set[str]:
    """Return which of some versions states have."""
    reached = Reached()
    reached.walk(conn, library, roots)
    models = [digest for digest, paths in reached.objects.items() if any(path.startswith(MODELS) for path in paths)]
    return {name for _, body in bodies(conn, models) for name in ids_in(msgspec.json.decode(body)) if name in ids}


def _who_has(conn: Connection, library: Library, graph: Graph, name: str) -> str:
    """Return the branches, tags and held commits whose own state has a version, in words; empty when none has."""
    named = [(f"{ref.kind} {ref.name}", ref.head) for ref in graph.refs]
    named += [(f"the held commit {one.subject[:10]}", one.subject) for one in graph.holds if one.kind == holds.COMMIT]
    has = [
        who for who, head in named if head in graph.commits and _held(conn, library, [graph.commits[head].root], {name})
    ]
    if not has:
        return ""
    return f"{', '.join(has[:3])}{' and others' if has[3:] else ''} {'have' if has[1:] else 'has'} it"


def purged_of(gone: Collection[Deletion]) -> Purged:
    """Return what some deletions have purged, or would."""
    return Purged(
        frozenset(one.version_id for one in gone),
        frozenset(digest for one in gone for digest in one.held.get("blobs", ())),
    )
