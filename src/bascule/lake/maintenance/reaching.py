"""Walking from commits to the objects in their states, many at once, each shared part once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog.schema import nodes
from bascule.errors import EnvironmentProblem, NotFound
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.history.tree import EMPTY, Node, decode
from bascule.lake.maintenance import references

AT_ONCE = 500
TABLE = "table"


class Facts(NamedTuple):
    """What an object leads to.

    Attributes:
        location: of a table's metadata document, as its object says it; empty for other kinds.
        blobs: digests that it names, some of which may name no blob.
        runs: ids of runs that it names.
        value: the object itself, when its blobs name others.
    """

    location: str
    blobs: frozenset[str]
    runs: frozenset[str]
    value: Object | None = None


@dataclass(slots=True)
class Library:
    """Parts of the history that were read once. They never change, so a second walk costs no query.

    Attributes:
        purged: versions of models that lead to nothing any more.
    """

    workspace: Workspace
    purged: references.Purged = references.NOTHING
    _nodes: dict[str, Node] = field(default_factory=dict)
    _facts: dict[str, Facts] = field(default_factory=dict)
    _needed: set[str] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _looked: set[str] = field(default_factory=set)

    def nodes(self, conn: Connection, names: Iterable[str]) -> Iterator[tuple[str, Node]]:
        """Yield nodes of states' trees."""
        wanted = list(names)
        for name, body in bodies(conn, [name for name in wanted if name not in self._nodes]):
            self._nodes[name] = decode(body)
        return ((name, self._nodes[name]) for name in wanted)

    def facts(self, conn: Connection, digests: Iterable[str]) -> Iterator[tuple[str, Facts]]:
        """Yield what objects lead to."""
        wanted = list(digests)
        for digest, body in bodies(conn, [digest for digest in wanted if digest not in self._facts]):
            self._facts[digest] = self._read(body)
        return ((digest, self._facts[digest]) for digest in wanted)

    def needed(self, live: Mapping[str, Facts]) -> frozenset[str]:
        """Return the digests of the blobs that live objects need, also those that are named inside of blobs.

        What two versions share is looked through once, and what was asked before is not asked again: then an object
        that has died since keeps its blobs until the next time.
        """
        for digest, facts in live.items():
            self._needed |= facts.blobs
            if facts.value is not None and digest not in self._looked:
                self._needed |= set(self._within(facts.value, self._seen))
                self._looked.add(digest)
        return frozenset(self._needed)

    def lost(self, facts: Facts, stored: Collection[str], needed: Collection[str]) -> bool:
        """Tell whether an object leads to a blob that is there, and that is needed no more. Ask `needed` first."""
        try:
            # Parts that live objects share need not be looked through: what they name is needed.
            inside = self._within(facts.value, set(self._seen)) if facts.value is not None else ()
            return any(name in stored and name not in needed for name in chain(facts.blobs, inside))
        except (NotFound, EnvironmentProblem):
            return True

    def _within(self, value: Object, seen: set[bytes]) -> Iterable[str]:
        look = references.within(value)
        return look(self.workspace.store, value, seen) if look is not None else ()

    def _read(self, body: bytes) -> Facts:
        value = msgspec.json.decode(body)
        if value.get("kind") == TABLE:  # its own identity and its snapshot name no blob, and there are many of them
            return Facts(str(value["metadata_location"]), frozenset(), frozenset())
        value = self.purged.without(value)
        blobs, runs = references.digests_in(value), references.runs_in(value)
        whole = value if references.within(value) is not None else None
        return Facts("", frozenset(blobs), frozenset(runs), whole)


@dataclass(slots=True)
class Reached:
    """What some states hold.

    Attributes:
        objects: digests of objects, each with the paths that it has in them.
        parts: the nodes of the states' trees, each with what it holds: nodes below it, or objects.
    """

    objects: dict[str, set[str]] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def walk(
        self, conn: Connection, library: Library, roots: Iterable[str], known: Reached | None = None
    ) -> dict[str, set[str]]:
        """Go through states by the roots of their trees; nodes that were reached before, here or in `known`, are left.

        Returns:
            The objects that are new here, with paths.
        """
        waiting = dict.fromkeys(root for root in roots if root != EMPTY)
        fresh: dict[str, set[str]] = {}
        while waiting:
            unread = [name for name in waiting if name not in self.parts and not (known and name in known.parts)]
            waiting = {}
            for name, node in library.nodes(conn, unread):
                self.parts[name] = tuple(value.hex() for _, value in node.entries)
                if node.level:
                    waiting |= dict.fromkeys(self.parts[name])
                    continue
                for (path, _), digest in zip(node.entries, self.parts[name], strict=True):
                    if digest not in self.objects:
                        fresh[digest] = self.objects[digest] = set()
                    self.objects[digest].add(path)
        return fresh

    def touches(self, root: str, wanted: set[str], memo: dict[str, bool]) -> bool:
        """Tell whether a state holds one of some objects. Nodes that were not reached here hold none of them."""
        found = memo.get(root)
        if found is None:
            below = self.parts.get(root, ())
            found = any(name in wanted or self.touches(name, wanted, memo) for name in below)
            memo[root] = found
        return found


def bodies(conn: Connection, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the bodies of parts of the history, or raise `NotFound`: then nobody can tell what is still needed."""
    wanted = list(dict.fromkeys(names))
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        query = select(nodes.c.hash, nodes.c.body).where(nodes.c.hash.in_(part))
        found = {row.hash: bytes(row.body) for row in conn.execute(query)}
        for name in part:
            if name not in found:
                raise NotFound(
                    "part of the history", name, hint="The catalog is damaged; `bascule doctor` tells where."
                )
            yield name, found[name]
