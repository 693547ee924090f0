"""Small tables, and ways to look into a lake."""

from __future__ import annotations

from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bascule.lake import Lake, engine
from bascule.lake.objects import Object
from bascule.store import Place
from bascule.store.places import below, expects_objects, sizes

# A test of the lake's promises, on disk and in object storage.
everywhere = pytest.mark.parametrize("lake", ["disk", "s3"], indirect=True)


def people(*names: str, start: int = 0) -> pa.Table:
    """A small table: an id, a name and a score."""
    return pa.table(
        {
            "id": pa.array(range(start, start + len(names)), pa.int64()),
            "name": pa.array(names, pa.string()),
            "score": pa.array([float(len(name)) for name in names], pa.float64()),
        }
    )


def state(lake: Lake, name: str, ref: str = "main") -> Object:
    """The object of a table at a ref."""
    return lake.workspace.history.get(ref, f"tables/{name}")


def names_in(lake: Lake, value: Object, column: str = "name") -> list[Any]:
    """One column of a table in scan order."""
    return read(f"SELECT {column} FROM {lake.scan(value)}").column(0).to_pylist()


def read(query: str) -> pa.Table:
    """What DuckDB answers. It is opened once, for some tests look into a lake a hundred times."""
    return _opened(expects_objects()).cursor().sql(query).to_arrow_table()


@cache
def _opened(expects: bool) -> duckdb.DuckDBPyConnection:
    return engine.connect()


def everything_in(folder: Place) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but for the locks."""
    found = sorted((path for path, _ in sizes(folder) if not path.name.endswith(".lock")), key=str)
    return {str(below(path, folder)): path.read_bytes() for path in found}
