"""Walking from commits to the objects in their states, many at once, each shared part once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog.schema import nodes
from bascule.errors import NotFound
from bascule.history.commits import Object
from bascule.history.tree import EMPTY, decode

AT_ONCE = 500


@dataclass(slots=True)
class Reached:
    """What some states hold.

    Attributes:
        objects: digests of objects, each with a path that it has in one of them.
        parts: the nodes of the states' trees, each with what it holds: nodes below it, or objects.
    """

    objects: dict[str, str] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def walk(self, conn: Connection, roots: Iterable[str], known: Reached | None = None) -> list[str]:
        """Go through states by the roots of their trees; what was reached before, here or in `known`, is not opened.

        Returns:
            The digests of the objects that are new.
        """
        waiting = [root for root in dict.fromkeys(roots) if root != EMPTY]
        fresh: list[str] = []
        while waiting:
            waiting = [
                name for name in waiting if name not in self.parts and (known is None or name not in known.parts)
            ]
            below: dict[str, None] = {}
            for name, body in bodies(conn, waiting):
                node = decode(body)
                entries = [(path, value.hex()) for path, value in node.entries]
                self.parts[name] = tuple(value for _, value in entries)
                if node.level:
                    below |= dict.fromkeys(self.parts[name])
                    continue
                for path, digest in entries:
                    if digest not in self.objects and (known is None or digest not in known.objects):
                        self.objects[digest] = path
                        fresh.append(digest)
            waiting = list(below)
        return fresh

    def touches(self, root: str, wanted: set[str], memo: dict[str, bool]) -> bool:
        """Tell whether a state holds one of some objects. What this did not reach itself holds none of them."""
        found = memo.get(root)
        if found is None:
            below = self.parts.get(root, ())
            found = any(name in wanted or self.touches(name, wanted, memo) for name in below)
            memo[root] = found
        return found


def objects(conn: Connection, digests: Iterable[str]) -> Iterator[tuple[str, Object]]:
    """Yield objects by their digests."""
    for digest, body in bodies(conn, digests):
        yield digest, msgspec.json.decode(body)


def bodies(conn: Connection, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the bodies of parts of the history.

    Raises:
        NotFound: when one is missing: then nobody can tell what is still needed.
    """
    wanted = list(names)
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
