"""Blobs of records that hold a subject: output of scripts, files that they wrote, code as it was, evaluated rows.

A blob is called by its content, so one that changes is another: it is put without the subject, the records that name
the old one name the new one, in one transaction, and the old one is deleted. So do objects of the history, of cards
and contracts. A model's bundle cannot change without proving nothing: it goes as a whole, by the policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, String, Table, Text, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from bascule.catalog.schema import metadata, settings, training_sets
from bascule.history import Workspace
from bascule.lake.filesets.references import references as of_files
from bascule.lake.filesets.references import states
from bascule.lake.forgetting import Forgotten, Request
from bascule.lake.maintenance.references import blobs_of_records
from bascule.project.erasing.catalogued import KEPT
from bascule.project.erasing.contents import Sought, cleaned
from bascule.project.erasing.objects import in_objects
from bascule.project.withdrawing import bundles

OLD = "forgetting-blobs"  # the setting that names blobs that nothing names any more, until they are deleted


def from_blobs(request: Request, sought: Sought) -> list[Forgotten]:
    """Put the blobs of records that hold the subject anew without it, and delete those that nothing names."""
    workspace = request.workspace
    if not request.dry_run:
        _delete_old(workspace)
    changed = dict(_changed(workspace, sought))
    for digest in {*bundles(workspace), *_of_file_sets(workspace, changed)}:
        changed.pop(digest, None)
    if not changed:
        return []
    if request.dry_run:
        return [Forgotten("outputs and code", len(changed))]
    fresh = {old: workspace.store.put(data) for old, data in changed.items()}
    moved = fresh
    while moved := _listings(workspace, moved, fresh):  # a listing of files names them by their digests
        fresh |= moved
    _rename(workspace, fresh)
    _delete_old(workspace)
    return [Forgotten("outputs and code", len(changed))]


def in_file_sets(request: Request, sought: Sought) -> list[Forgotten]:
    """Count the blobs that hold the subject and that versions of file sets are made of."""
    found = [digest for digest, _ in _changed(request.workspace, sought)]
    count = len(_of_file_sets(request.workspace, found))
    return [Forgotten("file sets", count)] if count else []


def _changed(workspace: Workspace, sought: Sought) -> Iterator[tuple[str, bytes]]:
    with workspace.catalog.read() as conn:
        sets = set(conn.execute(select(training_sets.c.blob)).scalars())
    for digest in list(workspace.store.digests()):
        if digest in sets:
            continue  # they keep their ids and count their rows: another step has them
        data = workspace.store.get(digest)
        if sought.may_be_in(data) and (after := cleaned(data, sought)) != data:
            yield digest, after


def _of_file_sets(workspace: Workspace, digests: Iterable[str]) -> set[str]:
    """Return those of some blobs that versions of file sets are made of."""
    wanted, found, seen = set(digests), set[str](), set[bytes]()
    for _, _, value in states(workspace) if wanted else ():
        found |= wanted & set(of_files(workspace.store, value, seen))
    return found


def _listings(workspace: Workspace, moved: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """Put listings anew that name a blob which moved; return their digests, old and new."""
    found = {}
    for digest in blobs_of_records(workspace) - known.keys():
        if not workspace.store.has(digest):
            continue
        data = workspace.store.get(digest)
        if data[:1] == b"{" and any(old.encode() in data for old in moved):
            found[digest] = workspace.store.put(_renamed(data.decode(), moved).encode())
    for digest, new in known.items():
        data = workspace.store.get(new)
        if data[:1] == b"{" and any(old.encode() in data for old in moved):
            found[digest] = workspace.store.put(_renamed(data.decode(), moved).encode())
    return found


def _renamed(text: str, fresh: dict[str, str]) -> str:
    for old, new in fresh.items():
        text = text.replace(old, new)
    return text


def _rename(workspace: Workspace, fresh: dict[str, str]) -> None:
    with workspace.catalog.write() as conn:
        for table in metadata.sorted_tables:
            if table.name not in KEPT:
                _rename_in(conn, table, fresh)
        in_objects(conn, lambda text: _renamed(text, fresh), [old.encode() for old in fresh])
        conn.execute(delete(settings).where(settings.c.key == OLD))
        conn.execute(insert(settings).values(key=OLD, value=json.dumps(sorted(fresh))))


def _rename_in(conn: Connection, table: Table, fresh: dict[str, str]) -> None:
    texts = [c for c in table.columns if isinstance(c.type, String | Text)]
    keys = list(table.primary_key.columns)
    if not texts or not keys:
        return
    for old in fresh:
        hit = or_(*(c.contains(old) for c in texts))
        rows: list[Any] = list(conn.execute(select(*dict.fromkeys([*keys, *texts])).where(hit)).mappings())
        for row in rows:
            new = {c.name: _renamed(row[c], fresh) for c in texts if row[c] is not None and old in row[c]}
            this = and_(*(c == row[c] for c in keys))
            try:
                with conn.begin_nested():
                    conn.execute(update(table).where(this).values(new))
            except IntegrityError:  # two that differed in the subject alone are one now
                conn.execute(delete(table).where(this))


def _delete_old(workspace: Workspace) -> None:
    with workspace.catalog.read() as conn:
        told = conn.execute(select(settings.c.value).where(settings.c.key == OLD)).scalar()
    if told is None:
        return
    for digest in json.loads(told):
        workspace.store.delete(digest)
    with workspace.catalog.write() as conn:
        conn.execute(delete(settings).where(settings.c.key == OLD))
