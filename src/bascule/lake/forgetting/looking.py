"""What a subject's rows say, before they go: values of other columns that name it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake import objects, records
from bascule.lake.forgetting.folder import Folder
from bascule.lake.forgetting.forget import _folders, _states
from bascule.lake.iceberg import files
from bascule.store import Place


def values_of(workspace: Workspace, table: str, key: Mapping[str, Any], column: str) -> set[str]:
    """Return the values, as text, that a column has in the subject's rows, in all states of a table.

    Raises:
        NotFound: there is no such table, or no file of it has such a column.
    """
    found: set[str] = set()
    known: dict[str, None] = {}
    for _, place, rows in _rows(workspace, table, key):
        names = _names(place)
        known.update(dict.fromkeys(names))
        name = next((one for one in names if one.casefold() == column.casefold()), None)
        if name is None or not len(rows):
            continue
        cells = _column(place, name).take(pa.array(rows))
        found.update(text for text in pc.cast(cells, pa.string()).to_pylist() if text is not None)
    if not any(one.casefold() == column.casefold() for one in known):
        raise NotFound("column", column, list(known), where=table)
    return found


def shared_values(workspace: Workspace, table: str, key: Mapping[str, Any]) -> set[str]:
    """Return the columns of a key whose value rows of others have too, in any state of a table: a town, not a person.

    Raises:
        NotFound: there is no such table.
    """
    own = sum(len(rows) for _, _, rows in _rows(workspace, table, key))
    return {
        column
        for column, value in key.items()
        if sum(len(rows) for _, _, rows in _rows(workspace, table, {column: value})) > own
    }


def rows_of(workspace: Workspace, table: str, key: Mapping[str, Any], most: int = 1000) -> list[dict[str, Any]]:
    """Return the subject's rows as they are in a table's files, by column in lower case; `most` of them.

    Raises:
        NotFound: there is no such table.
    """
    found: list[dict[str, Any]] = []
    for _, place, rows in _rows(workspace, table, key):
        if len(rows) and len(found) < most:
            with pq.ParquetFile(files.readable(place)) as source:
                taken = source.read().take(pa.array(rows[: most - len(found)]))
            found += [{name.casefold(): value for name, value in row.items()} for row in taken.to_pylist()]
    return found


def named_only_by(workspace: Workspace, table: str, key: Mapping[str, Any], candidates: set[str]) -> set[str]:
    """Return those of some texts that stand in a text column of the subject's rows and of nobody else's."""
    own: set[str] = set()
    others: set[str] = set()
    wanted = pa.array(sorted(candidates), pa.string())
    for _, place, rows in _rows(workspace, table, key) if candidates else ():
        for name, kind in _names(place).items():
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                continue
            cells = pc.cast(_column(place, name), pa.string())
            hit = np.flatnonzero(pc.is_in(cells, wanted).to_numpy(zero_copy_only=False))
            mine = np.isin(hit, rows)
            own.update(cells.take(pa.array(hit[mine])).to_pylist())
            others.update(cells.take(pa.array(hit[~mine])).to_pylist())
    return own - others


def _rows(workspace: Workspace, table: str, key: Mapping[str, Any]) -> Iterator[tuple[Folder, Place, np.ndarray]]:
    folders = _folders(workspace, table, _states(workspace, table))
    if not folders:
        known = [path.removeprefix(objects.PREFIX) for path in workspace.history.digests("main", objects.PREFIX)]
        raise NotFound("table", table, [*known, *records.names(workspace)])
    nothing = np.array([], dtype=np.int64)
    for path in folders:
        folder = Folder.read(path, table)
        positions = folder.matching(key, workspace.temporary_folder)
        for file in folder.data_files():
            yield folder, file.path, positions.get(file.path, nothing)


def _names(place: Place) -> dict[str, pa.DataType]:
    with pq.ParquetFile(files.readable(place)) as source:
        return {field.name: field.type for field in source.schema_arrow}


def _column(place: Place, name: str) -> pa.ChunkedArray:
    with pq.ParquetFile(files.readable(place)) as source:
        return source.read(columns=[name]).column(0)
