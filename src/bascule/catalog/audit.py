"""The audit log: entries that are chained by hash, so that a change in the past shows.

Entry n holds the hash of entry n-1; its own hash is BLAKE3 over the canonical JSON of all its other fields. Deleting,
editing or reordering an entry breaks the chain from there on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, Row, func, insert, select, text

from bascule.catalog.ids import now
from bascule.catalog.schema import audit

if TYPE_CHECKING:
    from bascule.catalog.database import Catalog

GENESIS = "0" * 64
# Any fixed number will do: it names the lock that makes PostgreSQL writers take turns at the chain's end.
CHAIN_LOCK = 7_400_001
# Built once: every change of a branch asks this.
_END = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_ENTRY = insert(audit)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the chain found. `first_bad` is the sequence number of the first entry that does not fit."""

    entries: int
    ok: bool
    first_bad: int | None
    head: str


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
    previous, entries = GENESIS, 0
    with catalog.read() as conn:
        total = conn.execute(select(func.count()).select_from(audit)).scalar_one()
        chain = select(audit).order_by(audit.c.seq)
        with conn.execute(chain, execution_options={"yield_per": 1000}) as rows:
            for row in rows:
                entries += 1
                if row.seq != entries or row.previous_hash != previous or row.hash != _hash(_fields(row)):
                    return AuditReport(total, False, row.seq, previous)
                previous = row.hash
    return AuditReport(total, True, None, previous)


def last(catalog: Catalog, limit: int) -> list[dict[str, Any]]:
    """Return the last entries, youngest first; `at` is a time in UTC, to the second."""
    with catalog.read() as conn:
        rows = conn.execute(select(audit).order_by(audit.c.seq.desc()).limit(limit)).mappings().all()
    return [{**row, "at": datetime.fromtimestamp(row["at"] // 1_000_000, UTC)} for row in rows]


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {k: v for k, v in row._mapping.items() if k != "hash"}


def _hash(fields: Mapping[str, Any]) -> str:
    return blake3(msgspec.json.encode(fields, order="deterministic")).hexdigest()
