"""DuckDB as the lake uses it: always in UTC, never fetching extensions, spilling into the workspace's own folder."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.lake import instances
from bascule.store import Place

DAMAGED = "`bascule doctor --deep` names what is damaged, and how to go back to the last state that is whole."
_COLUMNS = 'The columns of a table: "describe TABLE". A text stands in single quotes.'
# A data file that Bascule wrote and that DuckDB cannot read: nothing that a user asked for is wrong then.
_OF_A_TABLE = re.compile(r"/data/[0-9a-f]{64}-[0-9a-f]{8}\.parquet|file is likely corrupted")
AGAIN_S = 0.2
# What is open in this process, so that a Ctrl-C reaches what runs there.
_opened: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()


def connect(temporary: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory connection that may read any file of this machine: for ingestion and the lake's own work.

    What a user types goes to a `Session`, which may not.

    Args:
        temporary: where it may spill what does not fit in memory.
    """
    return _set(instances.begin(), temporary)


def _set(connection: duckdb.DuckDBPyConnection, temporary: Path | None) -> duckdb.DuckDBPyConnection:
    _opened.add(connection)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_progress_bar = false")  # it would write into what is printed
    if temporary is not None:
        connection.execute(f"SET temp_directory = '{str(temporary).replace(chr(39), chr(39) * 2)}'")
    return connection


def confine(connection: duckdb.DuckDBPyConnection, folders: Sequence[Place]) -> None:
    """Let a connection read files below some folders only, and let nothing change that any more."""
    listed = ", ".join("'" + str(folder / "").replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def opened(temporary: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection for the length of a block; otherwise as `connect`.

    Its instance may have served a block before this one, and may serve another after it: neither sees what the other
    did.
    """
    instance = instances.take()
    try:
        with closing(_set(instance.cursor(), temporary)) as connection:
            yield connection
    except BaseException:  # it may be broken, or still at work
        instance.close()
        raise
    instances.give_back(instance, connection)


def interrupt() -> None:
    """Stop what runs on any connection of this process; it raises `duckdb.InterruptException`. For another thread."""
    for connection in tuple(_opened):
        with suppress(duckdb.ConnectionException):  # it was closed already
            connection.interrupt()


@contextmanager
def bounded(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    """Stop what a block runs on a connection after so many seconds: it raises `duckdb.InterruptException` then.

    Yields:
        An event, set when the time was over.
    """
    over, ended, one = threading.Event(), threading.Event(), threading.Lock()

    def stop() -> None:
        left = seconds
        while not ended.wait(left):
            with one:
                if not ended.is_set():
                    over.set()
                    connection.interrupt()
            left = AGAIN_S  # between two queries of the block nothing hears it

    watch = threading.Thread(target=stop, name="bounded-query", daemon=True)
    watch.start()
    try:
        yield over
    finally:
        with one:
            ended.set()


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what DuckDB says into an error that a user can act on, without its traceback.

    Args:
        what: what was being done, as the start of a sentence.
    """
    try:
        yield
    except BasculeError:
        raise
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.OutOfMemoryException as error:
        raise EnvironmentProblem(
            f"{what}: {message(error)}", hint="Ask for fewer rows or columns at once, or use a larger machine."
        ) from error
    except (duckdb.IOException, duckdb.InternalException, duckdb.FatalException) as error:
        raise EnvironmentProblem(f"{what}: {message(error)}", hint=DAMAGED) from error
    except (duckdb.Error, pa.ArrowException) as error:
        if isinstance(error, duckdb.InvalidInputException) and _OF_A_TABLE.search(str(error)):
            raise EnvironmentProblem(f"{what}: {message(error)}", hint=DAMAGED) from error
        hint = _COLUMNS if "Referenced column" in str(error) else ""
        raise InputError(f"{what}: {message(error)}", hint=hint) from error


def message(error: Exception) -> str:
    """Return what DuckDB said, as it says it, without its advice for developers."""
    return str(error).split("\n\nStack Trace", maxsplit=1)[0].strip()
