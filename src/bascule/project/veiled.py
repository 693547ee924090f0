"""Rows that come back masked: what somebody read as a role that may not see it is not written over the true values.

A query that writes is refused where it reads masks (`Session.written`). What left the workspace in between, as a file,
a frame or JSON, is known by its values: they are the masks of those that the table has.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from bascule.contracts import Contract
from bascule.contracts.masking import masks_of
from bascule.errors import CheckFailed
from bascule.history import Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.iceberg import scans, schemas
from bascule.lake.iceberg.types import quoted
from bascule.lake.masking import Mask, hashed, key_of, masked_text
from bascule.lake.objects import PREFIX

# What cells look like that were masked. Bins and parts of dates look like values of their own, and cannot be told.
SHAPES = {
    "hash": "regexp_full_match({0}, '[0-9a-f]{{32}}')",
    "partial": "(contains({0}, '***@') OR starts_with({0}, '*'))",
    "prefix": "ends_with({0}, '*')",
}
SAMPLE = 1_000


def refuse_veiled(workspace: Workspace, staged: Staged, refused: str, unchanged: str) -> None:
    """Refuse a state in which masks stand where a table had the values.

    Costs nothing for tables without masked columns, else a look at the new files' masked columns.

    Args:
        refused: what does not happen then, as the beginning of a sentence.
        unchanged: what stays as it is, as a sentence.

    Raises:
        CheckFailed: naming table, column and how many.
    """
    for change in staged.changes:
        contract = staged.read("contracts/" + change.path.removeprefix(PREFIX))
        if not change.path.startswith(PREFIX) or change.before is None or change.after is None or contract is None:
            continue
        masks = masks_of(Contract.parse(contract["text"], file=contract.get("file", "")))
        told = {column: mask for column, mask in masks.items() if mask.kind in SHAPES}
        name = change.path.removeprefix(PREFIX)
        for column, count in _masked_in(workspace, change.before, change.after, told).items() if told else ():
            raise CheckFailed(
                f"{refused}: {count:,} of the new values of {name}.{column} are the masks of values that the table "
                "has. They were read as a role that may not see them, and would take their place.",
                details=[{"table": name, "column": column, "check": "no masks for values", "failed_rows": count}],
                hint=f"{unchanged} Leave {column} out of what you write, or read the rows as a role that may see it.",
            )


def _masked_in(workspace: Workspace, before: Object, after: Object, masks: Mapping[str, Mask]) -> dict[str, int]:
    """Return how many values of the new files are masks of the old ones, by column; only columns that have some."""
    lake = Lake(workspace)
    old, new = lake.table(before), lake.table(after)
    known = {file.path for file in old.data_files()}
    fresh = [file for file in new.data_files() if file.path not in known]
    if not fresh or not known:
        return {}
    columns = set(schemas.names(old.schema)) & set(schemas.names(new.schema))
    found = {}
    with opened(workspace.temporary_folder) as connection:
        rows, past = scans.scan(new, only=fresh), scans.scan(old)
        for column, mask in masks.items():
            if column in columns and (count := _masks_among(connection, rows, past, column, mask, workspace)):
                found[column] = count
    return found


def _masks_among(
    connection: duckdb.DuckDBPyConnection, rows: str, past: str, column: str, mask: Mask, workspace: Workspace
) -> int:
    cell = f"{quoted(column)}::VARCHAR"
    shape = SHAPES[mask.kind].format(cell)
    some = f"SELECT {cell} AS c FROM {past} WHERE {cell} IS NOT NULL LIMIT {SAMPLE}"
    if connection.execute(f"SELECT 1 FROM ({some}) WHERE {SHAPES[mask.kind].format('c')} LIMIT 1").fetchall():
        return 0  # the column's own values look like that
    suspects = connection.sql(f"SELECT DISTINCT {cell} AS c FROM {rows} WHERE {shape}").to_arrow_table()
    if not suspects.num_rows:
        return 0
    if mask.kind == "hash":
        values = connection.sql(f"SELECT DISTINCT {cell} AS c FROM {past}").to_arrow_table().column(0)
        masks = pa.table({"c": hashed(values, key_of(workspace))})
    else:
        masks = connection.sql(f"SELECT DISTINCT {masked_text(column, mask)} AS c FROM {past}").to_arrow_table()
    connection.register("suspects", suspects)
    connection.register("masks", masks)
    told = connection.execute("SELECT count(*) FROM suspects WHERE c IN (SELECT c FROM masks)").fetchall()
    return int(told[0][0])
