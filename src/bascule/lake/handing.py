"""A table's state as Parquet files that another engine reads by itself.

Most files can be read as they are, by the field ids in them. Where a position delete touches a file, or a file has no
ids, its rows are written into one copy: what an engine would read wrong, it does not get to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bascule.errors import EnvironmentProblem
from bascule.lake.engine import connect, told
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.types import Type, literal
from bascule.lake.objects import Object
from bascule.lake.tables import Lake
from bascule.store import Place


@dataclass(frozen=True)
class Handed:
    """The rows of one state.

    Attributes:
        fields: the columns: field id, name and Iceberg type.
        files: files whose columns go by their field ids; missing ones are null.
        copies: files whose columns go by their names.
    """

    fields: tuple[tuple[int, str, Type], ...]
    files: tuple[Path, ...]
    copies: tuple[Path, ...]


def handed(lake: Lake, value: Object, name: str, folder: Path) -> Handed:
    """Return a table's state as Parquet files.

    Args:
        folder: where a copy is written, if there has to be one; the caller removes it.

    Raises:
        InputError: the table holds what Bascule does not read (see `scans.scan`).
        EnvironmentProblem: its files are in an object store.
    """
    table = lake.table(value, name)
    plain, others = scans.by_ids(table)
    copies = []
    if others:
        copies.append(folder / f"{len(list(folder.iterdir()))}.parquet")
        connection = connect(folder)
        try:
            with told(f"Table {name!r} cannot be copied"):
                rows = scans.scan(table, only=others)
                connection.execute(f"COPY (SELECT * FROM {rows}) TO {literal(str(copies[0]))} (FORMAT parquet)")
        finally:
            connection.close()
    fields = tuple((field["id"], field["name"], field["type"]) for field in table.schema["fields"])
    return Handed(fields, tuple(_local(file.path, name) for file in plain), tuple(copies))


def _local(path: Place, name: str) -> Path:
    if isinstance(path, Path):
        return path
    raise EnvironmentProblem(
        f"Table {name!r} lies in an object store, and another engine is given files of a folder only.",
        hint="Use the engine duckdb, or the SQL for that engine over its own tables: bascule features sql.",
    )
