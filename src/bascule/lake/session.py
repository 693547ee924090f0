"""SQL over the whole workspace: the lake at any ref, and the records."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from bascule.errors import BasculeError, NotFound
from bascule.history import Commit, Workspace
from bascule.lake import engine, filesets, objects, records, views
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.masking import Veil, masks_for, refuse_written
from bascule.lake.narrowing import Condition, limits
from bascule.lake.sqltext import Statement, TableName, parse
from bascule.lake.tables import Lake
from bascule.store import Place

RECORDS_SCHEMA = "records"
FILES_SCHEMA = "files"
# Of a table of so few files all are looked at: the engine does that as fast as we find out which.
FEW_FILES = 8

# Gives rows of a record table that are not in the lake yet: log segments that have not been moved.
Extra = Callable[[], pa.RecordBatchReader | pa.Table]


class Session:
    """A DuckDB connection that reads one workspace and nothing else, in UTC.

    `flights` is the table at the session's ref, which is resolved once; `flights@v1`, `flights@main~3` and
    `flights@main@2026-03-01T00:00Z` name others. Records (`runs`, `metrics`, `predictions`, …) are tables too, as they
    are when the query starts; a table of the same name hides one, and then `records.runs` names it. `files.photos`
    has a row for each file of a set, `files."photos@v1"` at v1. Only what a query names is loaded. Where a role is set
    that may not see personal data (`masking.seeing_as`), masked columns are masked already. A session is for one
    thread; it is closed by `close` or as a context manager.

    Args:
        workspace: what to query.
        ref: a branch, a tag or a commit.
        extra: rows to add to record tables, by name; called when a query names one.
        overlay: path to the object that it has instead (None: it is not there), for a state that no branch has yet.

    Raises:
        NotFound: when there is no such ref.
    """

    def __init__(
        self,
        workspace: Workspace,
        ref: str = "main",
        *,
        extra: Mapping[str, Extra] | None = None,
        overlay: Mapping[str, objects.Object | None] | None = None,
    ) -> None:
        self.workspace = workspace
        self.commit: Commit = workspace.history.resolve(ref)
        self.connection: duckdb.DuckDBPyConnection = engine.connect(workspace.temporary_folder)
        self._lake = Lake(workspace)
        self._extra = dict(extra or {})
        self._overlay = dict(overlay or {})
        self._salt = secrets.token_hex(8)
        self._masks = masks_for(workspace, self.commit)
        self._read: dict[tuple[str, str], tuple[Any, Table, list[DataFile]]] = {}
        self._viewed: dict[tuple[str, str], tuple[Any, list[Place]]] = {}
        self._veils: dict[TableName, Veil] = {}
        engine.confine(self.connection, [workspace.lake_folder, workspace.storage / "blobs"])

    def sql(self, query: str, params: Any = None) -> duckdb.DuckDBPyRelation:
        """Return the relation that a query yields; it runs when it is read.

        Args:
            query: one SELECT, DESCRIBE, SUMMARIZE, EXPLAIN or SHOW TABLES.
            params: values for `?` or `$name` in it.

        Raises:
            InputError: when it is not one statement that reads, or DuckDB says that it is wrong.
            NotFound: for a table, a record or a ref that does not exist, with the nearest name.
        """
        statement = parse(self.connection, query)
        if statement.lists:
            return self.connection.sql(self._listing())
        self._prepare(statement, params)
        with engine.told("This SQL cannot run"):
            rows = self._counted(statement.tables[0]) if statement.count and not params else None
            if rows is not None:
                return self.connection.sql(f"SELECT {rows}::BIGINT AS {quoted(statement.count)}")
            return self.connection.sql(statement.text, params=params)

    def written(self, query: str, into: str) -> duckdb.DuckDBPyRelation:
        """Return what a query yields, to be written into a table; otherwise as `sql`.

        Raises:
            Masked: it reads columns that the current role sees masked: the masks would be written for the values.
        """
        relation = self.sql(query)
        if self._veils:
            refuse_written(self._veils, into, lambda hidden: self._columns_without(query, hidden), relation.columns)
            relation = self.sql(query)
        return relation

    def arrow(self, query: str, params: Any = None) -> pa.Table:
        """Run a query and return all its rows. Errors while it runs are told as those of `sql` are."""
        relation = self.sql(query, params)
        with engine.told("This SQL cannot run"):
            return relation.to_arrow_table()

    def tables(self) -> list[str]:
        """Return the names of the tables at the session's ref."""
        paths = set(self.workspace.history.digests(self.commit, objects.PREFIX))
        for path, value in self._overlay.items():
            (paths.discard if value is None else paths.add)(path)
        return sorted(path.removeprefix(objects.PREFIX) for path in paths if path.startswith(objects.PREFIX))

    def records(self) -> list[str]:
        """Return the names of the records."""
        return sorted({*views.RECORDS, *self._extra, *records.names(self.workspace)})

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside ----------------------------------------------------------------------------------------------------------

    def _prepare(self, statement: Statement, params: Any) -> None:
        for name in statement.tables:
            is_defined = not name.schema and name.name.casefold() in statement.defined
            if not self._provide(name, statement.wanted, params) and not is_defined:
                raise self._unknown(name)

    def _provide(self, name: TableName, wanted: Sequence[Condition], params: Any) -> bool:
        if name.schema.casefold() == RECORDS_SCHEMA:
            return self._provide_record(name)
        if name.schema.casefold() == FILES_SCHEMA:
            return self._provide_files(name)
        plain, _, ref = name.text.partition("@")
        value = self._object(self.workspace.history.resolve(ref) if ref else None, plain)
        if value is None:
            return not ref and not name.schema and self._provide_record(name)
        key, state = (name.schema.casefold(), name.name.casefold()), self._state(value)
        if state is None or key not in self._read or self._read[key][0] != state:
            table = self._lake.table(value)
            self._read[key] = state, table, table.data_files()
        _, table, data = self._read[key]
        only, masked = data, self._masks is not None and bool(self._masks.of(plain, value))
        # What bounds of files say is of values, and conditions on masked columns are on what is shown instead.
        if wanted and not masked and len(data) > FEW_FILES and (between := limits(wanted, params, table.schema)):
            only = scans.pruned(table, data, between)
        paths = [file.path for file in only]
        if state is None or self._viewed.get(key) != (state, paths):
            rows = f"SELECT * FROM {scans.scan(table, only=only)}"
            shown = self._masks.over(self.connection, plain, value, rows) if self._masks else rows
            self._view(name, shown)
            if self._masks is not None and masked:
                self._veils[name] = Veil(plain, tuple(self._masks.of(plain, value)), rows, shown)
            self._viewed[key] = state, paths
        return True

    def _counted(self, name: TableName) -> int | None:
        """Return how many rows a table has, as its manifests say; None when deletes take some out, or it is none."""
        key = (name.schema.casefold(), name.name.casefold())
        if key not in self._read:
            return None
        _, table, data = self._read[key]
        return None if table.deletes() else sum(file.record["record_count"] for file in data)

    def _state(self, value: objects.Object) -> tuple[Any, ...] | None:
        """Return what stays the same as long as a table's view does; a forgetting writes its document anew."""
        path = objects.document_of(value, self.workspace.lake_folder)
        if not isinstance(path, Path):
            return None
        with suppress(OSError):
            found = path.stat()
            return str(path), found.st_ino, found.st_mtime_ns, found.st_size
        return None

    def _provide_files(self, name: TableName) -> bool:
        plain, _, ref = name.name.partition("@")
        state = self.workspace.history.resolve(ref) if ref else self.commit
        value = self.workspace.history.read(state, f"{FILES_SCHEMA}/{plain}")
        if value is not None:
            self._register(name, filesets.as_table(self.workspace.store, value, plain))
        return value is not None

    def _object(self, other: Commit | None, name: str) -> objects.Object | None:
        """Return a table's object at another state, or at the session's own when None."""
        if other is None and objects.PREFIX + name in self._overlay:
            return self._overlay[objects.PREFIX + name]
        history, state = self.workspace.history, other or self.commit
        digest = history.digest(state, objects.PREFIX + name) or self._spelt_otherwise(state, name)
        return history.object(digest) if digest else None

    def _spelt_otherwise(self, state: Commit, name: str) -> str | None:
        wanted = (objects.PREFIX + name).casefold()
        paths = self.workspace.history.digests(state, objects.PREFIX)
        return next((digest for path, digest in paths.items() if path.casefold() == wanted), None)

    def _provide_record(self, name: TableName) -> bool:
        known = name.name.casefold()
        if known in views.RECORDS:
            self._register(name, views.load(self.workspace.catalog, known), is_record=True)
            return True
        if known not in self._extra and known not in records.names(self.workspace):
            return False
        value, more = self._record_table(known)
        parts = [f"SELECT * FROM {self._lake.scan(value)}"] if value is not None else []
        if more is not None:
            unmoved = f"unmoved {known} {self._salt}"
            self.connection.register(unmoved, more)
            parts.append(f"SELECT * FROM {quoted(unmoved)}")
        self._view_record(name, " UNION ALL BY NAME ".join(parts))
        return True

    def _record_table(self, name: str) -> tuple[objects.Object | None, pa.Table | None]:
        # A segment that is moved while its rows are read would be seen twice or not at all: then read again.
        while True:
            before = records.object_of(self.workspace, name)
            more = _as_table(self._extra[name]()) if name in self._extra else None
            if records.object_of(self.workspace, name) == before:
                return before, more

    def _register(self, name: TableName, data: pa.Table, *, is_record: bool = False) -> None:
        # Views are made over what is registered: its name is no one's to guess who reads it masked.
        hidden = f"{name.schema or 'record'} {name.name.casefold()} {self._salt}"
        self.connection.register(hidden, data)
        make = self._view_record if is_record else self._view
        make(name, f"SELECT * FROM {quoted(hidden)}")

    def _view_record(self, name: TableName, query: str) -> None:
        masks = self._masks
        if masks is None:
            self._view(name, query)
            return
        shown, hidden = masks.over_record(self.connection, name.name.casefold(), query)
        self._view(name, shown)
        if hidden:
            self._veils[name] = Veil(name.text, hidden, query, shown)

    def _view(self, name: TableName, query: str) -> None:
        place = quoted(name.name)
        if name.schema:
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(name.schema)}")
            place = f"{quoted(name.schema)}.{place}"
        with engine.told(f"Table {name.text!r} cannot be read"):
            self.connection.execute(f"CREATE OR REPLACE VIEW {place} AS {query}")

    def _columns_without(self, query: str, hidden: Mapping[TableName, Veil]) -> list[str] | None:
        """Return the columns of a query as if tables had no masked ones; None when it cannot be asked then."""
        try:
            for name, veil in hidden.items():
                gone = ", ".join(quoted(column) for column in veil.columns)
                self._view(name, f"SELECT * EXCLUDE ({gone}) FROM ({veil.rows})")
            return list(self.connection.sql(parse(self.connection, query).text).columns)
        except (duckdb.Error, BasculeError):
            return None
        finally:
            for name, veil in hidden.items():
                self._view(name, veil.shown)

    def _listing(self) -> str:
        rows = [(name, "table") for name in self.tables()] + [(name, "record") for name in self.records()]
        rows += [(f"{FILES_SCHEMA}.{name}", "files") for name, _ in filesets.file_sets(self.workspace, self.commit)]
        values = ", ".join(f"({literal(name)}, {literal(kind)})" for name, kind in rows)
        return f"SELECT * FROM (VALUES {values}) AS listed(name, kind)"

    def _unknown(self, name: TableName) -> NotFound:
        plain, _, ref = name.text.partition("@")
        known = self._at(ref) if ref else [*self.tables(), *self.records()]
        error = NotFound("table", plain, known)
        return NotFound("table", plain, known, hint=f"At {ref or self.commit.short}: {error.hint}")

    def _at(self, ref: str) -> list[str]:
        paths = self.workspace.history.digests(ref, objects.PREFIX)
        return [path.removeprefix(objects.PREFIX) for path in paths]


def _as_table(data: pa.RecordBatchReader | pa.Table) -> pa.Table:
    return data.read_all() if isinstance(data, pa.RecordBatchReader) else data
