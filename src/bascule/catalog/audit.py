"""The audit log: entries that are chained by hash, so that a change in the past shows.

Entry n holds the hash of entry n-1; its own hash is BLAKE3 over the canonical JSON of all its other fields. Deleting,
editing or reordering an entry breaks the chain from there on.

What names somebody who is to be forgotten is taken out of an entry without breaking the chain: the entry keeps its
hash, and a later one, in the chain itself, says which entries were redacted and what they are since. So a redaction
shows, and any other change does, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, Row, func, insert, or_, select, text, update

from bascule.catalog.ids import now
from bascule.catalog.schema import audit

if TYPE_CHECKING:
    from bascule.catalog.database import Catalog

GENESIS = "0" * 64
# Any fixed number will do: it names the lock that makes PostgreSQL writers take turns at the chain's end.
CHAIN_LOCK = 7_400_001
REDACT = "redact"
# Built once: every change of a branch asks this.
_END = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_ENTRY = insert(audit)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the chain found. `first_bad` is the sequence number of the first entry that does not fit.

    `redacted` entries have had a forgotten subject taken out of them, as a later entry says.
    """

    entries: int
    ok: bool
    first_bad: int | None
    head: str
    redacted: int = 0


def append(conn: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> int:
    """Add an entry inside the caller's transaction and return its sequence number.

    The entry exists if and only if what it tells of was committed.
    """
    take_turn(conn)
    last = conn.execute(_END).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
    fields = {
        "seq": seq,
        "at": now(),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail_json": msgspec.json.encode(detail or {}, order="deterministic").decode(),
        "previous_hash": previous,
    }
    conn.execute(_ENTRY, {**fields, "hash": _hash(fields)})
    return int(seq)


def take_turn(conn: Connection) -> None:
    """Hold the chain's end until the transaction ends: whoever moves a name waits, and what others wrote is seen."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})


def verify(catalog: Catalog) -> AuditReport:
    """Walk the whole chain and tell whether every entry is the one that was written."""
    previous, entries, redacted = GENESIS, 0, 0
    with catalog.read() as conn:
        total = conn.execute(select(func.count()).select_from(audit)).scalar_one()
        known = _redactions(conn)
        chain = select(audit).order_by(audit.c.seq)
        with conn.execute(chain, execution_options={"yield_per": 1000}) as rows:
            for row in rows:
                entries += 1
                is_first = row.hash == (now_is := _hash(_fields(row)))
                is_redacted = not is_first and (row.hash, now_is) == known.get(row.seq)
                if row.seq != entries or row.previous_hash != previous or not (is_first or is_redacted):
                    return AuditReport(total, False, row.seq, previous, redacted)
                previous, redacted = row.hash, redacted + is_redacted
    return AuditReport(total, True, None, previous, redacted)


def redact(
    conn: Connection, holding: Sequence[str], clean: Callable[[str], str], *, actor: str, dry_run: bool = False
) -> int:
    """Take texts out of all entries, inside the caller's transaction, and add an entry that says of which.

    Args:
        holding: what an entry has in it that is to be cleaned.
        clean: gives a text without it; of a detail it is given the JSON.
    """
    take_turn(conn)
    columns = (audit.c.actor, audit.c.subject, audit.c.detail_json)
    hit = or_(*(column.contains(one, autoescape=True) for column in columns for one in holding))
    done: dict[str, list[str]] = {}
    for row in conn.execute(select(audit).where(hit).order_by(audit.c.seq)).all() if holding else ():
        fresh = {**_fields(row), **{column.name: clean(getattr(row, column.name)) for column in columns}}
        if fresh != _fields(row):
            done[str(row.seq)] = [row.hash, _hash(fresh)]
            if not dry_run:
                conn.execute(update(audit).where(audit.c.seq == row.seq).values(fresh))
    if done and not dry_run:
        append(conn, actor=actor, action=REDACT, subject="audit", detail={"entries": done})
    return len(done)


def _redactions(conn: Connection) -> dict[int, tuple[str, str]]:
    """Return by entry the hash that it had and keeps, and the hash of what it is since its last redaction."""
    query = select(audit.c.seq, audit.c.detail_json).where(audit.c.action == REDACT).order_by(audit.c.seq)
    found: dict[int, tuple[str, str]] = {}
    for row in conn.execute(query).all():
        for seq, (had, has) in msgspec.json.decode(row.detail_json).get("entries", {}).items():
            if int(seq) < row.seq:
                found[int(seq)] = had, has
    return found


def last(catalog: Catalog, limit: int) -> list[dict[str, Any]]:
    """Return the last entries, youngest first; `at` is a time in UTC, to the second."""
    with catalog.read() as conn:
        rows = conn.execute(select(audit).order_by(audit.c.seq.desc()).limit(limit)).mappings().all()
    return [{**row, "at": datetime.fromtimestamp(row["at"] // 1_000_000, UTC)} for row in rows]


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {k: v for k, v in row._mapping.items() if k != "hash"}


def _hash(fields: Mapping[str, Any]) -> str:
    return blake3(msgspec.json.encode(fields, order="deterministic")).hexdigest()
