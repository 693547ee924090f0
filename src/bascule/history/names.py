"""Branches and tags in the catalog: found, listed, made and removed inside the caller's transaction."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from bascule.catalog import audit, now
from bascule.catalog.schema import commits, ref_log, refs
from bascule.errors import AlreadyExists, InputError, NotFound
from bascule.history import expiry, rows
from bascule.history.refs import Kind, Ref

ID_PREFIX = 4
OWN = "ingest/"  # how the branches of batches begin, which no git has


def listed(conn: Connection, kind: Kind | None = None) -> list[Ref]:
    """Return all branches or all tags (None: both) by name."""
    query = select(refs).order_by(refs.c.name)
    found = conn.execute(query.where(refs.c.kind == kind) if kind else query)
    return [Ref(**row._mapping) for row in found]


def branch(conn: Connection, name: str) -> Ref:
    """Return a branch, which nobody else moves until the transaction ends.

    Raises:
        NotFound: when there is none, with the nearest name.
        InputError: when the name is a tag's.
    """
    found = rows.find_ref(conn, name, lock=True)
    if found is None:
        raise NotFound("branch", name, [ref.name for ref in listed(conn, "branch")])
    if found.kind != "branch":
        raise InputError(f"{name!r} is a tag: it names one commit for good.", hint="Make a branch at it first.")
    return found


def head(conn: Connection, name: str, asked: str) -> str:
    """Return the commit's id that a branch, a tag, an id or its start means; `asked` is what the user wrote."""
    if found := rows.find_ref(conn, name):
        return found.head
    if len(name) >= ID_PREFIX and all(c in "0123456789abcdef" for c in name):
        ids = conn.execute(select(commits.c.id).where(_begins_with(name)).limit(2)).scalars().all()
        if len(ids) == 1:
            return str(ids[0])
        if ids:
            raise InputError(f"{name!r} begins more than one commit.", hint="Write more of the id.")
    raise NotFound("branch, tag or commit", asked, [ref.name for ref in listed(conn)])


def _begins_with(start: str) -> ColumnElement[bool]:
    # A range and not LIKE, which reads every commit: SQLite's does not heed case, so it has no use for the index.
    return and_(commits.c.id >= start, commits.c.id < f"{start}g")


def head_at(conn: Connection, name: str, at: int) -> str:
    """Return the commit's id that a branch or a tag named at a time (microseconds since the epoch)."""
    head(conn, name, name)
    moves = ref_log.c.ref == name, ref_log.c.after.is_not(None)
    past = select(ref_log.c.after).where(*moves, ref_log.c.at <= at).order_by(ref_log.c.seq.desc()).limit(1)
    if found := conn.execute(past).scalar():
        return str(found)
    first = conn.execute(select(ref_log.c.at).where(*moves).order_by(ref_log.c.seq).limit(1)).scalar()
    if first is None:
        raise NotFound(
            "state", f"{name} at that time", hint=f"{name!r} is a commit: only branches and tags have times."
        )
    begun = datetime.fromtimestamp(first / 1e6, UTC).isoformat(timespec="seconds")
    raise NotFound("state", f"{name} at that time", hint=f"{name!r} begins at {begun.replace('+00:00', 'Z')}.")


def create(conn: Connection, name: str, kind: Kind, at: str, author: str) -> Ref:
    """Name a commit, and say so in the reflog and the audit log.

    Raises:
        AlreadyExists: when a branch or a tag has the name.
        Expired: when the commit's data are gone.
    """
    if found := rows.find_ref(conn, name):
        hint = "Take another name; bascule branch and bascule tag list those that are taken."
        raise AlreadyExists(found.kind, name, hint=hint)
    _refuse_mistakable(conn, name)
    moment = now()
    ref = Ref(name, kind, at, False, moment, moment)
    rows.add_ref(conn, ref)
    rows.log_move(conn, name, None, at, author, "create")
    expiry.refuse(conn, [at])
    return ref


def _refuse_mistakable(conn: Connection, name: str) -> None:
    """Raise `InputError` for a name that would be taken for a commit, or that lies below or above another one."""
    is_id = len(name) >= ID_PREFIX and all(c in "0123456789abcdef" for c in name)
    if is_id and conn.execute(select(commits.c.id).where(_begins_with(name)).limit(1)).scalar():
        told = f"{name!r} cannot name a branch or a tag: a commit's id begins so."
        raise InputError(told, hint="Take another name.")
    if name.startswith(OWN):
        return
    parts = name.split("/")
    above = refs.c.name.in_(["/".join(parts[:count]) for count in range(1, len(parts))])
    below = refs.c.name.startswith(f"{name}/", autoescape=True) & ~refs.c.name.startswith(OWN)
    if other := conn.execute(select(refs.c.name).where(above | below).limit(1)).scalar():
        raise InputError(
            f"{name!r} cannot name a branch or a tag beside {other!r}: git holds one of the two only.",
            hint=f"Take another name, such as {'-'.join(parts)}." if len(parts) > 1 else "Take another name.",
        )


def deletable(ref: Ref) -> None:
    """Raise `InputError` when a branch is protected."""
    if ref.protected:
        raise InputError(
            f"Branch {ref.name!r} is protected and is not deleted.", hint="Delete another branch; main stays."
        )


def remove(conn: Connection, ref: Ref, author: str) -> None:
    """Take a name away, and say so in the reflog and the audit log."""
    conn.execute(delete(refs).where(refs.c.name == ref.name))
    rows.log_move(conn, ref.name, ref.head, None, author, "delete")


def protect(conn: Connection, ref: Ref, protected: bool, author: str) -> None:
    """Set whether a branch is one that checks hold and nobody deletes, and say so in the audit log."""
    if ref.protected != protected:
        conn.execute(update(refs).where(refs.c.name == ref.name).values(protected=protected))
        action = "protect" if protected else "unprotect"
        audit.append(conn, actor=author, action=action, subject=f"refs/{ref.name}", detail={})
