"""A table's state as Parquet files that another engine reads by itself.

Most files can be read as they are, by the field ids in them. Where a position delete touches a file, or a file has no
ids, its rows are written into one copy: what an engine would read wrong, it does not get to see. So are the rows of
files in an object store, for which the engine would need a client and keys of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bascule.lake.engine import connect, told
from bascule.lake.iceberg import scans
from bascule.lake.iceberg.types import Type, literal
from bascule.lake.objects import Object
from bascule.lake.tables import Lake


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
        EnvironmentProblem: the folder's disk is full, or the object store cannot be read.
    """
    table = lake.table(value, name)
    plain, others = scans.by_ids(table)
    files = tuple(file.path for file in plain if isinstance(file.path, Path))
    others += [file for file in plain if not isinstance(file.path, Path)]
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
    return Handed(fields, files, tuple(copies))
