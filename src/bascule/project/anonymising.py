"""`bascule anonymise`: a table without its people, written as a new table on a branch of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bascule.catalog import actor, audit
from bascule.contracts.masking import masks_at
from bascule.contracts.personal import scan
from bascule.errors import AlreadyExists, InputError, NotFound
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.iceberg.types import quoted
from bascule.lake.privacy import Anonymised, anonymised, read_hierarchy
from bascule.lake.privacy.mondrian import SOURCE
from bascule.project.personal import SURE
from bascule.project.place import Place
from bascule.sizes import format_size, parse_size

SAMPLED = 20_000
# Bytes, as measured: a row is held as it came, as it is cut and as it is written; each column that is cut or looked at
# has codes, an order and, where its values are many, their list.
COPIES, CODES = 3, 128


@dataclass(frozen=True, slots=True)
class Release:
    """A table that was made anonymous, and where it is.

    Attributes:
        table: the new table.
        branch: where it was written.
        commit: the id of the commit.
        result: what was made, and what that cost.
        dropped: columns that were left out, because they are personal or tell rows apart, and were not named.
        kept: columns that were neither named nor left out; they are as they were.
        report: all of it as one JSON object, which the commit keeps too.
    """

    table: str
    branch: str
    commit: str
    result: Anonymised
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    report: dict[str, Any]


def anonymise_table(
    place: Place,
    table: str,
    quasi: Sequence[str],
    sensitive: Sequence[str] = (),
    *,
    k: int,
    l: int = 1,  # noqa: E741
    suppress: float = 0.0,
    hierarchies: Mapping[str, Path | str] | None = None,
    into: str | None = None,
    branch: str | None = None,
    memory: str | None = None,
) -> Release:
    """Write a k-anonymous and l-diverse copy of a table of the current branch.

    Columns that the contract or a scan calls personal, the key, and columns with another value in every row
    are left out unless they are named. The rows that are left are held in memory, so what that takes is foretold from a
    sample of them.

    Args:
        hierarchies: by column, a CSV file of what its values are called at coarser levels.
        into: the new table's name; TABLE_anonymous when None.
        branch: where it is written; anonymised/TABLE when None. It is made from the current one when it is new.
        memory: how much it may take, such as `8GB`; half of this machine's when None.

    Raises:
        NotFound: there is no such table or column.
        AlreadyExists: the new table is there already.
        InputError: a number is out of its range, the rows cannot have k or l at all, or they do not fit in memory.
            Nothing was written.
    """
    allowed = parse_size(memory, key="memory") if memory is not None else _half()
    history, lake = place.workspace.history, Lake(place.workspace)
    target, where = into or f"{table}_anonymous", branch or f"anonymised/{table}"
    head = history.resolve(place.branch)
    obj = history.get(head, f"tables/{table}")
    is_new = where not in {ref.name for ref in history.branches()}
    if history.digest(head if is_new else where, f"tables/{target}") is not None:
        raise AlreadyExists("table", target, hint="Choose another name with --into.")
    columns, named = lake.schema(obj).names, [*quasi, *sensitive]
    for column in named:
        if column not in columns:
            raise NotFound("column", column, columns, where=table)
    with opened(place.workspace.temporary_folder) as connection:
        relation = lake.scan(obj)
        personal = {one.column for one in scan(connection, relation) if one.confidence >= SURE}
        personal |= set(masks_at(place.workspace, head).get(table, {})) | set(obj["key"])
        held = [c for c in columns if c in named or c not in personal]
        rows = f"SELECT {', '.join(map(quoted, held))} FROM {relation}"
        _demand_room(connection, table, rows, len(named), allowed)
        data = connection.sql(rows).to_arrow_table()
    personal |= _telling(data)
    dropped = tuple(c for c in columns if c in personal and c not in named)
    given = {column: read_hierarchy(file) for column, file in (hierarchies or {}).items()}
    telling = [c for c in data.column_names if c in dropped]
    result = anonymised(data.drop_columns(telling), quasi, sensitive, k=k, l=l, suppress=suppress, hierarchies=given)
    kept = tuple(c for c in result.table.column_names if c not in named)
    report = _report(table, target, result, quasi, sensitive, (k, l, suppress), dropped, kept)
    if is_new:
        history.create_branch(where, head)
    made = lake.append(
        target,
        _plain(result.table),
        branch=where,
        message=f"Anonymise {table} (k = {result.anonymity.k})",
        meta={"anonymised": report},
    )
    with place.workspace.catalog.write() as conn:
        told = {"commit": made.id, "branch": where, **report}
        audit.append(conn, actor=actor(), action="anonymise", subject=f"tables/{target}", detail=told)
    return Release(target, where, made.id, result, dropped, kept, {**report, "branch": where, "commit": made.id})


def _demand_room(connection: duckdb.DuckDBPyConnection, table: str, rows: str, named: int, allowed: int) -> None:
    """Raise `InputError` when rows will not fit in memory while they are cut and written: before they are read."""
    count = int(connection.execute(f"SELECT count(*) FROM ({rows})").fetchall()[0][0])
    sample = connection.sql(f"{rows} USING SAMPLE {SAMPLED:d} ROWS").to_arrow_table()
    each = COPIES * sample.nbytes / max(sample.num_rows, 1) + CODES * named
    if count * each > allowed:
        needed = format_size(round(count * each))
        raise InputError(
            f"{table} does not fit: its {count:,} rows take about {needed} of memory while they are made anonymous, "
            f"and {format_size(allowed)} is allowed.",
            hint="Write a table with fewer rows or columns first (bascule table create NAME --sql QUERY), or allow "
            "more with --memory where there is more.",
        )


def _half() -> int:
    """Half of this machine's memory, in bytes."""
    if not hasattr(os, "sysconf"):  # pragma: no cover - Windows
        return 8 * 10**9
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _telling(data: pa.Table) -> set[str]:
    """Return the columns that have another value in every row: each tells by itself which row it is."""
    return {
        name
        for name, column in zip(data.column_names, data.columns, strict=True)
        if data.num_rows > 1
        and not pa.types.is_nested(column.type)
        and not pa.types.is_floating(column.type)
        and pc.count_distinct(column, mode="all").as_py() == data.num_rows
    }


def _plain(table: pa.Table) -> pa.Table:
    """Give the table without what its source said of columns: they are other columns now."""
    return table.replace_schema_metadata(None).cast(pa.schema([pa.field(one.name, one.type) for one in table.schema]))


def _report(
    table: str,
    target: str,
    result: Anonymised,
    quasi: Sequence[str],
    sensitive: Sequence[str],
    asked: tuple[int, int, float],
    dropped: Sequence[str],
    kept: Sequence[str],
) -> dict[str, Any]:
    counted = result.anonymity
    return {
        "source": table,
        "table": target,
        "method": SOURCE,
        "quasi": list(quasi),
        "sensitive": list(sensitive),
        "asked": dict(zip(("k", "l", "suppress"), asked, strict=True)),
        "k": counted.k,
        "l": counted.l,
        "rows": counted.rows,
        "classes": counted.classes,
        "average_class": round(counted.rows / counted.classes, 2) if counted.classes else 0.0,
        "suppressed": result.suppressed,
        "penalty": round(result.penalty, 4),
        "penalty_by_column": {name: round(value, 4) for name, value in result.by_column.items()},
        "discernibility": result.discernibility,
        "dropped": list(dropped),
        "kept": list(kept),
    }


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read COLUMN=FILE. Raises `InputError` for another form."""
    found = {}
    for text in texts:
        column, equals, file = text.partition("=")
        if not (column and equals and file):
            raise InputError(f"{text!r} names no hierarchy.", hint="Write COLUMN=FILE.csv.")
        found[column] = file
    return found
