"""Putting a legal hold on something that is there, and asking which holds stand against letting something go."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from bascule.catalog import actor, audit
from bascule.catalog.schema import commits, record_tables
from bascule.errors import NotFound
from bascule.history import holds, names
from bascule.history.holds import Hold
from bascule.history.workspace import Workspace

DESPITE = "Release the hold first, or say why it does not stand against this: --despite-hold REASON"


def hold(workspace: Workspace, subject: str, reason: str, author: str | None = None) -> Hold:
    """Hold a branch, a tag, a commit, or a path such as `tables/flights` in every state.

    Raises:
        NotFound: when there is no such ref, and no commit has such a path: nobody should trust in a misspelt hold.
        InputError: without a reason.
        Expired: when the state's data are gone already.
    """
    with workspace.catalog.write() as conn:
        made = holds.add(conn, subject, reason, author or actor())
        if made.kind == holds.PATH:
            _refuse_unknown(workspace, conn, subject)
    return made


def against(workspace: Workspace, table: str, found_in: Collection[str], *, prefix: str = "tables/") -> list[Hold]:
    """Return the holds on a table, and on states that hold rows of it which are to go.

    Args:
        found_in: ids of the commits whose state has such rows.
        prefix: of the path that a hold may name: `tables/` or `files/`.
    """
    history, wanted = workspace.history, set(found_in)
    with workspace.catalog.read() as conn:
        every = holds.listed(conn)
        heads = {ref.name: ref.head for ref in names.listed(conn)}
    hit = []
    for one in every:
        if one.kind == holds.PATH:
            is_hit = one.subject == f"{prefix}{table}"
        elif one.kind == holds.BRANCH:
            is_hit = bool(wanted) and not wanted.isdisjoint(commit.id for commit in history.log(heads[one.subject]))
        else:
            is_hit = heads.get(one.subject, one.subject) in wanted
        if is_hit:
            hit.append(one)
    return hit


def overrule(
    workspace: Workspace,
    found: Collection[Hold],
    table: str,
    why: str,
    author: str | None = None,
    *,
    prefix: str = "tables/",
) -> None:
    """Refuse to forget rows that holds stand against; with a reason, tell the audit log that it is done despite them.

    Args:
        why: the reason; empty for none.

    Raises:
        Held: without a reason, naming the holds.
    """
    if not found:
        return
    if not why.strip():
        holds.refuse(found, f"Rows of {table} cannot be forgotten", DESPITE)
    detail = {"reason": why.strip(), "holds": [{"id": one.id, "subject": one.subject} for one in found]}
    with workspace.catalog.write() as conn:
        audit.append(conn, actor=author or actor(), action="despite-hold", subject=f"{prefix}{table}", detail=detail)


def _refuse_unknown(workspace: Workspace, conn: Connection, path: str) -> None:
    history = workspace.history
    kind, _, name = path.partition("/")
    records = conn.execute(select(record_tables.c.name)).scalars().all() if kind == "tables" else []
    if name in records:
        return
    for root in conn.execute(select(commits.c.root).distinct()).scalars():
        if history.tree.get(root, path) is not None:
            return
    known = [one for branch in names.listed(conn, "branch") for one in history.digests(branch.head, f"{kind}/")]
    raise NotFound("ref or path", path, {*known, *(f"tables/{one}" for one in records)})
