"""Copying a whole catalog into another database: every row as it is, proven by counts and digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, Integer, String, Table, delete, func, insert, inspect, or_, select, text, true
from sqlalchemy.exc import DBAPIError

from bascule.catalog.database import MOVED, Catalog, engine_of, told
from bascule.catalog.schema import commits, experiments, metadata, settings
from bascule.errors import Busy, EnvironmentProblem, InputError

ROWS_AT_ONCE = 5_000
WIDTH = 1 << 256
GREATEST_INTEGER = 2**31 - 1
# In the target's settings until the copy is the workspace's catalog: whose half a copy this is.
COPY_OF = "copy of"
# In the source's settings once it is not the workspace's catalog any more: where that went.
MOVED_TO = "moved to"
_OWN = (COPY_OF, MOVED_TO)

# Told how many rows of how many are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Print:
    """What a table holds: how many rows, and a digest that does not depend on their order."""

    rows: int
    digest: str


def tables() -> list[Table]:
    """Return all tables of the schema, those first that others refer to."""
    return list(metadata.sorted_tables)


@contextmanager
def frozen(catalog: Catalog) -> Iterator[Connection]:
    """Keep everybody else from writing for the length of a block; reading goes on. It ends when this process does.

    Raises:
        Busy: when somebody writes just now.
    """
    with catalog.write() as conn:
        if conn.dialect.name == "postgresql":
            names = ", ".join(table.name for table in tables())
            try:
                conn.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE NOWAIT"))
            except DBAPIError as error:
                raise Busy("Somebody writes to the catalog just now.", hint="Repeat when nothing runs.") from error
        yield conn


def others(catalog: Catalog) -> list[str]:
    """Return who else is connected to a PostgreSQL catalog, as `ADDRESS (process N)`; of SQLite nobody knows."""
    if catalog.engine.dialect.name != "postgresql":
        return []
    query = text(
        "SELECT coalesce(host(client_addr), 'this machine') || ' (process ' || pid || ')' FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with catalog.read() as conn:
        return sorted(conn.execute(query).scalars())


def counts(conn: Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: conn.execute(select(func.count()).select_from(table).where(_kept(table))).scalar_one()
        for table in tables()
    }


def found_at(url: str) -> str | None:
    """Return what `copied_from` does of the database that a URL names; None when it is not there, or empty.

    Nothing is made or changed.
    """
    engine = engine_of(url)
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
            return None
        with told(url), engine.connect() as conn:
            known = inspect(conn).get_table_names()
            if settings.name in known and commits.name in known:
                return copied_from(conn)
            return "" if known else None
    finally:
        engine.dispose()


def copied_from(conn: Connection) -> str | None:
    """Return the name of the workspace that this is a copy of, while it is one; empty when it holds another's rows."""
    found = conn.execute(select(settings.c.value).where(settings.c.key == COPY_OF)).scalar()
    if found is not None:
        return str(found)
    rows = counts(conn)
    # A catalog is born with one experiment, `Default`; a copy that was killed before its first row has no more.
    rows[experiments.name] -= conn.execute(
        select(func.count()).select_from(experiments).where(experiments.c.id == 0, experiments.c.updated_at == 0)
    ).scalar_one()
    return "" if any(rows.values()) else None


def refuse_unfit(conn: Connection) -> None:
    """Look for what SQLite holds and PostgreSQL does not: too long texts, NUL characters, too great integers.

    Raises:
        InputError: naming the table and the column of the first.
    """
    for table in tables():
        for column in table.columns:
            kind, tests = column.type, []
            if isinstance(kind, String):
                tests.append(func.instr(column, func.char(0)) > 0)
                if kind.length:
                    tests.append(func.length(column) > kind.length)
            elif type(kind) is Integer:
                tests.append(func.abs(column) > GREATEST_INTEGER)
            if not tests:
                continue
            key = select(*table.primary_key.columns).where(or_(*tests)).limit(1)
            found = conn.execute(key).first()
            if found is not None:
                limit = f", which may have {kind.length} characters and no NUL" if isinstance(kind, String) else ""
                raise InputError(
                    f"Column {column.name!r} of {table.name!r} has a value that PostgreSQL does not hold{limit}: "
                    f"the row {tuple(found)}.",
                    hint="Change or remove it first.",
                )


def copy(source: Connection, target: Connection, name: str, progress: Progress) -> dict[str, Print]:
    """Put all rows of one database into another, in the place of what is there, inside the callers' transactions.

    Args:
        name: what the copy is noted to be one of, until `finish`.

    Returns:
        What each table of the source holds.

    Raises:
        EnvironmentProblem: when the target does not hold afterwards what the source does.
    """
    total, done = sum(counts(source).values()), 0
    for table in reversed(tables()):
        target.execute(delete(table))
    target.execute(insert(settings).values(key=COPY_OF, value=name))
    found: dict[str, Print] = {}
    for table in tables():
        digest = rows = 0
        for batch in _batches(source, table):
            target.execute(insert(table), [dict(row._mapping) for row in batch])
            digest = (digest + sum(_hash(row) for row in batch)) % WIDTH
            rows += len(batch)
            done += len(batch)
            progress(done, total)
        found[table.name] = Print(rows, f"{digest:064x}")
    _go_on_counting(target)
    for table in tables():
        if contents(target, table) != found[table.name]:
            raise EnvironmentProblem(
                f"The rows of {table.name!r} are not in the new catalog as they are in the old.",
                hint="Nothing was switched. Repeat; if it stays so, tell the developers of Bascule.",
            )
    return found


def contents(conn: Connection, table: Table) -> Print:
    """Return what a table holds, without the notes of a copy."""
    digest = rows = 0
    for batch in _batches(conn, table):
        digest = (digest + sum(_hash(row) for row in batch)) % WIDTH
        rows += len(batch)
    return Print(rows, f"{digest:064x}")


def finish(conn: Connection) -> None:
    """Take the note away that a catalog is a copy: it is the workspace's own now."""
    conn.execute(delete(settings).where(settings.c.key == COPY_OF))


def fence(conn: Connection, where: str) -> None:
    """Let a catalog that was moved away take no rows any more, whoever still has it open.

    The one row of `settings` that says so can be deleted to use it again.
    """
    conn.execute(delete(settings).where(settings.c.key == MOVED_TO))
    conn.execute(insert(settings).values(key=MOVED_TO, value=where))
    said = f"{MOVED}; it is now at {where}".replace("'", "''")
    moved = f"EXISTS (SELECT 1 FROM settings WHERE key = '{MOVED_TO}')"
    if conn.dialect.name == "postgresql":
        body = f"BEGIN IF {moved} THEN RAISE EXCEPTION '{said.replace('%', '%%')}'; END IF; RETURN NULL; END"
        conn.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION bascule_moved() RETURNS trigger AS $body$ {body} $body$ LANGUAGE plpgsql"
        )
    for table in tables():
        if table is settings:
            continue
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql(f"DROP TRIGGER IF EXISTS bascule_moved ON {table.name}")
            conn.exec_driver_sql(
                f"CREATE TRIGGER bascule_moved BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
                "FOR EACH STATEMENT EXECUTE FUNCTION bascule_moved()"
            )
            continue
        for verb in ("INSERT", "UPDATE", "DELETE"):
            conn.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS bascule_moved_{table.name}_{verb} BEFORE {verb} ON {table.name} "
                f"WHEN {moved} BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )


def _kept(table: Table) -> Any:
    return settings.c.key.not_in(_OWN) if table is settings else true()


def _batches(conn: Connection, table: Table) -> Iterator[Any]:
    query = select(table).where(_kept(table))
    with conn.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        yield from rows.partitions()


def _hash(row: Any) -> int:
    return int.from_bytes(blake3(msgspec.msgpack.encode(tuple(row))).digest(), "big")


def _go_on_counting(conn: Connection) -> None:
    # Rows came with their numbers; PostgreSQL's counter has to be told.
    if conn.dialect.name != "postgresql":
        return
    for table in tables():
        for column in table.primary_key.columns:
            if column is not table.autoincrement_column:
                continue
            counter = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            conn.execute(
                text(f"SELECT setval({counter}, greatest(:last, 1), :last > 0)"),
                {"last": conn.execute(select(func.coalesce(func.max(column), 0))).scalar_one()},
            )
