"""What differs between two states of a table: columns and rows.

Only data files that one of the two lacks are read, both under the later state's columns by field id, so a renamed or
widened column is no change of its rows. Rows are matched by the table's key when it is unique in those files, else as a
multiset: then a changed row is one removed and one added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb

from bascule.lake import engine, merging, objects
from bascule.lake.iceberg import scans, schemas, types
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One column that differs. `before` and `after` are its names for a rename, else its types; "" where it is not."""

    kind: Literal["added", "dropped", "renamed", "retyped"]
    column: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row of the sample. `before` is None for an added row, `after` for a removed one."""

    kind: Literal["added", "removed", "changed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What differs between two states of a table.

    Attributes:
        columns: columns that differ.
        rows_before, rows_after: how many rows each state has.
        added, removed, changed: how many rows; `changed` is 0 when rows were matched as a multiset.
        matched_by: the key's columns, or none for a multiset.
        sample: some of the rows.
    """

    columns: tuple[ColumnChange, ...] = ()
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    matched_by: tuple[str, ...] = ()
    sample: tuple[RowChange, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.columns or self.added or self.removed or self.changed)


def compare(before: Table | None, after: Table | None, limit: int, temporary: Path) -> TableDiff:
    """Compare two states; None stands for a table that does not exist."""
    if before is None and after is None:
        return TableDiff()
    with engine.opened(temporary) as connection, engine.told("The two states cannot be compared"):
        if before is None or after is None:
            return _one_sided(connection, before, after, limit)
        return _two_sided(connection, before, after, limit)


def column_changes(before: schemas.Schema, after: schemas.Schema) -> tuple[ColumnChange, ...]:
    """Return how the columns of one schema differ from another's, matched by field id."""
    old, new = ({f["id"]: f for f in schema["fields"]} for schema in (before, after))
    found: list[ColumnChange] = []
    for number, was in old.items():
        now = new.get(number)
        if now is None:
            found.append(ColumnChange("dropped", was["name"], types.to_duckdb(was["type"]), ""))
            continue
        if was["name"] != now["name"]:
            found.append(ColumnChange("renamed", now["name"], was["name"], now["name"]))
        if was["type"] != now["type"]:
            kinds = types.to_duckdb(was["type"]), types.to_duckdb(now["type"])
            found.append(ColumnChange("retyped", now["name"], *kinds))
    found += [ColumnChange("added", f["name"], "", types.to_duckdb(f["type"])) for n, f in new.items() if n not in old]
    return tuple(found)


def _one_sided(
    connection: duckdb.DuckDBPyConnection, before: Table | None, after: Table | None, limit: int
) -> TableDiff:
    table = before or after
    assert table is not None
    source = scans.scan(table)
    rows = _count(connection, source)
    columns = [(f["name"], types.to_duckdb(f["type"])) for f in table.schema["fields"]]
    if before is None:
        changes = tuple(ColumnChange("added", name, "", kind) for name, kind in columns)
        return TableDiff(changes, 0, rows, added=rows, sample=_sample(connection, source, "added", limit))
    changes = tuple(ColumnChange("dropped", name, kind, "") for name, kind in columns)
    return TableDiff(changes, rows, 0, removed=rows, sample=_sample(connection, source, "removed", limit))


def _two_sided(connection: duckdb.DuckDBPyConnection, before: Table, after: Table, limit: int) -> TableDiff:
    columns = column_changes(before.schema, after.schema)
    rows = _total(connection, before), _total(connection, after)
    went, came = _changed_files(before, after)
    if went is not None and came is not None and not (went and came):
        # Files only came or only went, so nothing needs matching.
        source = scans.scan(after, only=came) if came else scans.scan(before, only=went)
        count = _count(connection, source)
        sample = _sample(connection, source, "added" if came else "removed", limit)
        return TableDiff(columns, *rows, added=count if came else 0, removed=0 if came else count, sample=sample)
    same_table = before.metadata["table-uuid"] == after.metadata["table-uuid"]
    old = scans.scan(before, only=went, schema=after.schema if same_table else None)
    new = scans.scan(after, only=came)
    key = _key(connection, before, after, old, new)
    shared = _shared(before, after)
    compared = _by_key if key else _as_multiset
    added, removed, changed, sample = compared(connection, old, new, key, shared, limit)
    return TableDiff(columns, *rows, added, removed, changed, tuple(key), sample)


def _changed_files(before: Table, after: Table) -> tuple[list[DataFile] | None, list[DataFile] | None]:
    if before.metadata["table-uuid"] != after.metadata["table-uuid"]:
        return None, None
    deletes = [{m["manifest_path"] for m in t.manifests() if m.get("content")} for t in (before, after)]
    if deletes[0] != deletes[1]:
        return None, None  # a file that both have may hold other rows in each
    came, went = merging.changed(before, after)
    return [before.data_file(e) for e in went], [after.data_file(e) for e in came]


def _key(connection: duckdb.DuckDBPyConnection, before: Table, after: Table, old: str, new: str) -> list[str]:
    key = [name for name in after.properties.get(objects.KEY, "").split("\n") if name]
    if not key or not all(name in _shared(before, after) for name in key):
        return []
    columns = ", ".join(quoted(name) for name in key)
    for source in (old, new):
        query = f"SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {source})) FROM {source}"
        if connection.execute(query).fetchall()[0][0]:
            return []
    return key


def _shared(before: Table, after: Table) -> list[str]:
    # The later state's columns that rows of both states can have a value in.
    if before.metadata["table-uuid"] == after.metadata["table-uuid"]:
        return schemas.names(after.schema)
    old = {(f["name"], str(f["type"])) for f in before.schema["fields"]}
    return [f["name"] for f in after.schema["fields"] if (f["name"], str(f["type"])) in old]


def _by_key(
    connection: duckdb.DuckDBPyConnection, old: str, new: str, key: Sequence[str], shared: Sequence[str], limit: int
) -> tuple[int, int, int, tuple[RowChange, ...]]:
    on = " AND ".join(f"__old.{quoted(name)} IS NOT DISTINCT FROM __new.{quoted(name)}" for name in key)
    others = [name for name in shared if name not in key]
    differs = " OR ".join(f"__old.{quoted(n)} IS DISTINCT FROM __new.{quoted(n)}" for n in others) or "false"
    sides = [f"(SELECT true AS __here, * FROM {source})" for source in (old, new)]
    joined = f"{sides[0]} AS __old FULL JOIN {sides[1]} AS __new ON {on}"
    kind = (
        "CASE WHEN __old.__here IS NULL THEN 'added' WHEN __new.__here IS NULL THEN 'removed' "
        f"WHEN {differs} THEN 'changed' END"
    )
    counted = connection.execute(f"SELECT {kind} AS kind, count(*) FROM {joined} GROUP BY kind").fetchall()
    counts = {name: int(count) for name, count in counted}
    rows = connection.sql(
        f"SELECT {kind} AS kind, __old, __new FROM {joined} WHERE {kind} IS NOT NULL LIMIT {int(limit)}"
    ).to_arrow_table()
    sample = tuple(RowChange(row["kind"], _bare(row["__old"]), _bare(row["__new"])) for row in rows.to_pylist())
    return counts.get("added", 0), counts.get("removed", 0), counts.get("changed", 0), sample


def _as_multiset(
    connection: duckdb.DuckDBPyConnection, old: str, new: str, _: Sequence[str], shared: Sequence[str], limit: int
) -> tuple[int, int, int, tuple[RowChange, ...]]:
    columns = ", ".join(quoted(name) for name in shared)
    added = f"(SELECT {columns} FROM {new} EXCEPT ALL SELECT {columns} FROM {old})"
    removed = f"(SELECT {columns} FROM {old} EXCEPT ALL SELECT {columns} FROM {new})"
    sample = (*_sample(connection, removed, "removed", limit - limit // 2),)
    sample = (*sample, *_sample(connection, added, "added", limit - len(sample)))
    return _count(connection, added), _count(connection, removed), 0, sample


def _bare(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None or not row.pop("__here", False):
        return None
    return row


def _total(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    if table.snapshot is None:
        return 0
    if "total-records" in table.summary and not table.deletes():
        return int(table.summary["total-records"])
    return _count(connection, scans.scan(table))


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0])


def _sample(
    connection: duckdb.DuckDBPyConnection, source: str, kind: Literal["added", "removed"], limit: int
) -> tuple[RowChange, ...]:
    if limit <= 0:
        return ()
    rows = connection.sql(f"SELECT * FROM {source} LIMIT {int(limit)}").to_arrow_table().to_pylist()
    if kind == "added":
        return tuple(RowChange(kind, None, row) for row in rows)
    return tuple(RowChange(kind, row, None) for row in rows)
