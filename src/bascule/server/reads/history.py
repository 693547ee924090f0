"""Branches, tags, commits, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog.schema import ref_log
from bascule.errors import NotFound
from bascule.history import Commit, Ref, Workspace
from bascule.project.changes import ChangeInfo, describe

LOG_LIMIT = 1000


class CommitInfo(msgspec.Struct, frozen=True):
    """A commit and the names that point at it."""

    id: str
    parents: tuple[str, ...]
    author: str
    message: str
    created_at: int
    meta: dict[str, Any]
    names: tuple[str, ...] = ()


class RefInfo(msgspec.Struct, frozen=True):
    """A branch or tag with its head."""

    name: str
    kind: str
    head: str
    protected: bool
    created_at: int
    updated_at: int
    message: str
    author: str


class Log(msgspec.Struct, frozen=True):
    """Commits, youngest first; `more` when there are older ones."""

    ref: str
    commits: list[CommitInfo]
    more: bool


class CommitDetail(msgspec.Struct, frozen=True):
    """A commit with what it changed on its first parent."""

    commit: CommitInfo
    changes: list[ChangeInfo]
    branches: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True):
    """What differs from one state to another. `base` is the youngest commit that both descend from."""

    before: CommitInfo
    after: CommitInfo
    base: str | None
    changes: list[ChangeInfo]


def refs(ws: Workspace) -> list[RefInfo]:
    """Return all branches, `main` first, then all tags; among them the ones that moved last first."""
    found = [*ws.history.branches(), *ws.history.tags()]
    heads = {ref.head: ws.history.commit_by_id(ref.head) for ref in found}
    infos = [_ref(ref, heads[ref.head]) for ref in found]
    return sorted(infos, key=lambda ref: (ref.kind != "branch", ref.name != "main", -ref.updated_at, ref.name))


def branches(ws: Workspace) -> list[RefInfo]:
    """Return all branches, `main` first, then the ones that moved last."""
    return [ref for ref in refs(ws) if ref.kind == "branch"]


def log(ws: Workspace, ref: str, limit: int = 50, path: str | None = None) -> Log:
    """Return a state's commits, youngest first.

    Raises:
        NotFound: for an unknown ref.
    """
    limit = min(limit, LOG_LIMIT)
    found = ws.history.log(ref, limit=limit + 1, path=path)
    names = _names(ws)
    return Log(ref, [commit_info(commit, names) for commit in found[:limit]], len(found) > limit)


def commit(ws: Workspace, ref: str) -> CommitDetail:
    """Return a commit with its changes."""
    found = ws.history.resolve(ref)
    names = _names(ws)
    changes = ws.history.diff(found.parents[0], found) if found.parents else []
    described = [describe(change) for change in changes]
    return CommitDetail(commit_info(found, names), described, branches_with(ws, found.id))


def compare(ws: Workspace, before: str, after: str) -> Comparison:
    """Return what differs from `before` to `after`."""
    old, new = ws.history.resolve(before), ws.history.resolve(after)
    base, names = ws.history.common(old, new), _names(ws)
    changes = [describe(change) for change in ws.history.diff(old, new)]
    return Comparison(commit_info(old, names), commit_info(new, names), base.id if base else None, changes)


def branches_with(ws: Workspace, commit_id: str) -> tuple[str, ...]:
    """Return the branches that were moved to a commit by the commit itself: where it was made."""
    with ws.catalog.read() as conn:
        made = select(ref_log.c.ref).where(ref_log.c.after == commit_id, ref_log.c.action != "create").distinct()
        return tuple(conn.execute(made).scalars())


def object_at(ws: Workspace, ref: str, path: str) -> dict[str, Any]:
    """Return the object at a path of a state."""
    return ws.history.get(ref, path)


def paths(ws: Workspace, ref: str, prefix: str = "") -> dict[str, str]:
    """Return the paths of a state below a prefix with the digests of their objects."""
    return ws.history.digests(ref, prefix)


def is_branch(ws: Workspace, name: str) -> bool:
    """Return whether a branch has this name."""
    return any(ref.name == name for ref in ws.history.branches())


def demand_branch(ws: Workspace, name: str) -> str:
    """Return the name when it is a branch's.

    Raises:
        NotFound: with the nearest branch.
    """
    known = [ref.name for ref in ws.history.branches()]
    if name not in known:
        raise NotFound("branch", name, known)
    return name


def demand_known(ws: Workspace, branch: str | None, found: Sized) -> None:
    """Check that a branch whose records were asked for is or was one: a deleted branch keeps its records.

    Raises:
        NotFound: nothing was found and there is no such branch; with the nearest.
    """
    if branch is not None and not found:
        demand_branch(ws, branch)


def commit_info(commit: Commit, names: dict[str, tuple[str, ...]] | None = None) -> CommitInfo:
    """Return a commit as it is shown."""
    shown = (names or {}).get(commit.id, ())
    return CommitInfo(
        commit.id, commit.parents, commit.author, commit.message, commit.created_at, dict(commit.meta), shown
    )


def _names(ws: Workspace) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for ref in (*ws.history.branches(), *ws.history.tags()):
        names[ref.head] = (*names.get(ref.head, ()), ref.name)
    return names


def _ref(ref: Ref, head: Commit) -> RefInfo:
    return RefInfo(
        ref.name, ref.kind, ref.head, ref.protected, ref.created_at, ref.updated_at, head.message, head.author
    )
