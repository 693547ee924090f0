"""The history itself: reading any state, and moving branches forward."""

from __future__ import annotations

import heapq
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog import Catalog, actor
from bascule.catalog.schema import commits, nodes
from bascule.errors import Conflict, InputError, NotFound
from bascule.history import expiry, holds, joining, names, rows
from bascule.history.commits import Change, Commit, Object, from_row
from bascule.history.joining import Incoming, Rules, Told, join
from bascule.history.merging import Resolver, Staged, merge_base
from bascule.history.refs import Kind, Ref, checked_name, parse_ref
from bascule.history.tree import EMPTY, Tree

MAIN = "main"
# How many commits are fetched at once by what walks the history.
AHEAD = 64
ID_LENGTH = 64
# How many objects are read in one query.
AT_ONCE = 500


class History:
    """All branches, tags and commits of one workspace.

    Reads may come from any thread. Every change of a branch is one transaction with its reflog and audit entries.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.tree = Tree(self._read_node)
        self._commits: dict[str, Commit] = {}

    def begin(self, author: str | None = None) -> Commit:
        """Make the first commit, empty, and the branch `main` at it. Does nothing when they exist."""
        author = author or actor()
        with self.catalog.write() as conn:
            if found := rows.find_ref(conn, MAIN):
                return self.commit_by_id(found.head, conn)
            first = self.record(conn, (), EMPTY, author, "Begin", {})
            rows.move(conn, MAIN, None, first, author, "create")
            names.protect(conn, names.branch(conn, MAIN), True, author)
        return first

    # Reading ---------------------------------------------------------------------------------------------------------

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
            prefix, _, name = path.partition("/")
            known = [p.partition("/")[2] for p, _ in self._paths(ref, f"{prefix}/")]
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

    # Names -----------------------------------------------------------------------------------------------------------

    def branches(self) -> list[Ref]:
        """Return all branches by name."""
        return self._named("branch")

    def tags(self) -> list[Ref]:
        """Return all tags by name."""
        return self._named("tag")

    def named(self, name: str) -> Ref | None:
        """Return the branch or the tag of a name, or None."""
        with self.catalog.read() as conn:
            return rows.find_ref(conn, name)

    def create_branch(self, name: str, at: str | Commit = MAIN, author: str | None = None) -> Ref:
        """Name a state, so that it can move on by itself. Copies nothing: the cost is one row."""
        return self._create(name, "branch", at, author)

    def tag(self, name: str, at: str | Commit = MAIN, author: str | None = None) -> Ref:
        """Name a state for good."""
        return self._create(name, "tag", at, author)

    def delete_branch(self, name: str, author: str | None = None, force: bool = False) -> None:
        """Remove a branch's name. Its commits stay reachable by their ids.

        Raises:
            InputError: when it is protected, or `main` does not have all of it and `force` is not set.
            Held: when it is under legal hold.
        """
        author = author or actor()
        with self.catalog.write() as conn:
            found = names.branch(conn, name)
            names.deletable(found)
            holds.refuse(holds.on_ref(conn, name), f"Branch {name!r} cannot be deleted")
            if not force and not self._is_ancestor(found.head, MAIN, conn):
                raise InputError(
                    f"Branch {name!r} has commits that {MAIN!r} does not have.",
                    hint=f"Merge it first, or delete it all the same with: bascule branch --delete --force {name}",
                )
            names.remove(conn, found, author)

    def protect(self, name: str, protected: bool = True, author: str | None = None) -> None:
        """Set whether a branch is one that checks hold and nobody deletes; the audit log keeps who did."""
        with self.catalog.write() as conn:
            names.protect(conn, names.branch(conn, name), protected, author or actor())

    # Moving forward --------------------------------------------------------------------------------------------------

    def commit(
        self,
        branch: str,
        changes: Mapping[str, Object | None],
        *,
        message: str,
        author: str | None = None,
        expect: Mapping[str, str | None] | None = None,
        meta: Mapping[str, Any] | None = None,
        action: str = "commit",
        also: Callable[[Connection, Commit], None] | None = None,
    ) -> Commit:
        """Set and remove paths on a branch's head.

        Args:
            changes: path to object; None removes the path.
            expect: path to the digest that it must have now (None: must not exist). Writers that read first say what
                they read here; then two of them cannot both win.
            also: writes records in the same transaction, so that both exist or neither does.

        Returns:
            The new commit, or the head when the changes change nothing and nothing `also` is to be written.

        Raises:
            Conflict: when `expect` does not hold. Nothing was changed.
            Expired: when an object is of a state whose data are gone.
        """
        author = author or actor()
        with self.catalog.write() as conn:
            head = self.commit_by_id(names.branch(conn, branch).head, conn)
            self._demand(head, branch, expect or {})
            digests = {path: rows.write_object(conn, value) for path, value in changes.items()}
            root = self.tree.update(head.root, digests, lambda name, body: rows.write_node(conn, name, body))
            if root == head.root and also is None:
                return head
            commit = self.record(conn, (head.id,), root, author, message, meta or {})
            rows.move(conn, branch, head.id, commit, author, action)
            expiry.renew(conn, filter(None, digests.values()))
            if also is not None:
                also(conn, commit)
        return commit

    def merge(
        self,
        source: str,
        into: str,
        *,
        message: str | None = None,
        author: str | None = None,
        resolve: Resolver | None = None,
        check: Callable[[Staged], None] | None = None,
        adapt: joining.Adapt | None = None,
        meta: Mapping[str, Any] | None = None,
        squash: bool = False,
        also: joining.Also | None = None,
    ) -> Commit:
        """Bring what a ref has into a branch, three-way by path.

        Args:
            resolve: settles a path that both sides changed.
            check: sees the merged state before the branch moves, and raises to stop the merge. It runs again when the
                branch moved meanwhile in what is merged or in what the check read, so what it approved is what lands.
            adapt: sees it before the check does, and returns what is to land instead or beside it: path to object, None
                to remove. For objects of which a part belongs to the branch that they are on.
            squash: land as one commit of `into`'s own, which does not lead to the commits of the source.
            also: as `commit`; it is not called when the branch has everything already.

        Returns:
            The merge commit, or the branch's head when it has everything already.

        Raises:
            Conflict: names the paths that both sides changed. Nothing was changed.
        """
        theirs = self.resolve(source)

        def incoming(target: Commit) -> Incoming | None:
            base = self.common(theirs, target)
            if base is not None and base.id == theirs.id:
                return None
            before = base.root if base else EMPTY
            return Incoming(theirs, before, theirs.root, not squash, joining.merged((source, into), base))

        text = message or (f"Squash {source} into {into}" if squash else f"Merge {source} into {into}")
        facts = {**(meta or {}), **({"squashes": theirs.id} if squash else {})}
        told = Told(text, author or actor(), "squash" if squash else "merge", facts)
        return join(self, into, incoming, Rules(resolve, check, adapt, also), told)

    def cherry_pick(
        self,
        ref: str,
        on: str = MAIN,
        *,
        message: str | None = None,
        author: str | None = None,
        resolve: Resolver | None = None,
        check: Callable[[Staged], None] | None = None,
        adapt: joining.Adapt | None = None,
        also: joining.Also | None = None,
    ) -> Commit:
        """Bring what one commit changed, and nothing else of its branch; of a merge, what it brought to its branch.

        Args:
            resolve, check, adapt, also: as in `merge`.

        Returns:
            The new commit, or the branch's head when it has the change already.

        Raises:
            Conflict: when the branch has other states of the same paths. Nothing was changed.
        """
        commit, parent = self._with_parent(ref, "picked")
        change = Incoming(commit, parent.root, commit.root, False, joining.picked(commit, on))
        told = Told(message or commit.message, author or actor(), "cherry-pick", {"picks": commit.id})
        return join(self, on, lambda _: change, Rules(resolve, check, adapt, also), told)

    def revert(
        self,
        ref: str,
        on: str = MAIN,
        author: str | None = None,
        message: str | None = None,
        *,
        resolve: Resolver | None = None,
        check: Callable[[Staged], None] | None = None,
        adapt: joining.Adapt | None = None,
        meta: Mapping[str, Any] | None = None,
        also: joining.Also | None = None,
    ) -> Commit:
        """Undo one commit on a branch by a new commit.

        Args:
            resolve, check, adapt: as in `merge`; a path's three objects are the commit's, the branch's and the one
                before.
            meta: what else is to be said of the new commit; it is read after `check`.
            also: as `commit`.

        Returns:
            The new commit, or the branch's head when it is undone already.

        Raises:
            Conflict: when a path was changed again since; nothing was changed.
        """
        commit, parent = self._with_parent(ref, "reverted")

        def incoming(target: Commit) -> Incoming:
            return Incoming(target, commit.root, parent.root, False, joining.undone(commit, on))

        text = message or f"Revert {commit.short}: {commit.message}"
        facts = ChainMap({"reverts": commit.id}, cast("dict[str, Any]", {} if meta is None else meta))
        told = Told(text, author or actor(), "revert", facts)
        return join(self, on, incoming, Rules(resolve, check, adapt, also), told)

    def restore(
        self,
        branch: str,
        to: str | Commit,
        paths: Sequence[str],
        *,
        message: str,
        author: str | None = None,
        check: Callable[[Staged], None] | None = None,
        adapt: joining.Adapt | None = None,
    ) -> Commit:
        """Give some paths of a branch the objects that they have at another state, by a new commit.

        Args:
            paths: one that is not there at that state is removed.
            check, adapt: as in `merge`.

        Returns:
            The new commit, or the branch's head when it has them already.

        Raises:
            Expired: when the data of one of them are gone.
        """
        state = self._state(to)
        change = Incoming(state, EMPTY, state.root, False, joining.picked(state, branch), tuple(paths))
        told = Told(message, author or actor(), "restore", {"restores": state.id})
        return join(self, branch, lambda _: change if paths else None, Rules(None, check, adapt), told)

    def record(
        self, conn: Connection, parents: tuple[str, ...], root: str, author: str, message: str, meta: Mapping[str, Any]
    ) -> Commit:
        """Write a commit inside a transaction; whoever calls moves a branch to it in the same one."""
        generation = 1 + max((self.commit_by_id(p, conn).generation for p in parents), default=-1)
        return rows.write_commit(conn, parents, root, author, message, meta, generation)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _with_parent(self, ref: str, verb: str) -> tuple[Commit, Commit]:
        commit = self.resolve(ref)
        if not commit.parents:
            raise InputError(
                f"{commit.short} is the first commit and cannot be {verb}; there is nothing before it.",
                hint="Take a later one: bascule log shows them.",
            )
        return commit, self.commit_by_id(commit.parents[0])

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

    def _is_ancestor(self, name: str, of: str, conn: Connection) -> bool:
        target = self.commit_by_id(names.branch(conn, of).head, conn)
        return merge_base(lambda n: self._ancestor(n, conn), name, target.id) == name

    def _demand(self, head: Commit, branch: str, expect: Mapping[str, str | None]) -> None:
        moved = [path for path, digest in expect.items() if self.tree.get(head.root, path) != digest]
        if moved:
            raise Conflict(
                f"Someone else changed {', '.join(moved[:5])} on {branch!r} meanwhile. Nothing was changed.",
                paths=moved,
                hint="Read it again and repeat.",
            )

    def _named(self, kind: Kind) -> list[Ref]:
        with self.catalog.read() as conn:
            return names.listed(conn, kind)

    def _create(self, name: str, kind: Kind, at: str | Commit, author: str | None) -> Ref:
        checked_name(name)
        commit, author = self._state(at), author or actor()
        with self.catalog.write() as conn:
            return names.create(conn, name, kind, commit.id, author)

    def _read_node(self, name: str) -> bytes:
        with self.catalog.read() as conn:
            body = conn.execute(select(nodes.c.body).where(nodes.c.hash == name)).scalar()
        if body is None:
            raise NotFound("part of the history", name, hint="The catalog is damaged; `bascule doctor` tells where.")
        return bytes(body)
