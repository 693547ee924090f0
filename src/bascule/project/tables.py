"""Tables of one state as views of a DuckDB connection, for the project's own SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb

from bascule.errors import NotFound
from bascule.history import Commit, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project.definitions import readers_of, view_tables
from bascule.project.file import ProjectFile


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
def opened_for(
    project: ProjectFile, workspace: Workspace, ref: str | Commit, names: Sequence[str]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Do what `opened_tables` does for tables that the project's queries read.

    Raises:
        ProjectFileError: a table is not there; says which query reads it, where that stands, and what to do.
    """
    commit = ref if isinstance(ref, Commit) else workspace.history.resolve(ref)
    require_tables(project, workspace, commit, names)
    with opened_tables(workspace, commit, names) as connection:
        yield connection


def require_tables(project: ProjectFile, workspace: Workspace, commit: Commit, names: Sequence[str]) -> None:
    """Refuse names of tables that a state does not have.

    Raises:
        ProjectFileError: see `opened_for`.
    """
    known = [path.removeprefix("tables/") for path in workspace.history.digests(commit, "tables/")]
    for name in names:
        if name in known or not (keys := readers_of(project, name)):
            continue
        missing = NotFound("table", name, known, where=f"{commit.short}, and this query reads it")
        others = f" So does {', '.join('.'.join(key[:-1]) for key in keys[1:])}." if keys[1:] else ""
        way = f"Bring its rows first, by [source.{name}], a stream or bascule ingest"
        leave = ", or leave the view out of the features" if keys[0][0] == "features" else ""
        raise project.problem(keys[0], missing.message, f"{missing.hint} {way}{leave}.{others}".strip())


def views_without(
    project: ProjectFile, workspace: Workspace, ref: str | Commit, views: Sequence[str]
) -> dict[str, str]:
    """Return the views, of some, that read a table which a state does not have, and that table."""
    commit = ref if isinstance(ref, Commit) else workspace.history.resolve(ref)
    known = {path.removeprefix("tables/") for path in workspace.history.digests(commit, "tables/")}
    missing = {view: [name for name in view_tables(project, view) if name not in known] for view in views}
    return {view: tables[0] for view, tables in missing.items() if tables}


def told_without(left_out: Mapping[str, str]) -> str:
    """Say which views were left out because a table is not there, and what to do."""
    told = [f"{view}, as there is no table named {table!r}" for view, table in left_out.items()]
    return f"left out {'; '.join(told)} (bring its rows, and run again)" if told else ""


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
