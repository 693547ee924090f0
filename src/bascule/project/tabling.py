"""Changing a table of a branch: each change is written beside it, checked as a merge is, and seen when it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.catalog import new_id
from bascule.errors import AlreadyExists, Conflict, InputError, NotFound
from bascule.history import Commit
from bascule.lake import Lake
from bascule.lake.engine import opened, told
from bascule.lake.iceberg import partitions, schemas, types
from bascule.lake.iceberg.scans import Between
from bascule.lake.objects import PREFIX, Object, checked_name, path_of
from bascule.lake.origins.local import readable_files
from bascule.lake.sources import read_source
from bascule.project.place import Place
from bascule.project.publishing import publish
from bascule.project.querying import session
from bascule.project.required import required_of

TRIES = 5

# Makes a table's next object from the present one; None is no table.
Stage = Callable[[Object | None], Object | None]


@dataclass(frozen=True)
class TableChange:
    """What a change did.

    Attributes:
        table: the table's name afterwards.
        commit: the commit on the branch; None when there was nothing to do.
        rows_before, rows: how many rows it had and has.
        counts: more about the rows: of an upsert `added`, `replaced` and `unchanged`.
        checked: what was checked before it landed.
    """

    table: str
    commit: Commit | None
    rows_before: int
    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)
    checked: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The change as one JSON object."""
        return {
            "table": self.table,
            "commit": self.commit.id if self.commit else None,
            "rows_before": self.rows_before,
            "rows": self.rows,
            **self.counts,
            "checked": list(self.checked),
        }


@dataclass(frozen=True)
class TableDescription:
    """What a table is at one state.

    Attributes:
        name: the table's.
        columns: name to type, in DuckDB's words.
        key, partition_by, sort_by: as they are given to `create`.
        rows, bytes, files: how much there is.
        location: the Iceberg metadata document.
    """

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]
    rows: int
    bytes: int
    files: int
    location: str

    def as_dict(self) -> dict[str, Any]:
        """The description as one JSON object."""
        told = {name: getattr(self, name) for name in ("name", "columns", "rows", "bytes", "files", "location")}
        return {**told, **{name: list(getattr(self, name)) for name in ("key", "partition_by", "sort_by")}}


class BranchTable:
    """A table of a project's current branch.

    Rows come as `rows` (a pandas or Polars frame, an Arrow table or reader, a DuckDB relation, dicts, …), as `sql`, a
    query over the branch, or as `source`, files. Each change lands when the contracts of what it touches, and on a
    protected branch the project's own checks, let it; else nothing is changed.

    Args:
        at: the state that is read; the current branch by default.
    """

    def __init__(self, place: Place, name: str, at: str | None = None) -> None:
        self.place, self.name, self.at = place, checked_name(name), at or place.branch
        self.lake = Lake(place.workspace)

    # Looking at it ---------------------------------------------------------------------------------------------------

    def describe(self) -> TableDescription:
        """Return what the table is: columns, key, layout, size."""
        value = self._object()
        table = self.lake.table(value, self.name)
        spec, order = partitions.spec_of(table.metadata), partitions.order_of(table.metadata)
        return TableDescription(
            self.name,
            {f["name"]: types.to_duckdb(f["type"]) for f in table.schema["fields"]},
            tuple(value["key"]),
            tuple(partitions.told(part, table.metadata) for part in spec["fields"]),
            tuple(partitions.told(part, table.metadata) for part in order["fields"]),
            value["rows"],
            value["bytes"],
            value["files"],
            str(table.path),
        )

    def read(
        self, columns: Sequence[str] = (), where: str = "", *, between: Between | None = None
    ) -> pa.RecordBatchReader:
        """Return the rows as a stream; see `Lake.read`."""
        return self.lake.read(self._object(), columns=columns, where=where, between=between)

    # Changing it -----------------------------------------------------------------------------------------------------

    def create(
        self,
        rows: Any = None,
        *,
        sql: str | None = None,
        source: Path | str | None = None,
        columns: Mapping[str, str] | None = None,
        key: Sequence[str] = (),
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        message: str | None = None,
    ) -> TableChange:
        """Make the table, of rows or empty.

        Args:
            columns: name to type in DuckDB's words, for an empty table.
            key: the columns that tell rows apart.
            partition_by, sort_by: see `Lake.stage_create`.

        Raises:
            AlreadyExists: when there is one.
        """
        if columns is not None and (rows is not None or sql or source):
            raise InputError("Columns are for an empty table; rows bring their own.", hint="Give one of the two.")

        def stage(before: Object | None) -> Object:
            if before is not None:
                hint = "Add to it with append, or replace its rows with overwrite."
                raise AlreadyExists("table", self.name, hint=hint)
            if columns is not None:
                schema = schema_of(columns)
                return self.lake.stage_create(self.name, schema, key, partition_by=partition_by, sort_by=sort_by)
            with self._rows(rows, sql, source, None) as data:
                return self.lake.stage_append(
                    None, data, name=self.name, key=key, partition_by=partition_by, sort_by=sort_by
                )

        return self._change(stage, message or f"Create {self.name}")

    def append(
        self, rows: Any = None, *, sql: str | None = None, evolve: bool = False, message: str | None = None
    ) -> TableChange:
        """Add rows. With `evolve`, new columns are added and missing ones are null."""

        def stage(before: Object | None) -> Object:
            value = self._there(before)
            with self._rows(rows, sql, None, value) as data:
                return self.lake.stage_append(value, data, name=self.name, evolve=evolve)

        return self._change(stage, message or f"Append to {self.name}")

    def overwrite(self, rows: Any = None, *, sql: str | None = None, message: str | None = None) -> TableChange:
        """Put rows in the place of all that there are."""

        def stage(before: Object | None) -> Object:
            value = self._there(before)
            with self._rows(rows, sql, None, value) as data:
                return self.lake.stage_overwrite(value, data, name=self.name)

        return self._change(stage, message or f"Overwrite {self.name}")

    def fill(self, rows: Callable[[], Any], *, message: str) -> TableChange:
        """Make the table of rows, or put them in the place of all that it has.

        Args:
            rows: gives them; called anew when somebody changed the table meanwhile.
        """

        def stage(before: Object | None) -> Object:
            return self.lake.stage_overwrite(before, rows(), name=self.name)

        return self._change(stage, message)

    def upsert(
        self,
        rows: Any = None,
        *,
        sql: str | None = None,
        source: Path | str | None = None,
        key: Sequence[str] = (),
        evolve: bool = False,
        message: str | None = None,
    ) -> TableChange:
        """Put rows in by the key: known keys are replaced, others are added; see `Lake.upsert`."""
        counts: dict[str, int] = {}

        def stage(before: Object | None) -> Object:
            value = self._there(before)
            with self._rows(rows, sql, source, value, evolve) as data:
                done = self.lake.stage_upsert(value, data, name=self.name, key=key, evolve=evolve)
            counts.update(added=done.added, replaced=done.replaced, unchanged=done.unchanged)
            return done.value

        return self._change(stage, message or f"Upsert into {self.name}", counts)

    def delete(self, where: str, *, message: str | None = None) -> TableChange:
        """Take out the rows for which a SQL condition is true."""

        def stage(before: Object | None) -> Object:
            return self.lake.stage_delete(self._there(before), where)

        return self._change(stage, message or f"Delete rows from {self.name}")

    def columns(
        self,
        *,
        add: Mapping[str, str] | None = None,
        rename: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        widen: Mapping[str, str] | None = None,
        order: Sequence[str] = (),
        message: str | None = None,
    ) -> TableChange:
        """Change the columns without touching data; types are in DuckDB's words. See `Lake.stage_columns`."""
        added = list(schema_of(add)) if add else []
        wider = {f.name: f.type for f in schema_of(widen)} if widen else {}

        def stage(before: Object | None) -> Object:
            value = self._there(before)
            return self.lake.stage_columns(value, add=added, rename=rename, drop=drop, widen=wider, order=order)

        return self._change(stage, message or f"Change columns of {self.name}")

    def layout(
        self,
        *,
        partition_by: Sequence[str] | None = None,
        sort_by: Sequence[str] | None = None,
        message: str | None = None,
    ) -> TableChange:
        """Divide or sort the files that come from now on in another way; see `Lake.stage_layout`."""

        def stage(before: Object | None) -> Object:
            return self.lake.stage_layout(self._there(before), partition_by=partition_by, sort_by=sort_by)

        return self._change(stage, message or f"Change layout of {self.name}")

    def drop(self, *, message: str | None = None) -> TableChange:
        """Take the table off the branch. Other branches and older commits keep it."""

        def stage(before: Object | None) -> None:
            self._there(before)

        return self._change(stage, message or f"Drop {self.name}")

    def rename(self, new: str, *, message: str | None = None) -> TableChange:
        """Give the table another name.

        Raises:
            AlreadyExists: when a table has it.
            InputError: when a contract is about the table: it names it.
        """
        path, history = path_of(new), self.place.workspace.history
        if history.read(self.place.branch, f"contracts/{self.name}") is not None:
            raise InputError(
                f"Table {self.name!r} has a contract, which names it.",
                hint=f"Name {new!r} in the project file's [contract] and make that table from this one.",
            )

        def stage(before: Object | None) -> Object:
            value = self._there(before)
            if history.read(self.place.branch, path) is not None:
                raise AlreadyExists("table", new)
            return value

        return self._change(stage, message or f"Rename {self.name} to {new}", new=new)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _object(self) -> Object:
        return self._there(self.place.workspace.history.read(self.at, PREFIX + self.name))

    def _there(self, value: Object | None) -> Object:
        if value is None:
            known = self.place.workspace.history.digests(self.at, PREFIX)
            raise NotFound("table", self.name, [path.removeprefix(PREFIX) for path in known], where=self.at)
        return value

    @contextmanager
    def _rows(
        self, rows: Any, sql: str | None, source: Path | str | None, value: Object | None, evolve: bool = False
    ) -> Iterator[Any]:
        if sum(one is not None for one in (rows, sql, source)) != 1:
            raise InputError(f"Rows for table {self.name!r} come from one place.", hint="Give rows, a query, or files.")
        workspace = self.place.workspace
        if sql is not None:
            with session(workspace, self.place.branch, sql) as asked:
                yield asked.written(sql, self.name)
        elif source is not None:
            expected = None if value is None else self.lake.schema(value)
            with (
                readable_files(source, workspace.temporary_folder) as parts,
                opened(workspace.temporary_folder) as connection,
            ):
                files = [part.path for part in parts]
                scan = read_source(files, connection, expected=expected, evolve=evolve)
                yield connection.sql(f"FROM {scan.relation}")
        else:
            yield rows

    def _change(
        self, stage: Stage, message: str, counts: Mapping[str, int] | None = None, new: str | None = None
    ) -> TableChange:
        for _ in range(TRIES - 1):
            try:
                return self._attempt(stage, message, counts, new)
            except Conflict:  # somebody changed the table meanwhile
                continue
        return self._attempt(stage, message, counts, new)

    def _attempt(self, stage: Stage, message: str, counts: Mapping[str, int] | None, new: str | None) -> TableChange:
        workspace, into, path = self.place.workspace, self.place.branch, PREFIX + self.name
        history = workspace.history
        head = history.resolve(into)
        before = history.read(head, path)
        after = stage(before)
        rows = [value["rows"] if value else 0 for value in (before, after)]
        if after == before and new is None:
            return TableChange(self.name, None, rows[0], rows[1], dict(counts or {}))
        changes = {path: after} if new is None else {path: None, path_of(new): after}
        branch = f"table/{self.name}-{new_id('b')[-8:]}"
        history.create_branch(branch, head)
        try:
            history.commit(branch, changes, message=message)
            done = publish(workspace, branch, into, message=message, ship=False, required=required_of(self.place))
        finally:
            history.delete_branch(branch, force=True)
        return TableChange(new or self.name, done.commit, rows[0], rows[1], dict(counts or {}), done.checked)


def list_tables(place: Place, at: str | None = None) -> list[TableDescription]:
    """Return the tables of a state, by name."""
    paths = sorted(place.workspace.history.digests(at or place.branch, PREFIX))
    return [BranchTable(place, path.removeprefix(PREFIX), at).describe() for path in paths]


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """Return columns as Arrow has them, from name to type in DuckDB's words (`BIGINT`, `DECIMAL(9, 2)`, `VARCHAR[]`).

    Raises:
        InputError: for a type that DuckDB does not know, or no table can hold.
    """
    if not columns:
        raise InputError("A table needs a column.", hint="Name one with its type, such as: id BIGINT")
    fields = []
    with opened() as connection:
        for name, kind in columns.items():
            with told(f"Column {name!r} cannot be {kind!r}"):
                if len(connection.extract_statements(f"SELECT NULL::{kind}")) != 1:
                    raise InputError(f"{kind!r} is no type.")
                fields.append(
                    pa.field(name, connection.sql(f"SELECT CAST(NULL AS {kind}) AS c").to_arrow_table().schema[0].type)
                )
    found = pa.schema(fields)
    schemas.from_arrow(found)
    return found
