"""One database, opened: transactions that wait their turn, and migrations that run by themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, TimeoutError
from sqlalchemy.pool import QueuePool

from bascule.catalog.migrations import migrate
from bascule.errors import BasculeError, Busy, EnvironmentProblem, InputError, MissingExtra

LOCK_TIMEOUT_SECONDS = 30
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

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Open a database and bring its schema up to date.

        Args:
            url: `sqlite:///path/catalog.db` or `postgresql+psycopg://user@host/name`.

        Raises:
            InputError: for a URL that names no known database.
            EnvironmentProblem: when it cannot be reached, or was written by a newer Bascule.
        """
        engine = _engine(url)
        with _told(url):
            migrate(engine)
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection whose reads see one state."""
        with _told(str(self.engine.url)), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes. It is durable when the block has ended."""
        with _told(str(self.engine.url)), self._turns, self.engine.connect() as conn:
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield conn
                conn.commit()
            except BaseException:
                conn.rollback()
                raise

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
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
def _told(url: str) -> Iterator[None]:
    """Turn what a database driver raises into what a user can act on."""
    try:
        yield
    except BasculeError:
        raise
    except TimeoutError as error:
        raise Busy("All connections to the catalog were taken for 30 s.", hint="Repeat in a moment.") from error
    except OperationalError as error:
        reason = str(error.orig or error).strip()
        if "locked" in reason:
            raise Busy(
                f"Another process kept the catalog locked for {LOCK_TIMEOUT_SECONDS} s.", hint="Repeat in a moment."
            ) from error
        if "full" in reason or "disk I/O" in reason:
            raise EnvironmentProblem(
                f"The disk below the catalog is full ({reason}). Nothing was changed.",
                hint="Free some space, then repeat the command.",
            ) from error
        raise EnvironmentProblem(
            f"The catalog {make_url(url).render_as_string(hide_password=True)} cannot be used: {reason}",
            hint="Check that the database runs and that you may write to it.",
        ) from error
