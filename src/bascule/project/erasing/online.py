"""Timelines in the online store, of entities that the subject's key or its rows name."""

from __future__ import annotations

from bascule.features import open_online
from bascule.lake.forgetting import Forgotten, Request
from bascule.lake.forgetting.looking import rows_of, shared_values
from bascule.project.erasing.values import Shared, distinctive, holds, needles


def from_online(request: Request) -> list[Forgotten]:
    """Take the subject's timelines, of all branches, out of the online store: of entities that its columns name."""
    if not request.workspace.has_online:
        return []
    folder = request.workspace.online_folder
    store, wanted = open_online(request.workspace.online), needles(request.key)
    # A value that is the subject's alone names an entity also where the rest of the key is no part of the entity's.
    alone = [{column: value} for column, value in request.key.items() if not isinstance(value, Shared)]
    subjects = [dict(request.key), *(alone if len(request.key) > 1 else ())]
    if request.dry_run:
        removed = max(store.count(one) for one in subjects)
    else:
        has_old_pages = any(holds(file, wanted) for file in folder.rglob("*.mdb"))
        removed = sum(store.forget(one, rewrite=has_old_pages) for one in subjects)
    return [Forgotten("online stores", removed)] if removed else []


def from_online_by_rows(request: Request) -> list[Forgotten]:
    """Take timelines out of entities that another column of the subject's rows names: an email, of who is `id=7`."""
    if not request.workspace.has_online:
        return []
    store, removed = open_online(request.workspace.online), 0
    rows = rows_of(request.workspace, request.table, request.key)
    known = {column.casefold() for column in request.key}
    cells = {(column, value) for row in rows for column, value in row.items() if isinstance(value, str | int)}
    for column, value in sorted(cells, key=str):
        if column in known or not distinctive(str(value)) or not store.count({column: value}):
            continue
        named = {**request.key, column: value}
        if column not in shared_values(request.workspace, request.table, named):
            removed += store.count({column: value}) if request.dry_run else store.forget({column: value})
    return [Forgotten("online stores", removed)] if removed else []
