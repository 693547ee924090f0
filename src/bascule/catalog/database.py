"""One database, opened: transactions that wait their turn, and migrations that run by themselves."""

from __future__ import annotations

import atexit
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from blake3 import blake3
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, NoSuchModuleError, OperationalError, TimeoutError
from sqlalchemy.pool import QueuePool

from bascule.catalog.migrations import migrate
from bascule.errors import BasculeError, Busy, EnvironmentProblem, InputError, MissingExtra
from bascule.store.locking import held

LOCK_TIMEOUT_SECONDS = 30
LOCKS = "locks"
MOVED = "The workspace was moved"
# Each lock that is held needs a connection. Locks that many share and locks of one alone have their own, because who
# holds one of the first may wait for one of the second; who holds one of the second waits for none.
LOCK_CONNECTIONS = 10
LOCK_WAIT_SECONDS = 3600
# A connection that only holds a lock is silent: so that no firewall forgets it, and a dead one is found out.
KEPT_ALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# Writers of one process that hold a connection at once, and connections beside theirs: a writer that reads on a second
# connection while it writes always finds one, however many threads wait for their turn.
WRITERS = 8
CONNECTIONS = 24


class Catalog:
    """A workspace's database.

    `read()` gives a snapshot; `write()` gives one transaction that is committed when its block ends and rolled back
    when the block raises. Writers on SQLite take turns (BEGIN IMMEDIATE), so none of them sees "database is locked".
    Any number of threads may use one catalog.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._turns = BoundedSemaphore(1 if engine.dialect.name == "sqlite" else WRITERS)
        _opened[engine] = os.getpid()

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Open a database and bring its schema up to date.

        Args:
            url: `sqlite:///path/catalog.db` or `postgresql+psycopg://user@host/name`.

        Raises:
            InputError: for a URL that names no known database.
            EnvironmentProblem: when it cannot be reached, or was written by a newer Bascule.
        """
        engine = engine_of(url)
        with told(url):
            migrate(engine)
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection whose reads see one state."""
        with told(self.engine.url), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes. It is durable when the block has ended."""
        with told(self.engine.url), self._turns, self.engine.connect() as conn:
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield conn
                conn.commit()
            except BaseException:
                conn.rollback()
                raise

    @contextmanager
    def locked(self, name: str, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
        """Hold a lock of all who share this catalog, for the length of a block: many hold it together, or one alone.

        PostgreSQL has it when it is the catalog, else the operating system does, on a file beside SQLite's. Both give
        it back when its process ends, however it ends.

        Args:
            wait: for whoever holds it; else `BlockingIOError` is raised at once.

        Raises:
            EnvironmentProblem: when the connection that held it was lost before the block ended.
        """
        number = int.from_bytes(blake3(name.encode()).digest(length=8), "big", signed=True)
        if self.engine.dialect.name == "postgresql":
            with told(self.engine.url), _advised(self._lockers[exclusive], number, exclusive, wait):
                yield
            return
        folder = Path(self.engine.url.database or "").parent / LOCKS
        folder.mkdir(exist_ok=True)
        with held(folder / f"{number & 0xFFFFFFFFFFFFFFFF:016x}", exclusive=exclusive, wait=wait):
            yield

    @cached_property
    def _lockers(self) -> dict[bool, Engine]:
        return {exclusive: _locker(self.engine) for exclusive in (False, True)}

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        for locker in self.__dict__.get("_lockers", {}).values():
            locker.dispose()


# The process that opened each: a fork must not touch its parent's connections. Engines outlive their catalogs.
_opened: weakref.WeakKeyDictionary[Engine, int] = weakref.WeakKeyDictionary()


@atexit.register
def _close_all() -> None:
    """Close what the process has open when it ends: SQLite puts its write-ahead log back into the file then."""
    for engine, process in list(_opened.items()):
        if process == os.getpid():
            engine.dispose()


def _locker(engine: Engine) -> Engine:
    return create_engine(
        engine.url,
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
        pool_size=LOCK_CONNECTIONS,
        max_overflow=0,
        pool_timeout=LOCK_WAIT_SECONDS,
        connect_args=KEPT_ALIVE,
    )


@contextmanager
def _advised(engine: Engine, number: int, exclusive: bool, wait: bool) -> Iterator[None]:
    """Hold one of PostgreSQL's advisory locks on a connection of its own."""
    kind = "" if exclusive else "_shared"
    with engine.connect() as conn:
        if wait:
            conn.execute(text(f"SELECT pg_advisory_lock{kind}(:number)"), {"number": number})
        elif not conn.execute(text(f"SELECT pg_try_advisory_lock{kind}(:number)"), {"number": number}).scalar():
            raise BlockingIOError("Another process holds the lock.")
        try:
            yield
        except BaseException:
            conn.invalidate()  # closing the connection gives the lock back, whatever state it is in
            raise
        try:
            kept = conn.execute(text(f"SELECT pg_advisory_unlock{kind}(:number)"), {"number": number}).scalar()
        except OperationalError:
            kept = False
        if not kept:
            conn.invalidate()
            raise EnvironmentProblem(
                "The lock on a table was lost while it was being written: its connection to the catalog broke.",
                hint="Repeat; `bascule doctor` tells whether all is whole.",
            )


def engine_of(url: str) -> Engine:
    """Return a database's engine, without a look at what is in it; `InputError` for a URL that names none."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url, parsed.database)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, max_overflow=CONNECTIONS - 5
            )
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(
            f"{url!r} names no database: {error}", hint="Write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    except ModuleNotFoundError as error:
        raise MissingExtra("PostgreSQL", "postgres") from error
    raise InputError(
        f"The catalog cannot live in {parsed.get_backend_name()!r}.", hint="Use sqlite:///… or postgresql://…"
    )


def _sqlite(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        max_overflow=-1,  # a connection is a file handle: readers never wait for one
        connect_args={"timeout": LOCK_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        # The driver's own transaction handling would defer BEGIN and so fail late; ours begins at once.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-32000")

    return engine


@contextmanager
def told(url: URL | str) -> Iterator[None]:
    """Turn what a database driver raises into what a user can act on."""
    try:
        yield
    except BasculeError:
        raise
    except TimeoutError as error:
        raise Busy("All connections to the catalog were taken for 30 s.", hint="Repeat in a moment.") from error
    except DBAPIError as error:
        if MOVED in str(error.orig):
            raise EnvironmentProblem(
                f"{MOVED} while this process had it open. Nothing was changed.",
                hint="Repeat; a process that runs for long has to be started anew.",
            ) from error
        if isinstance(error, DataError):  # what PostgreSQL's types cannot hold; SQLite takes nearly all
            why = str(error.orig).strip().partition("\n")[0]
            held = "a text with the character NUL (\\u0000)" if "NUL" in why else f"such a value: {why}"
            raise InputError(f"The catalog cannot hold {held}.", hint="Leave it out, or write it otherwise.") from error
        if not isinstance(error, OperationalError):
            raise
        reason = str(error.orig or error).strip()
        if "pattern too complex" in reason:
            raise InputError("A pattern after LIKE or ILIKE is too long.", hint="Write a shorter one.") from error
        if "locked" in reason:
            raise Busy(
                f"Another process kept the catalog locked for {LOCK_TIMEOUT_SECONDS} s.", hint="Repeat in a moment."
            ) from error
        if "full" in reason or "disk I/O" in reason:
            raise EnvironmentProblem(
                f"The disk below the catalog is full ({reason}). Nothing was changed.",
                hint="Free some space, then repeat the command; `bascule gc` frees more once it has half a megabyte.",
            ) from error
        raise EnvironmentProblem(
            f"The catalog {make_url(url).render_as_string(hide_password=True)} cannot be used: {reason}",
            hint="Check that the database runs and that you may write to it.",
        ) from error
