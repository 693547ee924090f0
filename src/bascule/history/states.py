"""States of the history: what a name means, what is at a path, what came before, what differs."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from itertools import islice

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, func, select

from bascule.catalog import Catalog
from bascule.catalog.schema import commits, nodes
from bascule.errors import NotFound
from bascule.history import names, rows
from bascule.history.commits import Change, Commit, Object, from_row
from bascule.history.merging import merge_base
from bascule.history.refs import parse_ref
from bascule.history.tree import EMPTY, Tree
from bascule.naming import name_in

# How many commits are fetched at once by what walks the history.
AHEAD = 64
ID_LENGTH = 64
# How many objects are read in one query.
AT_ONCE = 500
# What a commit calls the state that it took over without descending from it.
TAKEN_OVER = ("squashes", "picks", "restores")


class States:
    """All states of one workspace, which never change. May be read from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.tree = Tree(self._read_node)
        self._commits: dict[str, Commit] = {}

    def resolve(self, ref: str) -> Commit:
        """Return the commit that a ref means: a branch, a tag, an id or its start, `main~3`, `main@2026-03-01T00:00Z`.

        Raises:
            NotFound: when there is none, with the nearest name.
        """
        parsed = parse_ref(ref)
        with self.catalog.read() as conn:
            if isinstance(parsed.at, int):
                head = names.head_at(conn, parsed.name, parsed.at)
            else:
                head = names.head(conn, parsed.at or parsed.name, ref)
            commit = self.commit_by_id(head, conn)
            for _ in range(parsed.back):
                if not commit.parents:
                    raise NotFound("commit", ref, hint=f"The history of {parsed.name!r} has no more commits.")
                commit = self._ancestor(commit.parents[0], conn)
        return commit

    def commit_by_id(self, name: str, conn: Connection | None = None) -> Commit:
        """Return a commit by its whole id."""
        if name not in self._commits:
            if conn is None:
                with self.catalog.read() as opened:
                    return self.commit_by_id(name, opened)
            row = conn.execute(select(commits).where(commits.c.id == name)).first()
            if row is None:
                raise NotFound("commit", name, hint="bascule log lists commits.")
            self._commits[name] = from_row(row)
        return self._commits[name]

    def read(self, ref: str | Commit, path: str) -> Object | None:
        """Return the object at a path of a state, or None."""
        digest = self.digest(ref, path)
        return self.object(digest) if digest else None

    def get(self, ref: str | Commit, path: str) -> Object:
        """Return the object at a path of a state, or raise `NotFound` with the nearest path of its kind."""
        found = self.read(ref, path)
        if found is None:
            prefix, name = path.partition("/")[0], name_in(path)
            known = [name_in(p) for p, _ in self._paths(ref, f"{prefix}/")]
            kind = prefix[:-1] if prefix.endswith("s") else prefix
            where = self._state(ref).short if isinstance(ref, Commit) or len(ref) == ID_LENGTH else ref
            raise NotFound(kind, name, known, where=where)
        return found

    def digest(self, ref: str | Commit, path: str) -> str | None:
        """Return the digest of the object at a path of a state, or None."""
        return self.tree.get(self._state(ref).root, path)

    def entries(self, ref: str | Commit, prefix: str = "") -> list[tuple[str, Object]]:
        """Return the paths below a prefix in order, with their objects."""
        found = list(self._paths(ref, prefix))
        value = self._objects({digest for _, digest in found})
        return [(path, value[digest]) for path, digest in found]

    def digests(self, ref: str | Commit, prefix: str = "") -> dict[str, str]:
        """Return the paths below a prefix with their objects' digests: what a state *is*, without reading it."""
        return dict(self._paths(ref, prefix))

    def listing(self, ref: str | Commit, prefix: str) -> str:
        """Return one digest of all paths below a prefix and their objects: another when any comes, goes or changes."""
        told = "".join(f"{path}\n{digest}\n" for path, digest in self._paths(ref, prefix))
        return blake3(told.encode()).hexdigest()

    def object(self, digest: str) -> Object:
        """Return an object by its digest."""
        found: Object = msgspec.json.decode(self._read_node(digest))
        return found

    def log(
        self, ref: str | Commit, limit: int | None = None, path: str | None = None, *, first_parent: bool = False
    ) -> list[Commit]:
        """Return a state's commits, youngest first.

        Args:
            path: only those that changed it or anything below it.
            first_parent: a merge stands for all that it brought, as in `git log --first-parent`.
        """
        start = self._state(ref)
        walk = self._own_line(start) if first_parent else self._ancestors(start)
        return list(islice((c for c in walk if path is None or self._touches(c, path)), limit))

    def came_from(self, ref: str | Commit, states: Collection[str]) -> set[str]:
        """Return those of some commits that a state came from: it, its ancestors, and what one of them took over.

        Taken over is what was squashed, picked or restored. Costs what came since the oldest of them.

        Args:
            states: ids of commits; of one that is not there nothing came.
        """
        c, found = commits.c, set[str]()
        oldest = select(func.min(c.generation), func.min(c.created_at)).where(c.id.in_(states))
        with self.catalog.read() as conn:
            generation, created_at = conn.execute(oldest).one()
        if generation is None:
            return found
        for commit in self._ancestors(self._state(ref)):
            if commit.generation < generation and commit.created_at < created_at:
                break
            found |= {commit.id, *(commit.meta[how] for how in TAKEN_OVER if how in commit.meta)}
        return found.intersection(states)

    def diff(self, before: str | Commit, after: str | Commit, prefix: str = "") -> list[Change]:
        """Return what differs between two states, by path. Costs what differs, not what there is."""
        roots = self._state(before).root, self._state(after).root
        found = [entry for entry in self.tree.diff(*roots) if entry[0].startswith(prefix)]
        value = self._objects({digest for _, *sides in found for digest in sides if digest})
        return [Change.of(path, value[one] if one else None, value[two] if two else None) for path, one, two in found]

    def common(self, a: str | Commit, b: str | Commit) -> Commit | None:
        """Return the youngest commit that both descend from."""
        found = merge_base(self._ancestor, self._state(a).id, self._state(b).id)
        return self.commit_by_id(found) if found else None

    # Inside ----------------------------------------------------------------------------------------------------------

    def _state(self, ref: str | Commit) -> Commit:
        return ref if isinstance(ref, Commit) else self.resolve(ref)

    def _paths(self, ref: str | Commit, prefix: str) -> Iterator[tuple[str, str]]:
        return self.tree.items(self._state(ref).root, prefix)

    def _objects(self, digests: set[str]) -> dict[str, Object]:
        found: dict[str, Object] = {}
        asked = sorted(digests)
        with self.catalog.read() as conn:
            for begin in range(0, len(asked), AT_ONCE):
                query = select(nodes.c.hash, nodes.c.body).where(nodes.c.hash.in_(asked[begin : begin + AT_ONCE]))
                found.update({name: msgspec.json.decode(body) for name, body in conn.execute(query)})
        return found if len(found) == len(digests) else {digest: self.object(digest) for digest in digests}

    def _ancestors(self, start: Commit) -> Iterator[Commit]:
        queue, seen = [(-start.generation, -start.created_at, start.id)], {start.id}
        while queue:
            _, _, name = heapq.heappop(queue)
            commit = self._ancestor(name)
            yield commit
            for parent in commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    found = self._ancestor(parent)
                    heapq.heappush(queue, (-found.generation, -found.created_at, parent))

    def _own_line(self, commit: Commit) -> Iterator[Commit]:
        yield commit
        while commit.parents:
            commit = self._ancestor(commit.parents[0])
            yield commit

    def _ancestor(self, name: str, conn: Connection | None = None) -> Commit:
        """Return a commit for whoever goes on to its parents: many are fetched at once."""
        if name not in self._commits:
            if conn is None:
                with self.catalog.read() as opened:
                    return self._ancestor(name, opened)
            for row in rows.first_parents(conn, name, AHEAD):
                self._commits.setdefault(row.id, from_row(row))
        return self.commit_by_id(name, conn)

    def _touches(self, commit: Commit, path: str) -> bool:
        parent = self.commit_by_id(commit.parents[0]).root if commit.parents else EMPTY
        below = path.rstrip("/") + "/"
        return any(key == path or key.startswith(below) for key, _, _ in self.tree.diff(parent, commit.root))

    def _read_node(self, name: str) -> bytes:
        with self.catalog.read() as conn:
            body = conn.execute(select(nodes.c.body).where(nodes.c.hash == name)).scalar()
        if body is None:
            raise NotFound("part of the history", name, hint="The catalog is damaged; `bascule doctor` tells where.")
        return bytes(body)
