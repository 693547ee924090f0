"""The history's rows in the catalog: written inside the transaction of whoever moves a branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from blake3 import blake3
from sqlalchemy import Connection, Row, bindparam, insert, literal, select, update

from bascule.catalog import audit, now, upsert
from bascule.catalog.schema import commits, nodes, ref_log, refs
from bascule.history.commits import Commit, Object, canonical, commit_id
from bascule.history.refs import Ref

# Built once: putting a statement together takes longer than SQLite does to answer it.
_REF = select(refs).where(refs.c.name == bindparam("name"))
_HELD_REF = _REF.with_for_update()
_NEW_REF, _MOVED, _NEW_COMMIT = insert(refs), insert(ref_log), insert(commits)


def find_ref(conn: Connection, name: str, lock: bool = False) -> Ref | None:
    """Return a branch or a tag by name; with `lock`, nobody else moves it until the transaction ends."""
    row = conn.execute(_HELD_REF if lock else _REF, {"name": name}).first()
    return Ref(**row._mapping) if row else None


def first_parents(conn: Connection, name: str, limit: int) -> list[Row[Any]]:
    """Return a commit's row and those of its first parents, theirs and so on, at most `limit`, in one query."""
    chain = select(commits.c.id, commits.c.parent, literal(1).label("depth")).where(commits.c.id == name)
    walk = chain.cte("chain", recursive=True)
    step = select(commits.c.id, commits.c.parent, walk.c.depth + 1).where(
        commits.c.id == walk.c.parent, walk.c.depth < limit
    )
    walk = walk.union_all(step)
    return list(conn.execute(select(commits).join(walk, walk.c.id == commits.c.id)))


def move(conn: Connection, name: str, before: str | None, after: Commit, author: str, action: str) -> None:
    """Make a branch point at a commit (`before` None makes the branch)."""
    moment = now()
    if before is None:
        add_ref(conn, Ref(name, "branch", after.id, False, moment, moment))
    else:
        conn.execute(update(refs).where(refs.c.name == name).values(head=after.id, updated_at=moment))
    log_move(conn, name, before, after.id, author, action, after.message)


def add_ref(conn: Connection, ref: Ref) -> None:
    """Write the row of a new branch or tag."""
    conn.execute(_NEW_REF, asdict(ref))


def log_move(
    conn: Connection, name: str, before: str | None, after: str | None, author: str, action: str, text: str = ""
) -> None:
    """Tell the reflog and the audit log that a name moved."""
    row = {"ref": name, "before": before, "after": after, "actor": author, "action": action, "at": now()}
    conn.execute(_MOVED, row)
    detail = {"before": before, "after": after, **({"message": text} if text else {})}
    audit.append(conn, actor=author, action=action, subject=f"refs/{name}", detail=detail)


def write_commit(
    conn: Connection,
    parents: tuple[str, ...],
    root: str,
    author: str,
    message: str,
    meta: Mapping[str, Any],
    generation: int,
) -> Commit:
    """Write a commit's row."""
    moment = now()
    name = commit_id(parents, root, author, message, moment, meta)
    parent, parent2 = (*parents, None, None)[:2]
    row = {
        "id": name,
        "parent": parent,
        "parent2": parent2,
        "root": root,
        "author": author,
        "message": message,
        "created_at": moment,
        "generation": generation,
        "meta_json": canonical(meta).decode(),
    }
    conn.execute(_NEW_COMMIT, row)
    return Commit(name, parents, root, author, message, moment, generation, dict(meta))


def write_object(conn: Connection, value: Object | None) -> str | None:
    """Write an object and return its digest."""
    if value is None:
        return None
    body = canonical(value)
    name = blake3(body).hexdigest()
    write_node(conn, name, body)
    return name


def write_node(conn: Connection, name: str, body: bytes) -> None:
    """Write a content-addressed part; writing it again does nothing."""
    conn.execute(upsert(conn, nodes).values(hash=name, body=body).on_conflict_do_nothing())
