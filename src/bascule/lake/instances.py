"""Instances of DuckDB that wait for the next block of work.

To begin an instance costs some 15 ms of CPU, for DuckDB writes down each of its functions; another connection to one
that is there costs almost nothing. So what a block of work has done with is kept for the next one, if nothing of the
block stays in it. Each block has an instance to itself: nobody else's tables, settings or memory are in it meanwhile.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref

import duckdb

from bascule.store import places

# As many as one piece of work opens within another.
MOST = 2
# What Bascule sets and a connection leaves behind in its instance; tests/lake/test_instances.py holds the list.
SETTINGS = (
    "default_null_order",
    "default_order",
    "enable_external_access",
    "lock_configuration",
    "memory_limit",
    "preserve_insertion_order",
    "temp_directory",
    "threads",
)
# What a block may leave there. `external_file_cache` is what it read in object storage.
CONTENTS = ("databases", "external_file_cache", "schemas", "sequences", "tables", "types", "views")
_SET = "SELECT " + ", ".join(f"current_setting({name!r})" for name in SETTINGS)
_LEFT = " UNION ALL ".join(f"SELECT {what!r}, count(*) FROM duckdb_{what}()" for what in CONTENTS)

_idle: list[duckdb.DuckDBPyConnection] = []
_turn = threading.Lock()
# What an instance says of itself before anybody worked with it. Its memory is a share of what the machine has.
_fresh: list[tuple[object, ...]] = []
_kept_apart: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()


def begin() -> duckdb.DuckDBPyConnection:
    """Begin an instance in memory, which fetches no extension, and return its first connection."""
    made = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    _show_objects(made)
    return made


def take() -> duckdb.DuckDBPyConnection:
    """Return the first connection of an instance that nobody uses; make others of it with `cursor`."""
    with _turn:
        instance = _idle.pop() if _idle else None
    if instance is not None:
        _show_objects(instance)
        return instance
    instance = begin()
    if not _fresh:
        _fresh.append(_told(instance))
    return instance


def keep_apart(connection: duckdb.DuckDBPyConnection) -> None:
    """Let nobody have the instance of this connection later: it was given a function, which it would keep."""
    _kept_apart.add(connection)


def give_back(instance: duckdb.DuckDBPyConnection, used: duckdb.DuckDBPyConnection) -> None:
    """Keep an instance for the next block if it is as it was, else close it.

    Args:
        instance: what `take` returned.
        used: the block's own connection, closed: with it went its temporary tables and the views of what it read.
    """
    if used not in _kept_apart and _is_as_it_was(instance):
        with _turn:
            if len(_idle) < MOST:
                _idle.append(instance)
                return
    instance.close()


def close_idle() -> None:
    """Close the instances that nobody uses."""
    with _turn:
        waiting, _idle[:] = list(_idle), []
    for instance in waiting:
        instance.close()


def _show_objects(instance: duckdb.DuckDBPyConnection) -> None:
    if places.expects_objects() and not instance.list_filesystems():
        from bascule.store.reading import ReadOnlyObjects

        instance.register_filesystem(ReadOnlyObjects())


def _is_as_it_was(instance: duckdb.DuckDBPyConnection) -> bool:
    try:
        instance.execute("RESET temp_directory")  # an error, when something was spilled there: the files go with it
        return _told(instance) == _fresh[0]
    except duckdb.Error:
        return False


def _told(instance: duckdb.DuckDBPyConnection) -> tuple[object, ...]:
    rows: list[tuple[object, ...]] = instance.execute(_SET).fetchall()
    return (*rows[0], *sorted(instance.execute(_LEFT).fetchall()))


atexit.register(close_idle)
# A fork has none of the threads that an instance works with, and would wait for them when it closes it.
os.register_at_fork(before=close_idle)
