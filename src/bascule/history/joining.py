"""Bringing a change into a branch: what merge, squash, cherry-pick and revert have in common.

Each takes the difference between two states, `before` and `after`, and puts it three-way onto a branch's head. A
merge's `before` is the common ancestor; a cherry-pick's is the picked commit's parent; a revert is the same backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection

from bascule.errors import Conflict
from bascule.history import expiry, names, rows
from bascule.history.commits import Change, Commit, Object
from bascule.history.merging import Plan, Resolver, Settled, Staged, clash, kept, plan, settle, together

if TYPE_CHECKING:
    from bascule.history.repository import History

TRIES = 20

Check = Callable[[Staged], None]
# Given the state that would land, returns what lands instead and beside it: path to object, None to remove.
Adapt = Callable[[Staged], Mapping[str, Object | None]]
Also = Callable[[Connection, Commit], None]


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is brought.

    Attributes:
        source: the commit that it comes from; of what is undone the head, which nothing comes to from elsewhere.
        before, after: roots of the two states whose difference is brought.
        only: paths that are given the state of `after` whatever the branch has; nothing is compared with `before`.
        parent: whether the new commit has `source` as its second parent, as a plain merge has.
        clash: makes the error that names paths in conflict.
    """

    source: Commit
    before: str
    after: str
    parent: bool
    clash: Callable[[list[str]], Conflict]
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is asked on the way.

    Attributes:
        resolve: settles a path that both sides changed.
        check: sees the state that would land, and raises to stop it.
        adapt: may change what comes, and add what has to follow from it: for objects of which a part belongs to the
            branch that they are on, or that refer to what goes. It is asked again when the branch moved meanwhile.
        also: writes records in the transaction in which the branch moves.
    """

    resolve: Resolver | None = None
    check: Check | None = None
    adapt: Adapt | None = None
    also: Also | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the new commit says, and what the reflog calls it."""

    message: str
    author: str
    action: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def join(
    history: History, into: str, incoming: Callable[[Commit], Incoming | None], rules: Rules, told: Told
) -> Commit:
    """Bring a change into a branch, and again when it moved meanwhile in a way that matters.

    Args:
        incoming: says for a head what is brought, or None when it has it already.

    Returns:
        The new commit, or the head when nothing is to be brought.

    Raises:
        Conflict: for paths that both sides changed, or when the branch never stood still. Nothing was changed.
    """
    for _ in range(TRIES):
        target = history.resolve(into)
        change = incoming(target)
        if change is None:
            return target
        landed = _attempt(history, into, target, change, rules, told)
        if landed is not None:
            return landed
    raise Conflict(
        f"Branch {into!r} moved {TRIES} times while {told.action} was being checked, each time in what it touches.",
        hint="Repeat when the other writers are done.",
    )


def _attempt(history: History, into: str, target: Commit, change: Incoming, rules: Rules, told: Told) -> Commit | None:
    tree = history.tree
    if change.only:
        split = Plan({path: tree.get(change.after, path) for path in change.only}, ())
    else:
        split = plan(tree.diff(change.before, target.root), tree.diff(change.before, change.after))
    settled = settle(split, history.object, rules.resolve)
    if settled.clashes or settled.refused:
        raise together([*([change.clash(settled.clashes)] if settled.clashes else []), *settled.refused])
    reads: set[str] = set()
    if rules.adapt:
        settled = _adapted(settled, rules.adapt(_staged(history, target, change.source, settled, reads)))
    if rules.check:
        rules.check(_staged(history, target, change.source, settled, reads))
    return _land(history, into, target, change, settled, reads, rules, told)


def _adapted(settled: Settled, instead: Mapping[str, Object | None]) -> Settled:
    fresh = dict(settled.fresh)
    digests = {**settled.digests, **{path: kept(fresh, value) for path, value in instead.items()}}
    return Settled(digests, fresh, settled.clashes)


def _staged(history: History, target: Commit, source: Commit, settled: Settled, reads: set[str]) -> Staged:
    changes = []
    for path, after in sorted(settled.digests.items()):
        before = history.tree.get(target.root, path)
        if before != after:
            changes.append(Change.of(path, _value(history, settled, before), _value(history, settled, after)))

    def read(path: str) -> Object | None:
        reads.add(path)
        return history.read(target, path)

    def entries(prefix: str) -> list[tuple[str, Object]]:
        reads.add(prefix + "*")
        return history.entries(target, prefix)

    return Staged(source, target, tuple(changes), read, entries, lambda prefix: reads.add(prefix + "*"))


def _value(history: History, settled: Settled, digest: str | None) -> Object | None:
    if digest is None:
        return None
    if digest in settled.fresh:
        fresh: Object = msgspec.json.decode(settled.fresh[digest])
        return fresh
    return history.object(digest)


def _land(
    history: History,
    into: str,
    target: Commit,
    change: Incoming,
    settled: Settled,
    reads: set[str],
    rules: Rules,
    told: Told,
) -> Commit | None:
    with history.catalog.write() as conn:
        head = history.commit_by_id(names.branch(conn, into).head, conn)
        if head.id != target.id and _matters(history, target, head, settled, reads):
            return None  # what was checked is not what would land
        for name, body in settled.fresh.items():
            rows.write_node(conn, name, body)
        root = history.tree.update(head.root, settled.digests, lambda name, body: rows.write_node(conn, name, body))
        if root == head.root and not change.parent:
            return head
        parents = (head.id, change.source.id) if change.parent else (head.id,)
        commit = history.record(conn, parents, root, told.author, told.message, dict(told.meta))
        rows.move(conn, into, head.id, commit, told.author, told.action)
        expiry.refuse(conn, filter(None, settled.digests.values()))
        if rules.also is not None:
            rules.also(conn, commit)
    return commit


def _matters(history: History, target: Commit, head: Commit, settled: Settled, reads: set[str]) -> bool:
    """Tell whether what others landed meanwhile touches what this brings, or what its check looked at.

    When it does not, the check would see the same again, so what it approved still is what lands: a busy branch
    does not starve a merge whose checks take long.
    """
    prefixes = tuple(name[:-1] for name in reads if name.endswith("*"))
    return any(
        path in settled.digests or path in reads or path.startswith(prefixes)
        for path, _, _ in history.tree.diff(target.root, head.root)
    )


def merged(sides: tuple[str, str], base: Commit | None) -> Callable[[list[str]], Conflict]:
    """Return how a merge's conflict is told."""
    return lambda paths: clash(paths, sides, base)


def undone(commit: Commit, on: str) -> Callable[[list[str]], Conflict]:
    """Return how a revert's conflict is told."""
    return lambda paths: Conflict(
        f"{commit.short} cannot be reverted on {on!r}: changed again since: {', '.join(paths[:5])}.",
        paths=paths,
        hint="Revert the later commits first, youngest first, or bring single paths back: "
        f"bascule restore {paths[0]} --from {commit.parents[0][:10]}",
    )


def picked(commit: Commit, on: str) -> Callable[[list[str]], Conflict]:
    """Return how a cherry-pick's conflict is told."""
    return lambda paths: Conflict(
        f"{commit.short} cannot be picked onto {on!r}: it has other states there: {', '.join(paths[:5])}.",
        paths=paths,
        hint=f"Compare with `bascule diff {on} {commit.short}`, and keep one side with --ours PATH or --theirs PATH.",
    )
