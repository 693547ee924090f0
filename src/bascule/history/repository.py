"""The history itself: its states, its names, and moving branches forward."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection

from bascule.catalog import actor
from bascule.errors import Conflict, InputError
from bascule.history import expiry, holds, joining, names, rows
from bascule.history.commits import Commit, Object
from bascule.history.joining import Incoming, Rules, Told, join
from bascule.history.merging import Resolver, Staged, merge_base
from bascule.history.paths import demand as demand_paths
from bascule.history.refs import Kind, Ref, checked_name
from bascule.history.states import States
from bascule.history.tree import EMPTY

MAIN = "main"


class History(States):
    """All branches, tags and commits of one workspace.

    Reads may come from any thread. Every change of a branch is one transaction with its reflog and audit entries.
    """

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
            expect: path to the digest that it must have now (None: must not exist); `prefix*` to the `listing` of all
                paths below it. Writers that read first say what they read here; then two of them cannot both win.
            also: writes records in the same transaction, so that both exist or neither does.

        Returns:
            The new commit, or the head when the changes change nothing and nothing `also` is to be written.

        Raises:
            Conflict: when `expect` does not hold. Nothing was changed.
            Expired: when an object is of a state whose data are gone.
            InputError: when a path leads out, is absolute, is not normal Unicode or is longer than 4,096 bytes.
        """
        demand_paths(path for path, value in changes.items() if value is not None)
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
        also: joining.Also | None = None,
    ) -> Commit:
        """Give some paths of a branch the objects that they have at another state, by a new commit.

        Args:
            paths: one that is not there at that state is removed.
            check, adapt: as in `merge`.
            also: as `commit`.

        Returns:
            The new commit, or the branch's head when it has them already.

        Raises:
            Expired: when the data of one of them are gone.
        """
        state = self._state(to)
        change = Incoming(state, EMPTY, state.root, False, joining.picked(state, branch), tuple(paths))
        told = Told(message, author or actor(), "restore", {"restores": state.id})
        return join(self, branch, lambda _: change if paths else None, Rules(None, check, adapt, also), told)

    def record(
        self, conn: Connection, parents: tuple[str, ...], root: str, author: str, message: str, meta: Mapping[str, Any]
    ) -> Commit:
        """Write a commit inside a transaction; whoever calls moves a branch to it in the same one."""
        generation = 1 + max((self.commit_by_id(p, conn).generation for p in parents), default=-1)
        return rows.write_commit(conn, parents, root, author, message, meta, generation)

    def is_ancestor(self, state: Commit, of: Commit) -> bool:
        """Tell whether a state is in the past of another one, or is that one."""
        with self.catalog.read() as conn:
            return merge_base(lambda n: self._ancestor(n, conn), state.id, of.id) == state.id

    # Inside ----------------------------------------------------------------------------------------------------------

    def _with_parent(self, ref: str, verb: str) -> tuple[Commit, Commit]:
        commit = self.resolve(ref)
        if not commit.parents:
            raise InputError(
                f"{commit.short} is the first commit and cannot be {verb}; there is nothing before it.",
                hint="Take a later one: bascule log shows them.",
            )
        return commit, self.commit_by_id(commit.parents[0])

    def _is_ancestor(self, name: str, of: str, conn: Connection) -> bool:
        target = self.commit_by_id(names.branch(conn, of).head, conn)
        return merge_base(lambda n: self._ancestor(n, conn), name, target.id) == name

    def _demand(self, head: Commit, branch: str, expect: Mapping[str, str | None]) -> None:
        moved = [path for path, digest in expect.items() if self._now(head, path) != digest]
        if moved:
            raise Conflict(
                f"Someone else changed {', '.join(moved[:5])} on {branch!r} meanwhile. Nothing was changed.",
                paths=moved,
                hint="Read it again and repeat.",
            )

    def _now(self, head: Commit, path: str) -> str | None:
        return self.listing(head, path[:-1]) if path.endswith("*") else self.tree.get(head.root, path)

    def _named(self, kind: Kind) -> list[Ref]:
        with self.catalog.read() as conn:
            return names.listed(conn, kind)

    def _create(self, name: str, kind: Kind, at: str | Commit, author: str | None) -> Ref:
        checked_name(name)
        commit, author = self._state(at), author or actor()
        with self.catalog.write() as conn:
            return names.create(conn, name, kind, commit.id, author)
