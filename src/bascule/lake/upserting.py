"""Putting rows into a table by its key: rows with a known key take the old ones' place, the others are added.

The rows are written once, as data files of the table; that bounds memory, and when another writer was faster only the
search is repeated. DuckDB then finds which rows of which files they replace, reading the key of the files whose bounds
allow it. Rows that are in the table already, the same in every column, stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from bascule.errors import Conflict, InputError
from bascule.history import Commit
from bascule.lake import engine, objects, staging
from bascule.lake.iceberg import bounds, datafiles, scans, schemas, snapshots, types
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.rows import Rows

if TYPE_CHECKING:
    from bascule.lake.stages import Stages
    from bascule.lake.tables import Lake

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of the rows.

    Attributes:
        table: the table's name.
        added: rows with a key that the table did not have.
        replaced: rows that took the place of one with the same key.
        unchanged: rows that were in the table already, the same in every column.
        value: the table's object now.
        commit: the commit; None when it was only staged, or nothing changed.
    """

    table: str
    added: int
    replaced: int
    unchanged: int
    value: objects.Object
    commit: Commit | None = None

    @property
    def changed(self) -> bool:
        """Whether the table is another one now."""
        return bool(self.added or self.replaced)

    def as_dict(self) -> dict[str, Any]:
        """The upsert as one JSON object."""
        counts = {"added": self.added, "replaced": self.replaced, "unchanged": self.unchanged}
        return {"table": self.table, **counts, "commit": self.commit.id if self.commit else None}


def stage(lake: Stages, value: objects.Object, rows: Rows, *, name: str, key: Sequence[str], evolve: bool) -> Upserted:
    """Write a table's next state with rows put in by its key; see `Lake.stage_upsert`."""
    with lake.writing(value, name) as table:
        work = _Upsert(table, rows, key, evolve, lake.workspace.temporary_folder)
        with staging.kept_if_done(work.written):
            after = work.applied(table)
        work.clean()
    return work.told(value if after is table else objects.describe(after, lake.folder))


def upsert(
    lake: Lake, name: str, rows: Rows, *, branch: str, key: Sequence[str], evolve: bool, told: dict[str, Any]
) -> Upserted:
    """Put rows into a branch's table by its key, and commit; see `Lake.upsert`."""
    path, history = objects.path_of(name), lake.workspace.history
    with lake.writing(history.get(branch, path), name) as table:
        work = _Upsert(table, rows, key, evolve, lake.workspace.temporary_folder)

        def attempt(now: Table) -> Table:
            with staging.kept_if_done(work.written):
                return work.applied(now)

        head = history.resolve(branch)
        try:
            commit = lake.land(branch, path, attempt, told, data_too=True, kept=work.paths)
        except Conflict:
            datafiles.remove(work.written.records)
            raise
        work.clean()
    done = work.told(history.get(commit, path))
    return replace(done, commit=commit) if done.changed or commit.id != head.id else done


class _Upsert:
    """The rows of one upsert, written and checked, and what came of them in the newest attempt."""

    def __init__(self, table: Table, rows: Rows, key: Sequence[str], evolve: bool, temporary: Path) -> None:
        self.key = _key(table, key)
        self.temporary = temporary
        self.written = staging.write_rows(table, rows, evolve=evolve)
        self.rows = sum(record["record_count"] for record in self.written.records)
        self.paths = frozenset(record["file_path"] for record in self.written.records)
        self.used: frozenset[str] = frozenset()
        self.replaced = self.unchanged = 0
        with staging.kept_if_done(self.written), self._connected() as connection:
            _refuse_nulls(connection, self._incoming(table), self.key, table.name)
            _refuse_twins(connection, self._incoming(table), self.key, table.name)

    def applied(self, table: Table) -> Table:
        """Return a table with the rows in it, or the table itself when it has them all."""
        now = staging.with_columns_of(table, self.written)
        data = {str(f.path): f for f in self._candidates(now)}
        made: list[Record] = []
        try:
            with self._connected() as connection:
                self._match(connection, now, data)
                gone = self._rewrite(connection, now, data, made)
                kept = self._kept(connection, made)
            if not made and not kept and not gone and schemas.same(now.schema, table.schema):
                return table
            if not gone:
                return snapshots.append(now, [*made, *kept])
            return snapshots.replace(now, gone, [*made, *kept], "overwrite")
        except BaseException:
            datafiles.remove(made)
            raise

    def clean(self) -> None:
        """Delete the files of the rows as they came that the table does not hold."""
        datafiles.remove(record for record in self.written.records if record["file_path"] not in self.used)

    def told(self, value: objects.Object) -> Upserted:
        """Return what became of the rows."""
        added = self.rows - self.replaced - self.unchanged
        return Upserted(self.written.table.name, added, self.replaced, self.unchanged, value)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _connected(self) -> Any:
        return engine.opened(self.temporary)

    def _incoming(self, table: Table) -> str:
        records = [DataFile(table.resolve(r["file_path"]), r["record_count"], 0, r, 0) for r in self.written.records]
        return scans.scan(table, only=records, positions=True, deleted_too=True)

    def _candidates(self, table: Table) -> list[DataFile]:
        """Return the files that may hold one of the keys, by their bounds."""
        if not self.written.records:
            return []
        between = {name: limits for name in self.key if (limits := _limits(table, name, self.written.records))}
        return scans.candidates(table, between)

    def _match(self, connection: duckdb.DuckDBPyConnection, table: Table, data: Mapping[str, DataFile]) -> None:
        """Put what replaces what into `matched`, and rows that are the same into `same`; both may spill to disk."""
        places = ", ".join(f"__{side}.__{what} AS {side}_{what}" for side in ("new", "old") for what in ("file", "row"))
        on = " AND ".join(f"__new.{quoted(name)} = __old.{quoted(name)}" for name in self.key)
        new, old = self._incoming(table), scans.scan(table, only=list(data.values()), positions=True)
        connection.execute(
            f"CREATE TEMP TABLE matched AS SELECT {places} FROM {new} AS __new JOIN {old} AS __old ON {on}"
        )
        hit = [row[0] for row in connection.execute("SELECT DISTINCT old_file FROM matched").fetchall()]
        # Only now are the other columns read, of those files alone. A key that the table has twice is put right.
        old = scans.scan(table, only=[data[path] for path in hit], positions=True)
        equal = [f"__new.{quoted(n)} IS NOT DISTINCT FROM __old.{quoted(n)}" for n in schemas.names(table.schema)]
        connection.execute(
            "CREATE TEMP TABLE same AS SELECT m.* FROM "
            "(FROM matched QUALIFY count(*) OVER (PARTITION BY new_file, new_row) = 1) AS m "
            f"JOIN {old} AS __old ON m.old_file = __old.__file AND m.old_row = __old.__row "
            f"JOIN {new} AS __new ON m.new_file = __new.__file AND m.new_row = __new.__row WHERE {' AND '.join(equal)}"
        )
        known = "SELECT count(*) FROM (SELECT DISTINCT new_file, new_row FROM matched)"
        self.unchanged = connection.execute("SELECT count(*) FROM same").fetchall()[0][0]
        self.replaced = connection.execute(known).fetchall()[0][0] - self.unchanged

    def _rewrite(
        self, connection: duckdb.DuckDBPyConnection, table: Table, data: Mapping[str, DataFile], made: list[Record]
    ) -> frozenset[str]:
        """Write the files again that hold replaced rows, without those, and return the old files' paths."""
        gone = set()
        query = (
            "SELECT DISTINCT old_file, old_row FROM matched ANTI JOIN same USING (old_file, old_row) "
            "ORDER BY old_file, old_row"
        )
        for path, rows in _by_file(connection, query):
            made += staging.without_rows(table, data[path], rows, self.temporary)
            gone.add(data[path].record["file_path"])
        return frozenset(gone)

    def _kept(self, connection: duckdb.DuckDBPyConnection, made: list[Record]) -> list[Record]:
        """Return the files of the rows as they came; one that holds unchanged rows is written again without them."""
        same = dict(_by_file(connection, "SELECT new_file, new_row FROM same ORDER BY new_file, new_row"))
        table, kept = self.written.table, []
        for record in self.written.records:
            path = table.resolve(record["file_path"])
            rows = same.get(str(path))
            if rows is None:
                kept.append(record)
            else:
                file = DataFile(path, record["record_count"], record["file_size_in_bytes"], record, 0)
                made += staging.without_rows(table, file, rows, self.temporary, deleted_too=True)
        self.used = frozenset(record["file_path"] for record in kept)
        return kept


def _key(table: Table, key: Sequence[str]) -> list[str]:
    names = list(key) or [name for name in table.properties.get(objects.KEY, "").split("\n") if name]
    if not names:
        raise InputError(
            f"Table {table.name!r} has no key, so nothing says which of its rows a row replaces.",
            hint="Name the columns that tell rows apart (key=…, --key), or give the table a key when it is made.",
        )
    return [schemas.find(table.schema, name)["name"] for name in names]


def _refuse_nulls(connection: duckdb.DuckDBPyConnection, source: str, key: Sequence[str], table: str) -> None:
    columns = ", ".join(quoted(name) for name in key)
    missing = " OR ".join(f"{quoted(name)} IS NULL" for name in key)
    count = connection.execute(f"SELECT count(*) FROM {source} WHERE {missing}").fetchall()[0][0]
    if count:
        shown = connection.sql(f"SELECT * EXCLUDE (__file, __row) FROM {source} WHERE {missing} LIMIT {SHOWN}")
        raise InputError(
            f"{count} of the rows for table {table!r} have no value in its key ({columns}): "
            f"{_shown(shown.to_arrow_table().to_pylist(), count)}.",
            hint="Fill the key's columns, or leave those rows out. Nothing was changed.",
        )


def _refuse_twins(connection: duckdb.DuckDBPyConnection, source: str, key: Sequence[str], table: str) -> None:
    columns = ", ".join(quoted(name) for name in key)
    twice = f"SELECT {columns} FROM {source} GROUP BY {columns} HAVING count(*) > 1"
    found = connection.sql(f"{twice} ORDER BY {columns} LIMIT {SHOWN}").to_arrow_table().to_pylist()
    if not found:
        return
    count = connection.execute(f"SELECT count(*) FROM ({twice})").fetchall()[0][0]
    on = " AND ".join(f"__rows.{quoted(name)} = __twice.{quoted(name)}" for name in key)
    rows = connection.sql(
        f"SELECT __rows.* EXCLUDE (__file, __row) FROM {source} AS __rows SEMI JOIN "
        f"({twice} ORDER BY {columns} LIMIT 1) AS __twice ON {on} LIMIT {SHOWN}"
    )
    raise InputError(
        f"{count} {'key is' if count == 1 else 'keys are'} more than once among the rows for table {table!r}: "
        f"{_shown(found, count)}. The rows of the first: {_shown(rows.to_arrow_table().to_pylist(), 0)}.",
        hint="Keep one row for each key. Nothing was changed.",
    )


def _shown(rows: Sequence[Mapping[str, Any]], count: int) -> str:
    told = "; ".join(types.told(row) for row in rows)
    return f"{told}; …" if count > len(rows) else told


def _limits(table: Table, name: str, records: Sequence[Record]) -> tuple[Any, Any] | None:
    """Return what lies around all values that a column has in some files, or None when they do not tell."""
    field = schemas.find(table.schema, name)
    number, kind = field["id"], field["type"]
    found = []
    for record in records:
        told = [{p["key"]: p["value"] for p in record[which]} for which in ("lower_bounds", "upper_bounds")]
        nans = {p["key"]: p["value"] for p in record["nan_value_counts"]}.get(number, 0)
        if nans or any(number not in one for one in told):
            return None
        found.append([bounds.decode(kind, one[number]) for one in told])
    return min(low for low, _ in found), max(high for _, high in found)


def _by_file(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a file and the numbers of its rows, from a query of both in order."""

    def pieces() -> Iterator[tuple[str, np.ndarray]]:
        for batch in connection.sql(query).to_arrow_reader(1 << 20):
            yield from staging.by_file(pa.Table.from_batches([batch])).items()

    for path, group in groupby(pieces(), key=lambda piece: piece[0]):
        yield path, np.concatenate([rows for _, rows in group])
