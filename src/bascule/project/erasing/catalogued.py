"""The subject in the catalog: samples of failing rows, reports, settings and texts of records, and old database pages.

What is hash-chained or addressed by its content keeps its hash or its id, and the values leave its texts: objects of
the history say that they were forgotten in, and the audit log has an entry of what was redacted (`catalog.audit`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, LargeBinary, String, Table, Text, and_, delete, or_, select, update

from bascule.catalog import Catalog, actor
from bascule.catalog import audit as audit_log
from bascule.catalog.schema import audit, check_results, commits, holds, metadata, nodes, ref_log, tokens
from bascule.errors import Busy
from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.objects import in_objects
from bascule.project.erasing.values import distinctive, names_subject, needles, without
from bascule.project.erasing.values import holds as holds_bytes

# Names, addresses and proofs: nothing in them is a subject's, and a change would break what they are there for.
KEPT = {"audit", "commits", "nodes", "refs", "ref_log", "tokens", "expirations", "holds", "record_tables"}
# What people wrote, or are called, in tables that are kept.
SAID: dict[Table, list[Column[Any]]] = {
    commits: [commits.c.author, commits.c.message, commits.c.meta_json],
    holds: [holds.c.reason, holds.c.actor, holds.c.released_by],
    ref_log: [ref_log.c.actor],
    tokens: [tokens.c.name],
}
PATIENCE_S = 30.0


def from_records(request: Request) -> list[Forgotten]:
    """Take the subject out of samples, reports and other texts of the records."""
    catalog, key = request.workspace.catalog, request.key
    count = 0
    with catalog.write() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA secure_delete = ON")
        for row_id, before, after in _samples(conn, request):
            count += 1
            if not request.dry_run and before != after:
                conn.execute(update(check_results).where(check_results.c.id == row_id).values(sample_json=after))
        for table in metadata.sorted_tables:
            if table.name not in KEPT:
                count += _in_table(conn, table, key, request.dry_run)
        wanted = {c: v for c, v in key.items() if distinctive(str(v))}
        if wanted:
            for table, said in SAID.items():
                count += _in_table(conn, table, wanted, request.dry_run, said)
            count += in_objects(conn, lambda text: without(text, wanted), needles(key), dry_run=request.dry_run)
            forms = sorted({form for value in wanted.values() for form in _forms(str(value))})
            clean = lambda text: without(text, wanted)  # noqa: E731
            count += audit_log.redact(conn, forms, clean, actor=actor(), dry_run=request.dry_run)
    return [Forgotten("reports and records", count)] if count else []


def kept(request: Request) -> list[Forgotten]:
    """Count what still holds a distinctive value: what has it in a form that nothing can be taken out of."""
    values = [str(value) for value in request.key.values() if distinctive(str(value))]
    if not values:
        return []
    found = []
    with request.workspace.catalog.read() as conn:
        for place, table, columns in (
            ("audit log", audit, (audit.c.subject, audit.c.detail_json)),
            ("commits", commits, (commits.c.message, commits.c.meta_json, commits.c.author)),
        ):
            hit = or_(*(c.contains(value, autoescape=True) for c in columns for value in values))
            number = len(conn.execute(select(table.primary_key.columns[0]).where(hit)).all())
            found += [Forgotten(place, number)] if number else []
        bodies = conn.execute(select(nodes.c.body), execution_options={"yield_per": 1000}).scalars()
        wanted = needles(request.key)
        number = sum(1 for body in bodies if any(one in bytes(body) for one in wanted))
        found += [Forgotten("history", number)] if number else []
    return found


def sweep_pages(catalog: Catalog, key: Mapping[str, Any]) -> None:
    """Leave no old page of the catalog's file, or of its write-ahead log, that holds a value.

    PostgreSQL reclaims its pages itself (VACUUM).

    Raises:
        Busy: another process kept reading for 30 s.
    """
    if catalog.engine.dialect.name != "sqlite":
        return
    file = Path(catalog.engine.url.database or "")
    wanted = needles(key) or [str(value).encode() for value in key.values()]
    places = [file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-journal")]
    if not any(holds_bytes(place, wanted) for place in places):
        return
    deadline = time.monotonic() + PATIENCE_S
    with catalog.engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA secure_delete = ON")
        conn.exec_driver_sql("VACUUM")
        while conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar():
            if time.monotonic() > deadline:
                raise Busy(
                    "Another process kept reading the catalog, so old pages of it could not be removed.",
                    hint="Repeat the command; what is done stays done.",
                )
            time.sleep(0.1)


def _samples(conn: Any, request: Request) -> Iterator[tuple[str, str, str | None]]:
    """Yield samples of the table's checks that have the subject's rows, or rows that don't say whose they are.

    A sample holds the columns that a check looked at, so its rows may be the subject's without saying so.
    """
    query = select(check_results.c.id, check_results.c.sample_json).where(
        check_results.c.subject.in_([f"tables/{request.table}", request.table]),
        check_results.c.sample_json.is_not(None),
    )
    for row in conn.execute(query).all():
        rows = json.loads(row.sample_json)
        stay = [one for one in rows if isinstance(one, dict) and names_subject(one, request.key) is False]
        if len(stay) != len(rows):
            yield row.id, row.sample_json, json.dumps(stay, ensure_ascii=False) if stay else None


def _in_table(
    conn: Any, table: Table, key: Mapping[str, Any], dry_run: bool, only: Sequence[Column[Any]] | None = None
) -> int:
    texts = [c for c in table.columns if isinstance(c.type, String | Text)] if only is None else list(only)
    values = [str(value) for value in key.values()]
    hits = [c.contains(form, autoescape=True) for c in texts for value in values for form in _forms(value)]
    count = 0
    keys = list(table.primary_key.columns)
    for row in conn.execute(select(*dict.fromkeys([*keys, *texts])).where(or_(*hits))).mappings().all() if hits else ():
        changed = {c: without(row[c], key) for c in texts if row[c] is not None}
        changed = {c: text for c, text in changed.items() if text != row[c]}
        if not changed:
            continue
        count += 1
        if dry_run:
            continue
        this = and_(*(c == row[c] for c in keys))
        if any(c in keys for c in changed):
            conn.execute(delete(table).where(this))  # a point or a parameter that was about the subject itself
        else:
            conn.execute(update(table).where(this).values({c.name: text for c, text in changed.items()}))
    return count + _in_blobs(conn, table, key, dry_run)


def _in_blobs(conn: Any, table: Table, key: Mapping[str, Any], dry_run: bool) -> int:
    """Remove rows of caches whose bytes hold a value: they are made anew when they are wanted."""
    binary = [c for c in table.columns if isinstance(c.type, LargeBinary)]
    keys, wanted, count = list(table.primary_key.columns), needles(key), 0
    for row in conn.execute(select(*keys, *binary)).mappings().all() if binary and wanted else ():
        if any(one in bytes(row[c]) for c in binary if row[c] is not None for one in wanted):
            count += 1
            if not dry_run:
                conn.execute(delete(table).where(and_(*(c == row[c] for c in keys))))
    return count


def _forms(value: str) -> set[str]:
    return {value, json.dumps(value)[1:-1]}
