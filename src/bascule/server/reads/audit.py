"""The audit log, youngest entries first, and whether its chain holds."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog import audit, schema
from bascule.catalog.texts import holding
from bascule.history import Workspace

PAGE = 100


class AuditEntry(msgspec.Struct, frozen=True):
    """One entry: who did what to what, and when (microseconds since the epoch)."""

    seq: int
    at: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    hash: str


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, youngest first. `next` is the `before` of the following page."""

    entries: list[AuditEntry]
    next: int | None


class AuditState(msgspec.Struct, frozen=True):
    """Whether each entry is the one that was written."""

    entries: int
    ok: bool
    first_bad: int | None
    head: str


def list_audit(
    ws: Workspace,
    *,
    before: int | None = None,
    subject: str | None = None,
    text: str | None = None,
    limit: int = PAGE,
) -> AuditPage:
    """Return a page of the audit log.

    Args:
        subject: only entries about exactly this.
        text: a part of the actor, the action or the subject.
    """
    a = schema.audit.c
    wanted = select(schema.audit).order_by(a.seq.desc()).limit(limit + 1)
    wanted = wanted.where(a.seq < before) if before is not None else wanted
    wanted = wanted.where(a.subject == subject) if subject else wanted
    if text:
        wanted = wanted.where(holding(text, a.actor, a.action, a.subject))
    with ws.catalog.read() as conn:
        rows = conn.execute(wanted).all()
    entries = [
        AuditEntry(r.seq, r.at, r.actor, r.action, r.subject, msgspec.json.decode(r.detail_json), r.hash)
        for r in rows[:limit]
    ]
    return AuditPage(entries, entries[-1].seq if len(rows) > limit else None)


def verify_audit(ws: Workspace) -> AuditState:
    """Walk the whole chain."""
    found = audit.verify(ws.catalog)
    return AuditState(found.entries, found.ok, found.first_bad, found.head)
