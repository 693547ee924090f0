"""Tables of one state as views of a DuckDB connection, for the project's own SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import duckdb

from bascule.errors import NotFound
from bascule.history import Commit, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.engine import opened


@contextmanager
def opened_tables(workspace: Workspace, ref: str | Commit, names: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection in UTC in which the named tables of a state are views.

    Raises:
        NotFound: a table is not there, with the nearest name.
    """
    commit = ref if isinstance(ref, Commit) else workspace.history.resolve(ref)
    known = [path.removeprefix("tables/") for path in workspace.history.digests(commit, "tables/")]
    with opened_views(workspace, lambda path: workspace.history.read(commit, path), names, known) as connection:
        yield connection


@contextmanager
def opened_views(
    workspace: Workspace, read: Callable[[str], Object | None], names: Sequence[str], known: Sequence[str] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Do what `opened_tables` does for a state that `read` gives the objects of; no branch may have it yet."""
    lake = Lake(workspace)
    with opened(workspace.temporary_folder) as connection:
        for name in names:
            obj = read(f"tables/{name}")
            if obj is None:
                raise NotFound("table", name, known)
            schema, _, table = name.rpartition(".")
            if schema:
                connection.execute(f'create schema if not exists "{schema}"')
            place = f'"{schema}"."{table}"' if schema else f'"{table}"'
            connection.execute(f"create view {place} as select * from {lake.scan(obj)}")
        yield connection
