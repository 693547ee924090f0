"""States of tables: objects that are read, and objects that are staged and not yet committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.errors import EnvironmentProblem
from bascule.history import Workspace, expiry
from bascule.history.commits import canonical
from bascule.lake import journal, merging, objects, reading, seen, staging, upserting
from bascule.lake.caching import let_go_of_the_forgotten
from bascule.lake.comparing import TableDiff, compare
from bascule.lake.iceberg import datafiles, scans, schemas, snapshots, types
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.tables import Table
from bascule.lake.objects import Object
from bascule.lake.parts import FileParts
from bascule.lake.rowmerge import RowConflict, RowMerge, Side, has_key, merge_rows
from bascule.lake.rows import Rows
from bascule.lake.upserting import Upserted
from bascule.store import Place, digest_of


class Stages:
    """The states of one workspace's tables: reading one, and making the next one.

    `stage_*` methods write files and return the object of the table's next state; nothing of it is visible until
    somebody commits it, and when one raises nothing is left behind.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder: Place = workspace.lake_folder
        let_go_of_the_forgotten(workspace)

    # Reading ---------------------------------------------------------------------------------------------------------

    def table(self, value: Object, name: str = "") -> Table:
        """Return the Iceberg table that an object stands for.

        Raises:
            Expired: when the state's files were let go.
            EnvironmentProblem: when they are missing or damaged.
        """
        try:
            return objects.load(value, self.folder, name)
        except EnvironmentProblem:
            with self.workspace.catalog.read() as conn:
                expiry.refuse(conn, [digest_of(canonical(value))])
            raise

    def adopt(self, document: Place, name: str) -> Object:
        """Return the object for a metadata document that another engine wrote into a table's folder.

        Raises:
            EnvironmentProblem: when it cannot be read.
        """
        return objects.describe(Table.load(document, name), self.folder)

    @contextmanager
    def writing(self, value: Object, name: str = "") -> Iterator[Table]:
        """Hold a table's folder for writing, beside other writers: nobody forgets rows in it meanwhile."""
        with journal.writing(objects.folder_of(value, self.folder)):
            yield self.table(value, name)

    def location(self, value: Object) -> Place:
        """Return where an object's metadata document is, for engines that read Iceberg themselves."""
        return self.table(value).path

    def schema(self, value: Object) -> pa.Schema:
        """Return the columns, in Arrow's words."""
        return schemas.to_arrow(self.table(value).schema)

    def files(self, value: Object) -> list[DataFile]:
        """Return the data files, in the order in which they came."""
        return self.table(value).data_files()

    def parts(self, value: Object, since: Object | None = None) -> FileParts:
        """Return the rows file by file, for what is measured of each once; only of files that came since a state."""
        held = {str(file.path) for file in self.files(since)} if since is not None else set()
        return FileParts(self.table(value), held)

    def snapshots(self, value: Object) -> list[dict[str, Any]]:
        """Return the newest few snapshots, oldest first, as Iceberg's metadata holds them. The history has them all."""
        return list(self.table(value).metadata.get("snapshots", []))

    def scan(self, value: Object, *, between: scans.Between | None = None) -> str:
        """Return SQL text for FROM that yields the rows of a table, in any DuckDB connection that may read the lake.

        Args:
            between: column to its least and greatest wanted value, both included, either of them None. Files that
                cannot hold such rows are not opened.
        """
        table = self.table(value)
        if not between:
            return scans.scan(table)
        source = scans.scan(table, only=scans.candidates(table, between))
        terms = [term for name, limits in between.items() for term in _terms(table, name, limits)]
        return f"(SELECT * FROM {source} WHERE {' AND '.join(terms)})" if terms else source

    def read(
        self,
        value: Object,
        *,
        columns: Sequence[str] = (),
        where: str = "",
        between: scans.Between | None = None,
    ) -> pa.RecordBatchReader:
        """Return a table's rows as a stream, in the order in which they came: memory holds some batches, not all.

        Args:
            columns: only these, in this order.
            where: a SQL condition.
            between: as `scan` takes it.

        Raises:
            NotFound: for a column that is not there.
            InputError: when the condition cannot be run.
        """
        table, source = self.table(value), self.scan(value, between=between)
        return reading.read(table, source, columns, where, self.workspace.temporary_folder)

    def diff(
        self,
        before: Object | None,
        after: Object | None,
        limit: int = 20,
        *,
        profile: bool = True,
        whole: bool | None = None,
    ) -> TableDiff:
        """Compare two states of a table: columns, rows, and the values in them.

        Only files that one of the two lacks are read. Rows are matched by the table's key, else as a multiset.

        Args:
            limit: show at most so many of the rows that were added, removed and changed, each.
            profile: also say what happened to each column's values.
            whole: read all rows, so that each column's mean, quantiles and shift are told of the whole table too; None
                does so for a small table.
        """
        sides = [None if side is None else self.table(side) for side in (before, after)]
        return compare(sides[0], sides[1], limit, self.workspace.temporary_folder, profile=profile, whole=whole)

    # Staging ---------------------------------------------------------------------------------------------------------

    def stage_create(
        self,
        name: str,
        schema: pa.Schema,
        key: Sequence[str] = (),
        *,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
    ) -> Object:
        """Make an empty table.

        Args:
            partition_by: how its files are divided: columns, or `year(c)`, `month(c)`, `day(c)`, `hour(c)`,
                `truncate(WIDTH, c)` and `bucket(COUNT, c)` of one.
            sort_by: how the rows of a file are sorted: the same, with `desc` and `nulls first` or `nulls last`.

        Raises:
            InputError: for a name, a column type or a layout that no table can have.
            NotFound: for a column of the key or the layout that the schema does not have.
        """
        with staging.created(self.folder, name, schema, key, partition_by, sort_by) as table:
            return objects.describe(table.written(table.metadata), self.folder)

    def stage_append(
        self,
        value: Object | None,
        data: Any,
        *,
        name: str,
        key: Sequence[str] = (),
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        evolve: bool = False,
    ) -> Object:
        """Add rows to a table; None makes it, with the rows' columns.

        Args:
            key, partition_by, sort_by: the new table's, as `stage_create` takes them; one that exists keeps its own.
            evolve: let new columns be added, and missing ones be null.

        Raises:
            InputError: when the rows' columns or values do not fit the table's.
        """
        rows = self._rows(value, data)
        if value is None:
            return self._stage_new(name, rows, key, partition_by, sort_by)
        with self.writing(value, name) as table:
            written = staging.write_rows(table, rows, evolve=evolve)
            with staging.kept_if_done(written):
                return objects.describe(staging.append(table, written, {}), self.folder)

    def stage_overwrite(self, value: Object | None, data: Any, *, name: str, key: Sequence[str] = ()) -> Object:
        """Put rows in the place of all that a table has. New columns are added; ones that are gone are null."""
        rows = self._rows(value, data)
        if value is None:
            return self._stage_new(name, rows, key)
        with self.writing(value, name) as table:
            written = staging.write_rows(table, rows, evolve=True)
            with staging.kept_if_done(written):
                return objects.describe(staging.overwrite(table, written, {}), self.folder)

    def stage_delete(self, value: Object, where: str) -> Object:
        """Take out the rows for which a SQL condition is true. Only files that hold such rows are rewritten."""
        with self.writing(value) as table:
            after = staging.delete(table, where, self.workspace.temporary_folder)
            return value if after is table else objects.describe(after, self.folder)

    def stage_upsert(
        self, value: Object, data: Any, *, name: str = "", key: Sequence[str] = (), evolve: bool = False
    ) -> Upserted:
        """Put rows in by the key: see `upsert`. The result's `value` is the table's next state."""
        return upserting.stage(self, value, self._rows(value, data), name=name, key=key, evolve=evolve)

    def stage_columns(
        self,
        value: Object,
        *,
        add: Sequence[pa.Field] = (),
        rename: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        widen: Mapping[str, pa.DataType] | None = None,
        order: Sequence[str] = (),
    ) -> Object:
        """Change a table's columns without touching its data: rename, then drop, widen, add and reorder.

        Args:
            order: the columns that come first, in that order; the others follow as they are.

        Raises:
            NotFound: for a column that there is not.
            InputError: for a type that does not hold every value of the present one, or a name that is taken.
        """

        def change(schema: schemas.Schema, last: int) -> tuple[schemas.Schema, int]:
            for old, new in (rename or {}).items():
                schema = schemas.rename_column(schema, old, new)
            for name in drop:
                schema = schemas.drop_column(schema, name)
            for name, kind in (widen or {}).items():
                schema = schemas.widen_column(schema, name, types.primitive_from_arrow(kind, name))
            schema, last = schemas.add_columns(schema, add, last)
            return schemas.reorder_columns(schema, order), last

        with self.writing(value) as table:
            return objects.describe(staging.evolve(table, change), self.folder)

    def stage_layout(
        self, value: Object, *, partition_by: Sequence[str] | None = None, sort_by: Sequence[str] | None = None
    ) -> Object:
        """Divide or sort the files that come from now on in another way; those that are there stay as they are.

        Args:
            partition_by, sort_by: as `stage_create` takes them; none of either is `()`, as it is now is None.
        """
        with self.writing(value) as table:
            after = staging.arrange(table, partition_by, sort_by)
        return value if after is table else objects.describe(after, self.folder)

    def merge_appends(self, base: Object | None, ours: Object | None, theirs: Object | None) -> Object | None:
        """Settle a table that two sides changed, when both did nothing but append: no data file is copied.

        Returns:
            The object that has both sides' rows, or None when one side did something else, both changed the columns
            differently, or both ingested the same source.
        """
        if base is None or ours is None or theirs is None:
            return None
        with self.writing(ours) as table:
            merged = merging.merge(self.table(base), table, self.table(theirs))
        return objects.describe(merged, self.folder) if merged else None

    def pick_appends(self, base: Object | None, ours: Object | None, theirs: Object | None) -> Object | None:
        """Bring the files that were appended between two states to a third, whatever else was done to that one.

        Returns:
            The object, or None when it does not go: see `merging.pick`.
        """
        if base is None or ours is None or theirs is None:
            return None
        with self.writing(ours) as table:
            picked = merging.pick(self.table(base), table, self.table(theirs))
        return ours if picked is table else objects.describe(picked, self.folder) if picked else None

    def revert_append(
        self, added: Object | None, now: Object | None, before: Object | None
    ) -> tuple[Object, list[Record]] | None:
        """Take back an append on top of which others were made: its files go, and its sources may be ingested again.

        Args:
            added, before: the states with the append and before it.
            now: the state from which it is taken.

        Returns:
            The state without it and the files to name to `discard`; or None when something else was done in it, or its
            files are not all there any more.
        """
        if added is None or now is None or before is None:
            return None
        with self.writing(now) as table:
            done = merging.without_append(self.table(before), self.table(added), table)
            return (objects.describe(done, self.folder), seen.fresh(done, table)) if done is not None else None

    def merge_rows(
        self,
        base: Object,
        ours: Object,
        theirs: Object,
        *,
        name: str = "",
        settle: Side | None = None,
        cells: bool = False,
        tell: Callable[[RowConflict], None] | None = None,
    ) -> tuple[Object | None, RowMerge]:
        """Merge a table that two sides changed row by row, by its key.

        A row that one side added, removed or changed is taken; what both did equally agrees. Only data files in which
        both sides changed rows are written again.

        Args:
            settle: whose row is taken where both changed it differently.
            cells: merge a row of which each side changed other columns; else that is a conflict too.
            tell: is given every row in conflict, by key.

        Returns:
            The merged state, or None when rows are in conflict; and how it went.

        Raises:
            Unmergeable: when the table has no key, a key is there twice, or both sides changed the columns differently.
        """
        with self.writing(ours, name) as table:
            sides = self.table(base, name), table, self.table(theirs, name)
            done = merge_rows(*sides, self.workspace.temporary_folder, settle=settle, cells=cells, tell=tell)
            return (objects.describe(done.table, self.folder) if done.table is not None else None), done

    def row_mergeable(self, base: Object, ours: Object, theirs: Object) -> bool:
        """Tell whether three states are of one table with one key, so that `merge_rows` could merge them."""
        return has_key(self.table(base), self.table(ours), self.table(theirs))

    def discard(self, value: Object, written: Iterable[Record] = ()) -> None:
        """Delete what merging or reverting wrote for a state that certainly was not committed.

        Args:
            written: files besides the state's documents, as `merge_rows` and `revert_append` name them.
        """
        snapshots.discard(self.table(value), data_too=False)
        datafiles.remove(written)

    # Inside ----------------------------------------------------------------------------------------------------------

    @property
    def _temporary(self) -> Path:
        return self.workspace.temporary_folder

    def _rows(self, value: Object | None, data: Any) -> Rows:
        return Rows(data, None if value is None else lambda: self.schema(value))

    def _stage_new(
        self,
        name: str,
        rows: Rows,
        key: Sequence[str],
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
    ) -> Object:
        with staging.created(self.folder, name, rows.schema, key, partition_by, sort_by) as table:
            written = staging.write_rows(table, rows, evolve=False)
            return objects.describe(staging.append(table, written, {}), self.folder)


def _terms(table: Table, name: str, limits: tuple[Any, Any]) -> list[str]:
    field = schemas.find(table.schema, name)
    column, kind = types.quoted(field["name"]), types.to_duckdb(field["type"])
    return [
        f"{column} {sign} {types.literal(str(value))}::{kind}"
        for sign, value in zip((">=", "<="), limits, strict=True)
        if value is not None
    ]
