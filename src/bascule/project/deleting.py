"""Deleting versions of models from a branch and bringing them back: refused while used, checked as what else lands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection

from bascule.catalog import actor
from bascule.delivery.using import aliased, refuse_used, uses
from bascule.errors import Conflict, InputError
from bascule.history import Commit, Workspace
from bascule.history.deleted import Deletion, ids_in
from bascule.lake.maintenance import retention
from bascule.naming import MODELS, model_path
from bascule.project.admitting import admission
from bascule.registry import deletions
from bascule.registry.approvals import checked_reason
from bascule.registry.external import touched
from bascule.registry.register import TRIES, busy
from bascule.registry.versions import LATEST, said_version, version_at

Which = int | str | None
# A client of another registry asks for no reason.
CLIENT = "a client of the registry asked for it"


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion did.

    Attributes:
        versions: what went from the branch, youngest first.
        commit: the id of its commit.
        elsewhere: branches and tags that have a version still, by the version: while they do, its files stay.
        purged_after: how long it can be restored at least; microseconds.
    """

    model: str
    versions: tuple[int, ...]
    branch: str
    commit: str
    reason: str
    elsewhere: dict[int, tuple[str, ...]]
    purged_after: int


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: versions, by what commit, and the aliases that pointed to each and do not any more."""

    model: str
    versions: tuple[int, ...]
    branch: str
    commit: str
    aliases: dict[int, tuple[str, ...]]


def delete(
    ws: Workspace,
    branch: str,
    name: str,
    which: Which = None,
    *,
    reason: str,
    folder: Path | None = None,
    who: str | None = None,
) -> Deleted:
    """Take a version from a branch, or without one the whole model. `restore` brings it back until gc purges it.

    Args:
        name: `delays`, or `delays@3`.
        which: a number or an alias.
        folder: the project's, for what else it requires on a protected branch.

    Raises:
        NotFound: there is no such branch, model or version.
        InputError: an alias points to it, or a deployment of any branch uses it; says which, and what to do.
        CheckFailed: the branch is protected, and a check refused it.
    """
    text, author = checked_reason(reason, "Deleting a version"), who or actor()
    model, asked = said_version(name, which)
    return _delete(ws, branch, model, asked, text, author, folder)


def delete_for_client(
    ws: Workspace, branch: str, model: str, version: int | None = None, *, folder: Path | None = None, who: str
) -> Deleted:
    """As `delete`, as clients of other registries ask for it: at once, with the aliases that point to what goes."""
    return _delete(ws, branch, model, version, CLIENT, who, folder, with_aliases=True)


def _delete(
    ws: Workspace,
    branch: str,
    model: str,
    asked: Which,
    text: str,
    author: str,
    folder: Path | None,
    *,
    with_aliases: bool = False,
) -> Deleted:
    path = model_path(model)
    for _ in range(TRIES):
        head = ws.history.resolve(branch)
        before = ws.history.get(head, path)
        numbers = _numbers(ws, branch, head, path, model, asked)
        named = [] if with_aliases else [use for number in numbers for use in aliased(branch, before, number)]
        refuse_used(model, [*named, *(use for number in numbers for use in uses(ws, model, number))])
        after = touched(deletions.without(before, numbers)) if asked is not None else None
        shown = f"version {numbers[0]} of the model {model}" if asked is not None else f"the model {model}"
        note = partial(_note, branch, before, numbers, text, author)
        message = f"Delete {shown} ({text.splitlines()[0][:200]})"
        try:
            made = _land(ws, branch, head, {path: after}, message, author, deletions.DELETE, note, folder)
        except Conflict:
            continue
        with ws.catalog.read() as conn:
            span = retention.load(conn).unnamed
        return Deleted(
            model=model,
            versions=tuple(numbers),
            branch=branch,
            commit=made.id,
            reason=text,
            elsewhere=_elsewhere(ws, path, before, numbers),
            purged_after=span,
        )
    raise busy(model)


def restore(
    ws: Workspace,
    branch: str,
    name: str,
    which: int | None = None,
    *,
    reason: str = "",
    folder: Path | None = None,
    who: str | None = None,
) -> Restored:
    """Bring a deleted version back to a branch; with the model's name alone, all that were deleted together last.

    Raises:
        NotFound: it was not deleted there.
        Expired: it was purged.
        InputError: it is there.
    """
    model, asked = said_version(name, which)
    author = who or actor()
    for _ in range(TRIES):
        head = ws.history.resolve(branch)
        wanted = _deleted(ws, head, model, "" if asked is None else str(asked))
        path = model_path(model)
        after = before = ws.history.read(head, path)
        for one in wanted:
            after = deletions.restored(after, one)
        numbers = sorted((one.version for one in wanted), reverse=True)
        shown = ", ".join(map(str, numbers))
        message = f"Restore version{'s' if numbers[1:] else ''} {shown} of the model {model}"
        note = partial(_note_restored, branch, wanted, reason.strip(), author)
        try:
            made = _land(ws, branch, head, {path: after}, message, author, deletions.RESTORE, note, folder)
        except Conflict:
            continue
        taken = set((before or {}).get("aliases", {}))
        lost = {one.version: tuple(a for a in one.held.get("aliases", ()) if a not in taken) for one in wanted}
        aliases = {number: names for number, names in lost.items() if names}
        return Restored(model=model, versions=tuple(numbers), branch=branch, commit=made.id, aliases=aliases)
    raise busy(model)


def _numbers(ws: Workspace, branch: str, head: Commit, path: str, model: str, asked: Which) -> list[int]:
    if asked is not None:
        return [version_at(ws, branch, path, model, asked if asked != "" else LATEST).version]
    return sorted((int(number) for number in ws.history.get(head, path)["versions"]), reverse=True)


def _deleted(ws: Workspace, head: Commit, model: str, which: str) -> list[Deletion]:
    if which:
        found = ws.history.read(head, model_path(model))
        if found and which in found["versions"]:
            raise InputError(f"{model}@{which} is there.", hint="There is nothing to restore.")
        number = int(which) if which.isdecimal() else -1
        one = deletions.of_version(ws, head, model, number)
        if one.purged_at is not None:
            raise deletions.gone(one)
        return [one]
    every = deletions.deleted(ws, head, model)
    if not every:
        deletions.of_version(ws, head, model, -1)
    return [one for one in every if one.at == every[0].at]  # a renaming since is one commit for all


def _land(
    ws: Workspace,
    branch: str,
    head: Commit,
    changes: dict[str, Any],
    message: str,
    author: str,
    action: str,
    note: Callable[[Connection, Commit], None],
    folder: Path | None,
) -> Commit:
    """Commit a change of models, held to what the branch asks for; `Conflict` when somebody else was first."""
    looked_at = admission(ws, branch, folder)(head, changes)
    expect = {path: ws.history.digest(head, path) for path in changes} | dict(looked_at)
    expect |= {"deployments/*": ws.history.listing(head, "deployments/")}  # nothing came to serve it meanwhile
    return ws.history.commit(branch, changes, message=message, author=author, expect=expect, action=action, also=note)


def _note(
    branch: str,
    before: Mapping[str, Any],
    numbers: Sequence[int],
    reason: str,
    who: str,
    conn: Connection,
    commit: Commit,
) -> None:
    deletions.note(conn, branch, before, numbers, reason, who, commit)


def _note_restored(
    branch: str, wanted: Sequence[Deletion], reason: str, who: str, conn: Connection, commit: Commit
) -> None:
    for one in wanted:
        deletions.note_restored(conn, branch, one, reason, who, commit)


def _elsewhere(
    ws: Workspace, path: str, before: Mapping[str, Any], numbers: Sequence[int]
) -> dict[int, tuple[str, ...]]:
    ids = {str(before["versions"][str(number)]["id"]): number for number in numbers}
    found: dict[int, tuple[str, ...]] = {}
    for ref in (*ws.history.branches(), *ws.history.tags()):
        for _, value in ws.history.entries(ref.head, MODELS):
            for one in sorted(ids.keys() & ids_in(value)):
                found[ids[one]] = (*found.get(ids[one], ()), f"{ref.kind} {ref.name}")
    return found
