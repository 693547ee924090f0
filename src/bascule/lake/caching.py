"""Letting go of what others forgot: every machine that read tables in object storage has blocks of them in a cache."""

from __future__ import annotations

import time
from contextlib import suppress

import msgspec
from sqlalchemy import func, select

from bascule.catalog.schema import audit
from bascule.history import Workspace
from bascule.store import ObjectPath

NOTE = "forgotten-up-to"
SECONDS = 30.0


def let_go_of_the_forgotten(workspace: Workspace) -> None:
    """Drop from this machine's cache the files that a forgetting on another one removed; asked twice a minute at most.

    The audit log names them. Its last entry that was heeded is noted in the cache.
    """
    storage = workspace.storage
    cache = storage.shelf.cache if isinstance(storage, ObjectPath) else None
    if cache is None or time.monotonic() - cache.heeded < SECONDS:
        return
    note = cache.folder / NOTE
    last = 0
    with suppress(OSError, ValueError):
        last = int(note.read_text("ascii"))
    with workspace.catalog.read() as conn:
        newest = conn.execute(select(func.coalesce(func.max(audit.c.seq), 0))).scalar_one()
        found = []
        if cache.folder.exists() and last < newest:
            query = select(audit.c.detail_json).where(audit.c.seq > last, audit.c.seq <= newest)
            found = list(conn.execute(query.where(audit.c.action == "forget")).scalars())
    for text in found:
        files = msgspec.json.decode(text).get("files") or []
        cache.drop_named(file["path"].rpartition("/")[2] for file in files)
    if found:
        cache.drop_wholes()  # manifests, whose bounds hold values
    if last < newest:
        with suppress(OSError):
            cache.folder.mkdir(parents=True, exist_ok=True)
            note.write_text(str(newest), "ascii")
    cache.heeded = time.monotonic()
