"""`bascule anonymise`: a table without its people, written as a new table on a branch of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from bascule.catalog import actor, audit
from bascule.contracts.masking import masks_at
from bascule.contracts.personal import scan
from bascule.errors import AlreadyExists, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened, told
from bascule.lake.iceberg.types import quoted
from bascule.lake.masking import hidden_columns, refuse_raw
from bascule.lake.privacy import Cost, generalised, read_hierarchy
from bascule.lake.privacy.mondrian import SOURCE
from bascule.project.personal import SURE
from bascule.project.place import Place
from bascule.sizes import parse_size

LEAST = 256 * 10**6  # bytes that DuckDB has, whatever is allowed, to stream and sort by way of the disk


@dataclass(frozen=True, slots=True)
class Release:
    """A table that was made anonymous, and where it is.

    Attributes:
        table: the new table.
        branch: where it was written.
        commit: the id of the commit.
        cost: what that came to: k and l as counted, classes, suppressed rows, what was lost.
        dropped: columns that were left out, because they are personal or tell rows apart, and were not named.
        kept: columns that were neither named nor left out; they are as they were.
        report: all of it as one JSON object, which the commit keeps too.
    """

    table: str
    branch: str
    commit: str
    cost: Cost
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

    Columns that the contract or a scan calls personal, the key, and columns with another value in every row are left
    out unless they are named. Rows stream; what is held in memory are the different combinations of the named columns.

    Args:
        hierarchies: by column, a CSV file of what its values are called at coarser levels.
        into: the new table's name; TABLE_anonymous when None.
        branch: where it is written; anonymised/TABLE when None. It is made from the current one when it is new.
        memory: how much it may take, such as `8GB`; half of this machine's when None.

    Raises:
        NotFound: there is no such table or column.
        AlreadyExists: the new table is there already.
        Masked: a column that is named is one that the current role reads masked.
        InputError: a number is out of its range, the rows cannot have k or l at all, or the combinations do not fit in
            memory. Nothing was written.
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
    hidden = _refuse_named(place.workspace, head, table, obj, columns, named)
    given = {column: read_hierarchy(file) for column, file in (hierarchies or {}).items()}
    asked = {"k": k, "l": l, "suppress": suppress}
    with opened(place.workspace.temporary_folder) as connection:
        connection.execute(f"SET memory_limit = '{max(allowed, LEAST)}B'")
        source = lake.scan(obj)
        personal = _personal(connection, source, place, head, table, obj["key"])
        named_so = personal | hidden
        dropped = [c for c in columns if c not in named and (c in named_so or _tells_apart(connection, source, c))]
        held = [c for c in columns if c not in dropped]
        more: dict[str, Any] = {**asked, "hierarchies": given, "memory": allowed}
        with told(f"{table} cannot be made anonymous"):
            rows, cost = generalised(connection, source, held, quasi, sensitive, **more)
        kept = [c for c in held if c not in named]
        report = {**_of(cost), "source": table, "table": target, "method": SOURCE, "asked": asked}
        report |= {"quasi": list(quasi), "sensitive": list(sensitive), "dropped": dropped, "kept": kept}
        if is_new:
            history.create_branch(where, head)
        message = f"Anonymise {table} (k = {cost.anonymity.k})"
        made = lake.append(target, rows, branch=where, message=message, meta={"anonymised": report})
    with place.workspace.catalog.write() as conn:
        detail = {"commit": made.id, "branch": where, **report}
        audit.append(conn, actor=actor(), action="anonymise", subject=f"tables/{target}", detail=detail)
    report |= {"branch": where, "commit": made.id}
    return Release(target, where, made.id, cost, tuple(dropped), tuple(kept), report)


def _refuse_named(
    workspace: Workspace, head: Commit, table: str, obj: dict[str, Any], columns: list[str], named: Sequence[str]
) -> frozenset[str]:
    """Refuse columns that are not there, or that are read masked; return all of the table that are."""
    if unknown := [column for column in named if column not in columns]:
        raise NotFound("column", unknown[0], columns, where=table)
    hidden = hidden_columns(workspace, head, table, obj)
    if hidden & set(named):  # what is generalised from a value tells of it: gus*
        refuse_raw(workspace, head, table, obj, how="An anonymous copy that keeps them")
    return hidden


def _personal(
    connection: duckdb.DuckDBPyConnection, source: str, place: Place, head: Commit, table: str, key: Sequence[str]
) -> set[str]:
    """Return the columns that a scan or the contract calls personal, and the key."""
    found = {one.column for one in scan(connection, source) if one.confidence >= SURE}
    return found | set(masks_at(place.workspace, head).get(table, {})) | set(key)


def _half() -> int:
    """Half of this machine's memory, in bytes."""
    if not hasattr(os, "sysconf"):  # pragma: no cover - Windows
        return 8 * 10**9
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _tells_apart(connection: duckdb.DuckDBPyConnection, source: str, column: str) -> bool:
    """Tell whether a column has another value in every row, and so tells by itself which row it is."""
    cell = quoted(column)
    kind = str(connection.sql(f"SELECT {cell} FROM {source} LIMIT 0").types[0])
    if kind in ("FLOAT", "DOUBLE") or kind.startswith(("STRUCT", "MAP")) or kind.endswith("[]"):
        return False
    about = f"SELECT count(*), approx_count_distinct({cell}) FROM {source}"
    rows, different = connection.execute(about).fetchall()[0]
    if rows < 2 or different < rows / 2:  # the sketch is off by a few percent: only then all are counted
        return False
    exact = f"SELECT count(DISTINCT {cell}) + (count(*) > count({cell}))::INT FROM {source}"
    return bool(connection.execute(exact).fetchall()[0][0] == rows)


def _of(cost: Cost) -> dict[str, Any]:
    counted = cost.anonymity
    return {
        "k": counted.k,
        "l": counted.l,
        "rows": counted.rows,
        "classes": counted.classes,
        "average_class": round(counted.rows / counted.classes, 2) if counted.classes else 0.0,
        "suppressed": cost.suppressed,
        "penalty": round(cost.penalty, 4),
        "penalty_by_column": {name: round(value, 4) for name, value in cost.by_column.items()},
        "discernibility": cost.discernibility,
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
